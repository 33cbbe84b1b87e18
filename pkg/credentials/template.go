package credentials

import (
	"cmp"
	"strings"
	"time"

	"kube-aws-iam-controller/pkg/role"
)

// SessionTemplate is what the sessions of all Secrets have in common.
type SessionTemplate struct {
	// ClusterName distinguishes this cluster's sessions from those of others.
	ClusterName string
	// Duration is how long a session lasts whose request does not say so.
	Duration time.Duration
	// ExternalID is a template of {cluster} and {namespace}; empty for none.
	ExternalID string
	// ExternalIDs are the roles that have another one.
	ExternalIDs ExternalIDs
	// Tags are the keys of the tags that sessions get: TagCluster, TagNamespace and
	// TagServiceAccount.
	Tags []string
}

// The session tags: names of EKS Pod Identity's. Source: "Grant Pods access to AWS resources based
// on tags" in the EKS user guide.
const (
	TagCluster   = "eks-cluster-name"
	TagNamespace = "kubernetes-namespace"
	// TagServiceAccount is for a ServiceAccount's own Secret only: another has no one
	// ServiceAccount.
	TagServiceAccount = "kubernetes-service-account"
)

// User is who uses the sessions of a Secret.
type User struct {
	Namespace, Secret string
	// ServiceAccount is whose Secret it is, or empty if a namespace shares it.
	ServiceAccount string
}

// Session returns the session of a role for a Secret. It lasts as long as was requested, or the
// template's Duration if that is 0, and at most as long as STS allows the caller.
func (t *SessionTemplate) Session(arn role.ARN, user User, requested time.Duration, caller Caller) Session {
	return Session{
		Role:       arn,
		Name:       role.SessionName(t.ClusterName, user.Namespace, user.Secret),
		Duration:   caller.MaxDuration(t.RequestedDuration(requested)),
		ExternalID: t.externalID(arn, user.Namespace),
		Tags:       t.tags(user),
		Namespace:  user.Namespace,
	}
}

// RequestedDuration returns the duration that was requested, or the template's if that is 0.
func (t *SessionTemplate) RequestedDuration(requested time.Duration) time.Duration {
	return cmp.Or(requested, t.Duration)
}

// externalID returns the ExternalId of a namespace's sessions of a role.
func (t *SessionTemplate) externalID(arn role.ARN, namespace string) string {
	if id, ok := t.ExternalIDs.of(arn); ok {
		return id
	}
	return t.ExternalIDOf(namespace)
}

// ExternalIDOf returns the ExternalId of a namespace's sessions, but for the roles that have
// another one. It has nothing that a requester can choose, so that no one can ask in another's
// name.
func (t *SessionTemplate) ExternalIDOf(namespace string) string {
	return strings.NewReplacer("{cluster}", t.ClusterName, "{namespace}", namespace).Replace(t.ExternalID)
}

// tags returns the tags of a user's sessions. STS takes no tag without a value for one.
func (t *SessionTemplate) tags(user User) map[string]string {
	values := map[string]string{TagCluster: t.ClusterName, TagNamespace: user.Namespace, TagServiceAccount: user.ServiceAccount}
	tags := map[string]string{}
	for _, tag := range t.Tags {
		if value := values[tag]; value != "" {
			tags[tag] = value
		}
	}
	return tags
}
