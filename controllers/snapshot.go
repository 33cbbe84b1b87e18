package controllers

import (
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/podindex"
	"kube-aws-iam-controller/pkg/records"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secretstore"
	"kube-aws-iam-controller/pkg/serviceaccounts"
)

// snapshot is the state of one Secret, and what is needed to act on a decision about it.
type snapshot struct {
	state

	name types.NamespacedName
	// taken is when the snapshot was taken.
	taken renewal.Moment
	// known is what was remembered of the Secret, and next what is remembered after the reconcile.
	known, next records.Record
	// lastFailure is the last failure if its cause can still be there, whatever it is about.
	lastFailure *records.Failure
	// resource is the AWSIAMRole of the Secret's name, if it exists, and ofResource its claim.
	resource   *v1.AWSIAMRole
	ofResource *claim
	// consumers are the pods that ask for the Secret. strangers do so as well, but it is the Secret
	// of another ServiceAccount than theirs.
	consumers, strangers []podindex.Consumer
	// accounts are the names of the consumers' ServiceAccounts, and byAccount has the consumers by
	// them.
	accounts  []string
	byAccount map[string][]podindex.Consumer
	// aws are the identities that serve the Secret.
	aws credentials.Identities
	// requester is the ServiceAccount that asks for the Secret, if it is the own one of a
	// ServiceAccount; webIdentity is true if its role is assumed by a token of that.
	requester   *serviceaccounts.ServiceAccount
	webIdentity bool
	// claim is the request that decides what is in the Secret.
	*claim
	// replacedRole is the role that the pods ask for by the Secret's name, if the AWSIAMRole
	// decides that it is another.
	replacedRole string
	// currentAllowed reports whether a claim has the right to the role that the Secret holds while
	// another is asked for.
	currentAllowed bool
	// target is what the Secret is to be for. It is empty while that is not known.
	target secret.Target
}

// claim is one request for a Secret: that of an AWSIAMRole, or the one that all pods make by the
// Secret's name.
type claim struct {
	request.Request
	// owner is the AWSIAMRole that makes it; nil for pods, and for the seed.
	owner *v1.AWSIAMRole
	// account is the ServiceAccount that makes it for its pods; nil for others.
	account *serviceaccounts.ServiceAccount
	// arn is the role, if that is known, and base where roles lie that are asked for by name.
	arn  role.ARN
	base role.Base
	// problem is why it can never be served, and blocked why the controller cannot serve any at
	// the moment.
	problem, blocked error
	// ruling is what the reviews of it said.
	ruling authorization.Ruling
	// denied are the ServiceAccounts of pods that have no right to the role. In a dry run they get
	// it all the same.
	denied sets.Set[string]
	// duration is how long a session is asked for, which can be longer than the target's.
	duration time.Duration
}

func (c *claim) kind() authorization.Kind {
	switch {
	case c.owner != nil:
		return authorization.ByAWSIAMRole
	case c.account != nil:
		return authorization.ByServiceAccount
	default:
		return authorization.ByPods
	}
}

// rejected reports whether a claim is not served.
func (c *claim) rejected() bool { return c.problem != nil || c.isRefused() }

// isRefused reports whether the role is refused.
func (c *claim) isRefused() bool { return c.problem == nil && c.ruling.Refused() }

// problemReason returns the reason of a problem.
func (c *claim) problemReason() string {
	if _, without := errors.AsType[*request.WithoutRoleError](c.problem); without {
		return v1.ReasonServiceAccountWithoutRole
	}
	return v1.ReasonInvalidRole
}

// rejection returns why a claim is rejected, as reason and message.
func (c *claim) rejection() (reason, note string) {
	if c.problem != nil {
		return c.problemReason(), c.problem.Error()
	}
	if c.ruling.Unknown != nil {
		return v1.ReasonAuthorizationUnknown, c.ruling.Unknown.Error()
	}
	return v1.ReasonRoleForbidden, c.ruling.Decision.Message()
}

// refuses reports whether a pod does not get the role.
func (c *claim) refuses(pod *podindex.Pod) bool {
	return c.denied.Has(pod.ServiceAccount) && !c.ruling.DryRun
}

// user returns who uses the sessions of the Secret.
func (s *snapshot) user() credentials.User {
	return credentials.User{Namespace: s.name.Namespace, Secret: s.name.Name, ServiceAccount: s.ServiceAccount()}
}

// entitled returns the pods that ask for the Secret and are not refused.
func (s *snapshot) entitled() []podindex.Consumer {
	return slices.DeleteFunc(slices.Clone(s.consumers), func(c podindex.Consumer) bool { return s.refuses(c.Pod) })
}

// assumer returns the identity that assumes the role of the Secret.
func (s *snapshot) assumer() credentials.Identity {
	if s.seed {
		return s.aws.SeedAssumer
	}
	return s.aws.Assumer
}

// writeOf returns the write that was decided, without its result.
func (s *snapshot) writeOf(d decision) *secretstore.Write {
	w := &secretstore.Write{Cause: d.reason, Target: &s.target}
	if s.current != nil {
		w.Before = s.current.credentials.AccessKeyID
	}
	return w
}
