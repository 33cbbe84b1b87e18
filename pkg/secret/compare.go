package secret

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret/keys"
)

// Intact reports whether a reduced Secret had the content that Render returns for the target and
// the Secret's own credentials, and an endpoint token: it was not edited, and it is for this role,
// session, mount path and owner. Additional labels, annotations and keys are ignored,
// but for labels by which tools delete objects on the Secret of an AWSIAMRole, and the credentials
// as keys of their own.
func Intact(s *corev1.Secret, t Target) bool {
	want := t.meta(ReadReduced(s))
	return s.StringData[factComplete] == t.MountPath && hasKeys(s, t) && hasRole(s, t) && isOpaque(s) &&
		BelongsToAWSIAMRole(s) == BelongsToAWSIAMRole(&want) && slices.Equal(ownerUIDs(s), ownerUIDs(&want)) &&
		includes(s.Labels, want.Labels, equal) && includes(s.Annotations, want.Annotations, equal) &&
		(!BelongsToAWSIAMRole(s) || !hasPruning(s.Labels))
}

// hasKeys reports whether a reduced Secret had the credentials as keys of their own if the target
// has them, and otherwise none of these keys.
func hasKeys(s *corev1.Secret, t Target) bool {
	if t.Keys {
		return hasFact(s, factKeys)
	}
	return hasFact(s, factNoKeys)
}

// Digest returns a number that stands for what Render returns for the target, without credentials.
func (t Target) Digest() uint64 {
	want, sum := t.meta(credentials.Credentials{}), fnv.New64a()
	_, _ = fmt.Fprint(sum, want.Labels, want.Annotations, ownerUIDs(&want), t.Keys, t.MountPath) // never fails
	return sum.Sum64()
}

// hasRole reports whether a Secret has credentials of the target's role.
func hasRole(s *corev1.Secret, t Target) bool {
	return string(s.Data[keys.RoleARN]) == t.Session.Role.String()
}

// isOpaque reports whether a Secret has the type that the controller writes. An empty type, as
// objects have that were not read from an API server, counts as Opaque.
func isOpaque(s *corev1.Secret) bool { return s.Type == "" || s.Type == corev1.SecretTypeOpaque }

// Repairable reports whether a reduced Secret holds credentials of the target's session, so that
// the rest of it can be rewritten without issuing new ones. issued is the access key ID that the
// controller last issued for this Secret, or empty if it does not know: if the Secret has that
// access key, its session annotations can be missing.
func Repairable(s *corev1.Secret, t Target, issued string) bool {
	return hasFact(s, factConsistent) && hasRole(s, t) && isOpaque(s) && hasSession(s, t, issued)
}

// hasSession reports whether the session annotations of a Secret are the target's, or missing from
// a Secret with the access key ID issued.
func hasSession(s *corev1.Secret, t Target, issued string) bool {
	want := t.meta(credentials.Credentials{}).Annotations
	isIssued := issued != "" && issued == s.StringData[factAccessKeyID]
	for _, name := range []string{SessionNameAnnotation, SessionDurationAnnotation, ServiceAccountUIDAnnotation} {
		if want[name] == "" { // of no ServiceAccount
			continue
		}
		value, ok := s.Annotations[name]
		if ok && value != want[name] || !ok && !isIssued {
			return false
		}
	}
	return true
}

// Replace returns the rendered Secret with the identity of an existing one, so that the API server
// rejects the write if the existing Secret has changed. Annotations and labels of other writers
// stay. However, the labels of a Secret that belongs to an AWSIAMRole are exactly those of the
// AWSIAMRole, so that removing one there removes it from the Secret.
func Replace(existing metav1.ObjectMeta, rendered *corev1.Secret) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: *existing.DeepCopy(), Type: rendered.Type, Data: rendered.Data}
	s.Annotations = merge(s.Annotations, rendered.Annotations)
	s.OwnerReferences = append(slices.DeleteFunc(s.OwnerReferences, isAWSIAMRole), rendered.OwnerReferences...)
	if BelongsToAWSIAMRole(rendered) || BelongsToAWSIAMRole(&existing) {
		s.Labels = rendered.Labels
	} else {
		s.Labels = merge(s.Labels, rendered.Labels)
	}
	return s
}

func merge(existing, ours map[string]string) map[string]string {
	if existing == nil {
		existing = map[string]string{}
	}
	maps.Copy(existing, ours)
	return existing
}

func isAWSIAMRole(o metav1.OwnerReference) bool { return o.Kind == ownerKind }

// ownerUIDs returns the UIDs of the AWSIAMRoles that own a Secret.
func ownerUIDs(s metav1.Object) []types.UID {
	var uids []types.UID
	for _, o := range s.GetOwnerReferences() {
		if isAWSIAMRole(o) {
			uids = append(uids, o.UID)
		}
	}
	return uids
}

func equal(a, b string) bool { return a == b }

// includes reports whether have contains all entries of want.
func includes[V any](have, want map[string]V, same func(a, b V) bool) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || !same(got, value) {
			return false
		}
	}
	return true
}
