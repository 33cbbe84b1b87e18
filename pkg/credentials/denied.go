package credentials

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/smithy-go"

	"kube-aws-iam-controller/pkg/role"
)

// denial is an AccessDenied of STS, parsed by AWS's wording of these messages.
//
// Source: "Troubleshoot access denied error messages" in the IAM user guide.
type denial struct {
	text     string // code and message
	action   string // the action that is denied, such as sts:TagSession; empty if none is named
	policy   string // the type of the policy that denies it, such as "session policy"; empty if none is named
	explicit bool   // denied by a Deny, rather than by the lack of an Allow
}

// The parts of such a message: "User: <ARN> is not authorized to perform: sts:AssumeRole on
// resource: <ARN> because no identity-based policy allows the sts:AssumeRole action", or "… with an
// explicit deny in a service control policy: <ARN>". All but the action can be missing.
var (
	deniedAction = regexp.MustCompile(`[Nn]ot authorized to perform:? ?(sts:\w+)`)
	explicitDeny = regexp.MustCompile(`with an explicit deny(?: in (?:an?|the) ([A-Za-z-]+(?: [A-Za-z-]+)*? (?:policy|boundary))\b)?`)
	noAllow      = regexp.MustCompile(`because no ([A-Za-z-]+(?: [A-Za-z-]+)*? (?:policy|boundary)) allows`)
)

func denialOf(err error) denial {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return denial{}
	}
	text := strings.TrimSuffix(sanitize(api.ErrorMessage()), ".")
	d := denial{text: strings.TrimSuffix(api.ErrorCode()+": "+text, ": ")}
	if found := deniedAction.FindStringSubmatch(text); found != nil {
		d.action = found[1]
	}
	if found := explicitDeny.FindStringSubmatch(text); found != nil {
		d.explicit, d.policy = true, found[1]
	} else if found := noAllow.FindStringSubmatch(text); found != nil {
		d.policy = found[1]
	}
	return d
}

const (
	assumeRole        = "sts:AssumeRole"
	tagSession        = "sts:TagSession"
	setSourceIdentity = "sts:SetSourceIdentity"
)

// byTrustPolicy reports whether the role's trust policy can be what denies the call.
func (d denial) byTrustPolicy() bool {
	return !d.explicit && cmp.Or(d.action, assumeRole) == assumeRole && (d.policy == "" || isTrustPolicy(d.policy))
}

func isTrustPolicy(policy string) bool {
	return policy == "role trust policy" || policy == "resource-based policy"
}

// deniedCaller is how advice refers to the caller that was denied.
type deniedCaller struct {
	name      string
	principal string // what a trust policy must name to allow the caller
	uniqueID  string // the form of its unique ID
	// sourceIdentity is whether its session has one, which the role's trust policy must allow.
	sourceIdentity bool
}

func (c Caller) asDenied() deniedCaller {
	id := role.SessionRole(c.ARN)
	if id.IsZero() {
		return deniedCaller{name: c.ARN, principal: c.ARN, uniqueID: "AIDA…"}
	}
	return deniedCaller{name: "role " + c.RoleName(), principal: c.principal(), uniqueID: "AROA…", sourceIdentity: c.SourceIdentity}
}

// advice returns what to do about a denial.
func (d denial) advice(c deniedCaller) string {
	action := cmp.Or(d.action, assumeRole)
	switch {
	case d.explicit && d.policy == "":
		return fmt.Sprintf("That is an explicit deny: no Allow helps against it. Some policy denies %s to %s, or on "+
			"the role; that Deny must go, or except it", action, c.name)
	case d.explicit:
		return fmt.Sprintf("That is an explicit deny, in %s: no Allow helps against it. That Deny of %s must go, or "+
			"except this caller and role", d.policyLocation(c.name), action)
	case d.policy != "" && !isTrustPolicy(d.policy):
		return fmt.Sprintf("An Allow is missing in %s: it must allow %s on the role", d.policyLocation(c.name), action)
	case d.policy != "":
		return fmt.Sprintf("The role's trust policy must allow %s to %s as Principal", action, c.principal) + d.recreatedAdvice(c) +
			c.sourceIdentityAdvice(action)
	}
	switch action {
	case assumeRole:
		return fmt.Sprintf("Does the role exist, does its trust policy name %s as Principal with sts:AssumeRole, and "+
			"do the caller's own policies allow sts:AssumeRole on it?",
			c.principal) + d.recreatedAdvice(c) + c.sourceIdentityAdvice(action)
	case tagSession:
		return allowBoth("The session has tags, from --session-tags or passed on by the controller's own "+
			"session", action, c.principal) + "; or leave --session-tags out"
	case setSourceIdentity:
		return allowBoth("The controller's own session has a source identity, which is passed on", action, c.principal)
	default:
		return allowBoth("More than sts:AssumeRole is needed", action, c.principal)
	}
}

