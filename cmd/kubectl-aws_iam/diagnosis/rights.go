package diagnosis

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
)

// rule is a rule of the controller's ClusterRole or Role.
type rule struct {
	group, resource, subresource string
	verbs                        []string
	// scope is where the right is needed.
	scope scope
	// lease is true for the Lease alone.
	lease bool
}

type scope int

const (
	served scope = iota // in the namespaces that are served
	whole               // in the whole cluster
	itsOwn              // in the controller's own namespace
)

// rules are those of config/rbac/role.yaml.
var rules = []rule{
	{resource: "namespaces", verbs: []string{"list", "watch"}, scope: whole},
	{resource: "pods", verbs: []string{"list", "watch"}},
	{resource: "serviceaccounts", verbs: []string{"list", "watch"}},
	{resource: "secrets", verbs: []string{"create", "delete", "get", "list", "update", "watch"}},
	{group: "authorization.k8s.io", resource: "subjectaccessreviews", verbs: []string{"create"}, scope: whole},
	{group: "events.k8s.io", resource: "events", verbs: []string{"create", "patch"}},
	{group: "rbac.authorization.k8s.io", resource: "clusterrolebindings", verbs: []string{"list", "watch"}, scope: whole},
	{group: "rbac.authorization.k8s.io", resource: "clusterroles", verbs: []string{"list", "watch"}, scope: whole},
	{group: "rbac.authorization.k8s.io", resource: "rolebindings", verbs: []string{"list", "watch"}},
	{group: "rbac.authorization.k8s.io", resource: "roles", verbs: []string{"list", "watch"}},
	{group: "zalando.org", resource: "awsiamroles", verbs: []string{"get", "list", "watch"}},
	{group: "zalando.org", resource: "awsiamroles", subresource: "status", verbs: []string{"update"}},
	{resource: "events", verbs: []string{"create", "patch"}, scope: itsOwn},
	{group: "coordination.k8s.io", resource: "leases", verbs: []string{"create"}, scope: itsOwn},
	{group: "coordination.k8s.io", resource: "leases", verbs: []string{"get", "update"}, scope: itsOwn, lease: true},
}

// Rights returns the rights that a controller needs which runs in a namespace.
func Rights(s *settings.Settings, own string) []authorizationv1.ResourceAttributes {
	namespaces := s.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	var needed []authorizationv1.ResourceAttributes
	for _, r := range rules {
		in := map[scope][]string{served: namespaces, whole: {metav1.NamespaceAll}, itsOwn: {own}}[r.scope]
		for _, namespace := range in {
			for _, verb := range r.verbs {
				a := authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: r.group, Resource: r.resource, Subresource: r.subresource}
				if r.lease {
					a.Name = s.LeaseName()
				}
				needed = append(needed, a)
			}
		}
	}
	return needed
}
