package migration

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"kube-aws-iam-controller/pkg/request"
)

// Manifests returns what a namespace needs, each object once: rights first, so that no pod waits
// for one, and labels of the Namespace before those of ServiceAccounts, which stay only then.
func Manifests(uses []Use, namespace string) []runtime.Object {
	grants := map[string][]runtime.Object{}
	accounts := map[string]runtime.Object{}
	var labeled []runtime.Object
	for i := range uses {
		u := &uses[i]
		if u.Namespace != namespace {
			continue
		}
		for j := range u.Rights {
			role, binding := u.Rights[j].Grant()
			grants[role.Name] = []runtime.Object{role, binding}
		}
		if u.LabelNamespace && labeled == nil {
			labeled = []runtime.Object{&metav1.PartialObjectMetadata{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
				ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{request.InjectLabel: "true"}},
			}}
		}
		if u.LabelAccount {
			accounts[u.Account] = &metav1.PartialObjectMetadata{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: u.Account, Labels: map[string]string{request.RoleAnnotatedLabel: "true"}},
			}
		}
	}
	var all []runtime.Object
	for _, name := range slices.Sorted(maps.Keys(grants)) {
		all = append(all, grants[name]...)
	}
	all = append(all, labeled...)
	for _, name := range slices.Sorted(maps.Keys(accounts)) {
		all = append(all, accounts[name])
	}
	return all
}

// Namespaces returns the namespaces of uses, sorted.
func Namespaces(uses []Use) []string {
	names := map[string]bool{}
	for i := range uses {
		names[uses[i].Namespace] = true
	}
	delete(names, corev1.NamespaceAll)
	return slices.Sorted(maps.Keys(names))
}
