package manifests_test

import (
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// What the controller must be able to do, as "verb resource[.group][:name]", in every namespace and
// in its own.
var (
	needed = []string{
		"list pods", "watch pods",
		"get secrets", "list secrets", "watch secrets", "create secrets", "update secrets", "delete secrets",
		"create events.events.k8s.io", "patch events.events.k8s.io",
		"get awsiamroles.zalando.org", "list awsiamroles.zalando.org", "watch awsiamroles.zalando.org", "update awsiamroles.zalando.org/status",
		"create subjectaccessreviews.authorization.k8s.io",
		"list roles.rbac.authorization.k8s.io", "watch roles.rbac.authorization.k8s.io",
		"list rolebindings.rbac.authorization.k8s.io", "watch rolebindings.rbac.authorization.k8s.io",
		"list clusterroles.rbac.authorization.k8s.io", "watch clusterroles.rbac.authorization.k8s.io",
		"list clusterrolebindings.rbac.authorization.k8s.io", "watch clusterrolebindings.rbac.authorization.k8s.io",
		"list namespaces", "watch namespaces",
		"list serviceaccounts", "watch serviceaccounts",
	}
	neededAtHome = []string{
		"create leases.coordination.k8s.io", "get leases.coordination.k8s.io:" + name, "update leases.coordination.k8s.io:" + name,
		"create events", "patch events",
	}
)

// What it must not, with the namespace, if any. It needs nothing beyond the lists above, so these
// are examples: of what a controller with access to Secrets could do most harm with.
var refused = []string{
	"patch secrets demo", "deletecollection secrets demo",
	"get pods demo", "create pods demo", "update pods demo", "patch pods demo", "delete pods demo",
	"create pods/exec demo", "create pods/eviction demo", "update pods/ephemeralcontainers demo", "update pods/status demo",
	"create deployments.apps demo", "update deployments.apps kube-system",
	"get configmaps demo", "list configmaps demo", "update configmaps kube-system",
	"get nodes", "list nodes", "get nodes/proxy", "get namespaces", "update namespaces", "patch namespaces",
	"get serviceaccounts demo", "create serviceaccounts/token demo", "create serviceaccounts/token kube-system",
	"impersonate serviceaccounts demo", "impersonate users", "impersonate groups",
	"create awsiamroles.zalando.org demo", "update awsiamroles.zalando.org demo", "patch awsiamroles.zalando.org demo", "delete awsiamroles.zalando.org demo",
	"patch awsiamroles.zalando.org/status demo", "assume awsiamroles.zalando.org demo", "assume awsiamroles.zalando.org:orders demo",
	"get roles.rbac.authorization.k8s.io demo", "get rolebindings.rbac.authorization.k8s.io demo",
	"create rolebindings.rbac.authorization.k8s.io kube-system", "create clusterrolebindings.rbac.authorization.k8s.io",
	"escalate clusterroles.rbac.authorization.k8s.io", "bind clusterroles.rbac.authorization.k8s.io",
	"update roles.rbac.authorization.k8s.io kube-system",
	"create validatingwebhookconfigurations.admissionregistration.k8s.io",
	"delete validatingadmissionpolicies.admissionregistration.k8s.io",
	"approve signers.certificates.k8s.io",
	"get leases.coordination.k8s.io demo", "update leases.coordination.k8s.io demo", "create leases.coordination.k8s.io kube-node-lease",
	"get leases.coordination.k8s.io:kube-scheduler kube-system", "update leases.coordination.k8s.io:kube-scheduler kube-system",
	"delete leases.coordination.k8s.io kube-system", "list leases.coordination.k8s.io kube-system",
	"create events demo", "list events.events.k8s.io demo", "delete events.events.k8s.io demo",
	"* *.*",
}

// testRights asks the API server, as the controller's ServiceAccount, what it may do.
func (c *cluster) testRights(t *testing.T) {
	controller := c.as(t, c.serviceAccount(t, name))

	for _, namespace := range []string{samples, namespace} {
		want := slices.Clone(needed)
		if namespace != samples {
			want = append(want, neededAtHome...)
		}
		for _, access := range want {
			if !may(t, controller, access+" "+namespace) {
				t.Errorf("the controller needs and may not: %s %s", access, namespace)
			}
		}
		everyones := rules(t, c.as(t, c.serviceAccount(t, "unbound")), namespace)
		for access := range rules(t, controller, namespace) {
			if !everyones[access] && !slices.Contains(want, access) {
				t.Errorf("the controller may and does not need: %s %s", access, namespace)
			}
		}
	}
	for _, access := range refused {
		if may(t, controller, access) {
			t.Errorf("the controller may %s", access)
		}
	}
	if !may(t, c, "* *.*") {
		t.Error("an administrator may not do all: the question is wrong")
	}
}

// serviceAccount is serviceAccountIn for the namespace of the controller.
func (c *cluster) serviceAccount(t *testing.T, name string) *envtest.AuthenticatedUser {
	t.Helper()
	return c.serviceAccountIn(t, namespace, name)
}

// serviceAccountIn is a user who is for the API server what a pod of this ServiceAccount is.
func (c *cluster) serviceAccountIn(t *testing.T, namespace, name string) *envtest.AuthenticatedUser {
	t.Helper()
	user, err := c.env.AddUser(envtest.User{
		Name:   "system:serviceaccount:" + namespace + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// as is a client with the rights of a user.
func (*cluster) as(t *testing.T, user *envtest.AuthenticatedUser) client.Client {
	t.Helper()
	cfg := user.Config()
	cfg.QPS = -1 // no limit
	c, err := client.New(cfg, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// may asks whether the client's user may do something, given as "verb
// resource[.group][/subresource][:name] [namespace]".
func may(t *testing.T, c client.Client, access string) bool {
	t.Helper()
	verb, what, _ := strings.Cut(access, " ")
	what, namespace, _ := strings.Cut(what, " ")
	what, object, _ := strings.Cut(what, ":")
	what, subresource, _ := strings.Cut(what, "/")
	resource, group, _ := strings.Cut(what, ".")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: verb, Group: group, Resource: resource, Subresource: subresource, Namespace: namespace, Name: object,
		},
	}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// rules lists all that the client's user may do in a namespace, as "verb
// resource[.group][/subresource][:name]" or "verb /path".
func rules(t *testing.T, c client.Client, namespace string) map[string]bool {
	t.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	if review.Status.Incomplete {
		t.Fatal(review.Status.EvaluationError)
	}
	all := map[string]bool{}
	for _, r := range review.Status.ResourceRules {
		for access := range product(r.Verbs, r.Resources, r.APIGroups, r.ResourceNames) {
			all[access] = true
		}
	}
	for _, r := range review.Status.NonResourceRules {
		for access := range product(r.Verbs, r.NonResourceURLs, nil, nil) {
			all[access] = true
		}
	}
	return all
}

// product yields one line for each thing that a rule allows.
func product(verbs, resources, groups, names []string) func(yield func(string) bool) {
	orNone := func(s []string) []string {
		if len(s) == 0 {
			return []string{""}
		}
		return s
	}
	return func(yield func(string) bool) {
		for _, verb := range verbs {
			for _, resource := range resources {
				for _, group := range orNone(groups) {
					for _, name := range orNone(names) {
						kind, subresource, has := strings.Cut(resource, "/")
						access := strings.TrimSuffix(verb+" "+kind+"."+group, ".")
						if has {
							access += "/" + subresource
						}
						if !yield(strings.TrimRight(access+":"+name, ":")) {
							return
						}
					}
				}
			}
		}
	}
}
