package access

import (
	"fmt"
	"slices"
	"strings"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
)

// Policy is a trust policy of IAM. Source: "Grammar of the IAM JSON policy language" in the IAM
// user guide.
type Policy struct {
	Version   string      `json:"Version"`
	Statement []Statement `json:"Statement"`
}

// Statement is a statement of a Policy.
type Statement struct {
	Effect    string            `json:"Effect"`
	Principal map[string]string `json:"Principal"`
	Action    any               `json:"Action"`
	Condition Condition         `json:"Condition"`
}

// Condition has the values of condition keys, for each operator.
type Condition map[string]map[string]any

// By is by what a trust policy knows who asks.
type By string

// The ways to limit a role to its users; see docs/security.md and docs/web-identity.md.
const (
	BySession     By = "session-name"
	ByTags        By = "tags"
	ByExternalID  By = "external-id"
	ByWebIdentity By = "web-identity"
)

// Trust is who is to be trusted, and by what.
type Trust struct {
	Role role.ARN
	// Principal is the ARN of the controller's role. Web identity does not need it.
	Principal string
	Template  credentials.SessionTemplate
	// ID is the ExternalId of the role alone, in place of the template's.
	ID string
	// SourceIdentity is set for a controller whose sessions have one, as by IAM Roles Anywhere.
	SourceIdentity bool
	// Users are the Secrets by which the role is asked for.
	Users []credentials.User
	// Issuer, Account and Audience are of the web identity.
	Issuer, Account, Audience string
}

// Policy returns the trust policy that lets the users have the role, and no other namespace.
func (t *Trust) Policy(by By) (*Policy, error) {
	if by == ByWebIdentity {
		return t.webIdentity()
	}
	keys, err := t.conditions(by)
	if err != nil {
		return nil, err
	}
	actions := []string{"sts:AssumeRole"}
	if len(t.Template.Tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if t.SourceIdentity {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	return policy(map[string]string{"AWS": t.Principal}, actions, keys), nil
}

// conditions returns the values of the condition keys.
func (t *Trust) conditions(by By) (map[string]any, error) {
	values := map[string][]string{}
	for _, user := range t.Users {
		s := t.Template.Session(t.Role, user, 0, credentials.Caller{})
		switch by {
		case BySession:
			values["sts:RoleSessionName"] = append(values["sts:RoleSessionName"], s.Name)
		case ByExternalID:
			id, err := t.externalID(s.ExternalID)
			if err != nil {
				return nil, err
			}
			values["sts:ExternalId"] = append(values["sts:ExternalId"], id)
		case ByTags:
			if s.Tags[credentials.TagCluster] == "" || s.Tags[credentials.TagNamespace] == "" {
				return nil, fmt.Errorf("the controller's --session-tags lack %s or %s: %s", credentials.TagCluster, credentials.TagNamespace, otherWays)
			}
			for tag, value := range s.Tags {
				values["aws:RequestTag/"+tag] = append(values["aws:RequestTag/"+tag], value)
			}
		default:
			return nil, fmt.Errorf("--by=%s is unknown", by)
		}
	}
	return distinct(values, len(t.Users)), nil
}

const otherWays = "use another --by"

// externalID returns the ExternalId that the condition names, which is the template's for a
// namespace if the role has no other one.
func (t *Trust) externalID(ofNamespace string) (string, error) {
	switch {
	case t.ID != "":
		return t.ID, nil
	case ofNamespace == "":
		return "", fmt.Errorf("the controller has no --external-id: %s", otherWays)
	case !strings.Contains(t.Template.ExternalID, "{namespace}"):
		return "", fmt.Errorf("--external-id=%s is the same for all namespaces: %s", t.Template.ExternalID, otherWays)
	}
	return ofNamespace, nil
}

// distinct returns each value of a condition key once. A key that not all users have is left out:
// with it, the others would be refused.
func distinct(values map[string][]string, users int) map[string]any {
	keys := map[string]any{}
	for key, all := range values {
		if len(all) < users {
			continue
		}
		slices.Sort(all)
		if all = slices.Compact(all); len(all) == 1 {
			keys[key] = all[0]
		} else {
			keys[key] = all
		}
	}
	return keys
}

// webIdentity returns the policy that trusts the ServiceAccount itself.
func (t *Trust) webIdentity() (*Policy, error) {
	if t.Account == "" {
		return nil, fmt.Errorf("web identity is for the Secret of a ServiceAccount only: %s", otherWays)
	}
	provider, ok := strings.CutPrefix(t.Issuer, "https://")
	if !ok {
		return nil, fmt.Errorf("the issuer %q of the cluster is no https URL", t.Issuer)
	}
	principal := map[string]string{"Federated": fmt.Sprintf("arn:%s:iam::%s:oidc-provider/%s", t.Role.Partition(), t.Role.Account(), provider)}
	return policy(principal, []string{"sts:AssumeRoleWithWebIdentity"}, map[string]any{
		provider + ":sub": "system:serviceaccount:" + t.Users[0].Namespace + ":" + t.Account, provider + ":aud": t.Audience,
	}), nil
}

func policy(principal map[string]string, actions []string, keys map[string]any) *Policy {
	s := Statement{Effect: "Allow", Principal: principal, Action: actions, Condition: Condition{"StringEquals": keys}}
	if len(actions) == 1 {
		s.Action = actions[0]
	}
	return &Policy{Version: "2012-10-17", Statement: []Statement{s}}
}