// sourceIdentityAdvice returns what a trust policy needs besides for a session with a source
// identity. AWS's message does not always name the action.
func (c deniedCaller) sourceIdentityAdvice(action string) string {
	if !c.sourceIdentity || action == setSourceIdentity {
		return ""
	}
	return ". The controller's session has a source identity, from IAM Roles Anywhere: the trust policy and the controller's own " +
		"policies must allow sts:SetSourceIdentity too"
}

func allowBoth(why, action, principal string) string {
	return fmt.Sprintf("%s: beside sts:AssumeRole, the role's trust policy must allow %s to %s, and the caller's own "+
		"policies must allow it on the role", why, action, principal)
}

// recreatedAdvice returns how to recognize that the caller was deleted and created again: it has
// the same ARN, but IAM stores the Principal of a trust policy as a unique ID. Source: "Saving a
// principal" in "AWS JSON policy elements: Principal" of the IAM user guide.
func (d denial) recreatedAdvice(c deniedCaller) string {
	if !d.byTrustPolicy() {
		return ""
	}
	return fmt.Sprintf(" If all roles are denied, the caller was probably deleted and made again: trust policies then "+
		"show its former unique ID (%s) in place of its ARN; "+
		"write the ARN there again", c.uniqueID)
}

// policyLocations describe where to find the policy that a denial names; %s is the caller.
var policyLocations = map[string]string{
	"identity-based policy":   "a policy of %s (identity-based policy)",
	"permissions boundary":    "the permissions boundary of %s",
	"session policy":          "the session policy that the session of %s was made with",
	"service control policy":  "a service control policy (SCP) of the AWS organization of %s",
	"resource control policy": "a resource control policy (RCP) of the AWS organization of the role's account",
	"VPC endpoint policy":     "the policy of the VPC endpoint for STS (VPC endpoint policy)",
	"role trust policy":       "the role's trust policy",
	"resource-based policy":   "the role's trust policy (resource-based policy)",
}

// policyLocation returns which policy denies, and whose it is.
func (d denial) policyLocation(caller string) string {
	where, known := policyLocations[d.policy]
	if !known {
		return "a " + d.policy
	}
	return strings.ReplaceAll(where, "%s", caller)
}

// explainDenied returns the message of an AssumeRole that STS denied.
func explainDenied(err error, s Session, c Caller) string {
	d := denialOf(err)
	if c.Is(s.Role) && d.byTrustPolicy() {
		return quoteAnswer(fmt.Sprintf("role %s does not trust itself (STS: ", s.Role), d.text, fmt.Sprintf("), and "+
			"the controller is that role. Add to its trust policy that it may assume itself, as "+
			"scripts/role.yaml has it: Principal AWS arn:%s:iam::%s:root with the condition ArnEquals aws:PrincipalArn "+
			"%s; and allow it sts:AssumeRole on itself. Or it has another path than that: see Path in "+
			"docs/bootstrap.md. Tried again about every minute",
			s.Role.Partition(), s.Role.Account(), s.Role))
	}
	return quoteAnswer(fmt.Sprintf("%s may not assume role %s "+
		"(STS: ", c.ARN, s.Role), d.text, "). "+d.advice(c.asDenied())+". Tried again about every minute")
}
