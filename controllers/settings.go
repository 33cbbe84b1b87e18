package controllers

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Settings are the flags that matter for what is wanted and what is decided.
type Settings struct {
	ClusterName       string
	MountPath         string
	SessionDuration   time.Duration
	RefreshLimit      time.Duration
	UnusedGracePeriod time.Duration
	// ExternalID is a template of {cluster} and {namespace}; empty for none.
	ExternalID string
	// SessionTags are the tags that sessions get: TagCluster, TagNamespace.
	SessionTags []string
	// Seed is the Secret of the controller's own credentials, which it renews; empty if it has them from elsewhere.
	Seed types.NamespacedName
	// DryRunAuthorization tells who would be refused, and refuses nobody.
	DryRunAuthorization bool
}

// The session tags that there can be: names of EKS Pod Identity's. Source: "Grant Pods access to AWS resources based on tags" in the EKS user guide.
const (
	TagCluster   = "eks-cluster-name"
	TagNamespace = "kubernetes-namespace"
)

// ExternalIDOf is the ExternalId of a namespace's sessions: made of what the requester cannot choose, so that he cannot ask in another's name.
func (s Settings) ExternalIDOf(namespace string) string {
	return strings.NewReplacer("{cluster}", s.ClusterName, "{namespace}", namespace).Replace(s.ExternalID)
}

// tags are the tags of a namespace's sessions.
func (s Settings) tags(namespace string) map[string]string {
	values := map[string]string{TagCluster: s.ClusterName, TagNamespace: namespace}
	tags := map[string]string{}
	for _, tag := range s.SessionTags {
		tags[tag] = values[tag]
	}
	return tags
}
