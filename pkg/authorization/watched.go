package authorization

import (
	"crypto/sha256"
	"encoding/hex"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// watchedKinds has the kinds of object that decisions depend on, by mode. Watching their metadata
// is enough: that they change voids decisions.
var watchedKinds = map[string][]schema.GroupVersionKind{
	ModeRBAC: {
		rbacv1.SchemeGroupVersion.WithKind("Role"), rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
		rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
	},
	ModeNamespace: {corev1.SchemeGroupVersion.WithKind("Namespace")},
}

// WatchedObjects returns an object of each kind whose metadata decisions of the modes depend on.
func WatchedObjects(modes []string) (objects []*metav1.PartialObjectMetadata) {
	for _, mode := range modes {
		for _, kind := range watchedKinds[mode] {
			o := &metav1.PartialObjectMetadata{}
			o.SetGroupVersionKind(kind)
			objects = append(objects, o)
		}
	}
	return objects
}

// Reduce reduces the metadata of a watched object to what is needed: its name and version, and the
// annotations of a Namespace that allow roles. All else can have hundreds of kilobytes.
func Reduce(m *metav1.PartialObjectMetadata) {
	var annotations map[string]string
	for _, key := range []string{AllowedRolesAnnotation, PermittedAnnotation} {
		if value, has := m.Annotations[key]; has && m.Kind == "Namespace" {
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[key] = Bounded(value)
		}
	}
	m.ObjectMeta = metav1.ObjectMeta{
		Namespace: m.Namespace, Name: boundedName(m.Name), UID: m.UID, ResourceVersion: m.ResourceVersion, Annotations: annotations,
	}
}

// boundedName returns a name, or a digest in its place if it is longer than a Secret's can be:
// names of roles and bindings can have hundreds of kilobytes, and nothing is read by them.
func boundedName(name string) string {
	if len(name) <= validation.DNS1123SubdomainMaxLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// SameRights reports whether a watched object that changed gives the same rights as before. Of
// roles and bindings nothing is kept that could show that.
func SameRights(before, after *metav1.PartialObjectMetadata) bool {
	if before.ResourceVersion == after.ResourceVersion {
		return true
	}
	return before.Kind == "Namespace" && before.Annotations[AllowedRolesAnnotation] == after.Annotations[AllowedRolesAnnotation] &&
		before.Annotations[PermittedAnnotation] == after.Annotations[PermittedAnnotation]
}

// Scope returns the namespace whose decisions a watched object is about, or "" for all.
func Scope(m *metav1.PartialObjectMetadata) string {
	if m.Kind == "Namespace" {
		return m.Name
	}
	return m.Namespace
}
