package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
)

// Owned reports whether a Secret is the controller's own: it has the label, no other controller
// claims it, and it is no copy of one.
func Owned(s metav1.Object) bool {
	return s.GetLabels()[OwnerLabel] == OwnerValue && metav1.GetControllerOf(s) == nil && CopyOf(s) == ""
}

// CopyOf returns the namespace and name, as <namespace>/<name>, of the Secret that a Secret was
// copied from, as programs do that replicate Secrets with their labels; it is empty for one that
// is no copy, and for one of an older version, which does not say what it is.
func CopyOf(s metav1.Object) string {
	original := s.GetAnnotations()[SelfAnnotation]
	if original == (types.NamespacedName{Namespace: s.GetNamespace(), Name: s.GetName()}).String() {
		return ""
	}
	return original
}

// ownerKind is the kind of an owner that is an AWSIAMRole.
const ownerKind = "AWSIAMRole"

// OfAWSIAMRole tells whether a Secret belongs to an AWSIAMRole.
func OfAWSIAMRole(s metav1.Object) bool { return s.GetLabels()[TypeLabel] == TypeAWSIAMRole }

// Read returns the credentials in a Secret that is not reduced. The error says what is missing; it never holds what is there.
func Read(s *corev1.Secret) (credentials.Credentials, error) {
	var process processCredentials
	if err := json.Unmarshal(s.Data[JSONKey], &process); err != nil {
		return credentials.Credentials{}, fmt.Errorf("key %s is not the JSON of a credential_process", JSONKey)
	}
	if process.AccessKeyId == "" || process.SecretAccessKey == "" || process.SessionToken == "" {
		return credentials.Credentials{}, fmt.Errorf("key %s is incomplete", JSONKey)
	}
	issued, expires, err := ReadLifetime(s)
	_, has := s.Data[ExpireKey]
	if told, tellErr := time.Parse(time.RFC3339, process.Expiration); tellErr == nil && (!has || err == nil && told.After(expires)) {
		// A seed that somebody put there by hand: the controller never tells a later expiry than the real one.
		issued, expires, err = told.Add(-usualSession).UTC(), told.UTC(), nil
	}
	if err != nil {
		return credentials.Credentials{}, err
	}
	return credentials.Credentials{
		AccessKeyID:     process.AccessKeyId,
		SecretAccessKey: credentials.Redact(process.SecretAccessKey),
		SessionToken:    credentials.Redact(process.SessionToken),
		Issued:          issued,
		Expires:         expires,
	}, nil
}

// usualSession is how long credentials live that do not say when they were issued, as those of
// zalando-incubator/kube-aws-iam-controller: the default of STS AssumeRole.
const usualSession = time.Hour

// ReadLifetime returns when the credentials in a Secret were issued and when they expire, at a small part of the cost of Read.
func ReadLifetime(s *corev1.Secret) (issued, expires time.Time, err error) {
	expires, err = time.Parse(time.RFC3339, string(s.Data[ExpireKey]))
	if err != nil {
		return time.Time{}, time.Time{}, fmt.Errorf("key %s is not a time of RFC 3339", ExpireKey)
	}
	issued, err = time.Parse(time.RFC3339, s.Annotations[IssuedAtAnnotation])
	if err != nil || issued.After(expires) {
		issued = expires.Add(-usualSession)
	}
	return issued.UTC(), expires.UTC(), nil
}

// What is known of a reduced Secret's data, in its StringData.
const (
	knownID      = "access-key-id"
	knownWhole   = "whole"
	knownOwnKeys = "own-keys"
	knownCut     = "cut"
)

// How many bytes of labels, of annotations, and of owners and finalizers a reduced Secret keeps:
// those of an AWSIAMRole and some of other writers.
const (
	maxLabels      = 8 << 10
	maxAnnotations = 4 << 10
	maxOwners      = 4 << 10
)

// Reduce takes the credentials out of a Secret, so that what keeps it in memory holds none of
// them, and only a fraction of the bytes: at most a constant, whatever others wrote into it. Of
// the data, expire and role-arn stay; what else is to be known goes to StringData, which no API
// server ever delivers. A reduced Secret must never be written.
func Reduce(s *corev1.Secret, f Files) {
	if s.StringData != nil {
		return // it is reduced already
	}
	known, expire := map[string]string{}, cut(s.Data[ExpireKey])
	if c, err := Read(s); err == nil && len(c.AccessKeyID) <= maxKept {
		known[knownID] = c.AccessKeyID
		expire = []byte(timestamp(c.Expires))
		if consistent(s.Data, c) {
			known[knownOwnKeys] = ""
		}
		if of, err := role.ParseARN(string(s.Data[RoleARNKey])); err == nil && includes(s.Data, f.data(of, c), bytes.Equal) {
			known[knownWhole] = ""
		}
	}
	if reduceMeta(&s.ObjectMeta) {
		known[knownCut] = ""
	}
	s.Data = map[string][]byte{ExpireKey: expire, RoleARNKey: cut([]byte(roleOf(s)))}
	s.StringData = known
}

// maxKept is how long a value may be that a reduced Secret keeps. The longest that is ours is a
// role's ARN.
const maxKept = 1024

// cut returns a copy of a value, which keeps nothing else in memory, or nothing if the value is
// too long to be ours.
func cut(value []byte) []byte {
	if len(value) > maxKept {
		return nil
	}
	return bytes.Clone(value)
}

// reduceMeta drops what is of no use, and what other writers added to labels, annotations, owners
// and finalizers beyond a constant. It reports whether any of that is missing now, so that
// writing the Secret would erase it.
func reduceMeta(m *metav1.ObjectMeta) (dropped bool) {
	m.ManagedFields = nil
	if size(m.Labels) > maxLabels {
		m.Labels, dropped = short(m.Labels, OwnerLabel, TypeLabel), true
	}
	if size(m.Annotations) > maxAnnotations {
		m.Annotations, dropped = short(m.Annotations, ownAnnotations...), true
	}
	if ownersSize(m) > maxOwners {
		m.OwnerReferences, m.Finalizers, dropped = decidingOwners(m), nil, true
	}
	return dropped
}

// size returns how many bytes labels or annotations have.
func size(texts map[string]string) (n int) {
	for key, value := range texts {
		n += len(key) + len(value)
	}
	return n
}

// ownersSize returns how many bytes the owners and finalizers of a Secret have.
func ownersSize(m *metav1.ObjectMeta) (n int) {
	for _, o := range m.OwnerReferences {
		n += len(o.APIVersion) + len(o.Kind) + len(o.Name) + len(o.UID)
	}
	for _, finalizer := range m.Finalizers {
		n += len(finalizer)
	}
	return n
}

// decidingOwners returns the owner that controls a Secret, and the first that is an AWSIAMRole,
// cut to what is compared.
func decidingOwners(m *metav1.ObjectMeta) (owners []metav1.OwnerReference) {
	if controller := metav1.GetControllerOf(m); controller != nil {
		owners = append(owners, metav1.OwnerReference{Kind: "other", Controller: controller.Controller})
	}
	if i := slices.IndexFunc(m.OwnerReferences, isAWSIAMRole); i >= 0 && len(m.OwnerReferences[i].UID) <= maxKept {
		owners = append(owners, metav1.OwnerReference{Kind: ownerKind, UID: m.OwnerReferences[i].UID})
	}
	return owners
}

// short returns those of the named texts that are not too long to be ours.
func short(texts map[string]string, names ...string) map[string]string {
	kept := map[string]string{}
	for _, name := range names {
		if value, ok := texts[name]; ok && len(value) <= maxKept {
			kept[name] = strings.Clone(value)
		}
	}
	return kept
}

// Cut reports whether a reduced Secret lacks labels, annotations or owners that it has in the API
// server.
func Cut(s *corev1.Secret) bool {
	_, lacks := s.StringData[knownCut]
	return lacks
}

// roleOf returns the ARN of the role that a Secret says its credentials are of. Where the key is
// missing, the files say.
func roleOf(s *corev1.Secret) string {
	if arn, ok := s.Data[RoleARNKey]; ok {
		return string(arn)
	}
	var container containerCredentials
	if err := json.Unmarshal(s.Data[ContainerKey], &container); err == nil && container.RoleArn != "" {
		return container.RoleArn
	}
	return s.Annotations[RoleARNAnnotation]
}

// consistent reports whether all files in a Secret that have credentials have these, and none
// says that they expire later than they do. Files may be missing.
func consistent(data map[string][]byte, c credentials.Credentials) bool {
	expiration := timestamp(c.UsableUntil())
	var process processCredentials
	if err := json.Unmarshal(data[JSONKey], &process); err != nil || process.Expiration != expiration {
		return false
	}
	if file, ok := data[ContainerKey]; ok {
		var container containerCredentials
		if err := json.Unmarshal(file, &container); err != nil || container.AccessKeyId != c.AccessKeyID || container.SecretAccessKey != c.SecretAccessKey.Reveal() ||
			container.Token != c.SessionToken.Reveal() || container.Expiration != expiration {
			return false
		}
	}
	file, ok := data[StaticKey]
	return !ok || bytes.Equal(file, static(c))
}

// Held returns the credentials that were in a reduced Secret, without what is secret about them.
// They are zero if none could be read.
func Held(s *corev1.Secret) credentials.Credentials {
	id := s.StringData[knownID]
	issued, expires, err := ReadLifetime(s)
	if id == "" || err != nil {
		return credentials.Credentials{}
	}
	return credentials.Credentials{AccessKeyID: id, Issued: issued, Expires: expires}
}

// Intact reports whether a reduced Secret said what rendering its target with its own credentials
// would say: it was not edited, and it is for this role, session, mount path and owner. Labels,
// annotations and keys that others added do not count.
func Intact(s *corev1.Secret, t Target) bool {
	want := t.meta(Held(s))
	_, whole := s.StringData[knownWhole]
	return whole && string(s.Data[RoleARNKey]) == t.Session.Role.String() && OfAWSIAMRole(s) == OfAWSIAMRole(&want) && opaque(s) &&
		includes(s.Labels, want.Labels, equal) && includes(s.Annotations, want.Annotations, equal) && slices.Equal(ownerUIDs(s), ownerUIDs(&want))
}

// opaque reports whether a Secret is of the type that the controller writes. No type, as in
// tests, stands for Opaque.
func opaque(s *corev1.Secret) bool { return s.Type == "" || s.Type == corev1.SecretTypeOpaque }

// Repairable reports whether a reduced Secret holds credentials of its target's session, so that
// what surrounds them can be written again without new ones. issued is the ID of the access key
// that the controller knows to have issued for this Secret last, or empty: it stands in for
// annotations that are missing.
func Repairable(s *corev1.Secret, t Target, issued string) bool {
	_, own := s.StringData[knownOwnKeys]
	return own && string(s.Data[RoleARNKey]) == t.Session.Role.String() && opaque(s) && ofSession(s, t, issued)
}

// ofSession reports whether the annotations of a Secret, where it has them, are those of its
// target's session.
func ofSession(s *corev1.Secret, t Target, issued string) bool {
	want := t.meta(credentials.Credentials{}).Annotations
	for _, name := range []string{SessionNameAnnotation, SessionDurationAnnotation} {
		value, has := s.Annotations[name]
		if (has && value != want[name]) || (!has && (issued == "" || issued != s.StringData[knownID])) {
			return false
		}
	}
	return true
}

// Replace is the rendered Secret in place of an existing one, whose identity stays, so that the API server refuses to write if it is no
// longer the one that was judged. Annotations that others added stay, and so do labels; but the labels of a Secret of an AWSIAMRole are those
// of its owner, so that one that is taken from the owner is taken from the Secret.
func Replace(existing metav1.ObjectMeta, rendered *corev1.Secret) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: *existing.DeepCopy(), Type: rendered.Type, Data: rendered.Data}
	s.Annotations = merge(s.Annotations, rendered.Annotations)
	s.OwnerReferences = append(slices.DeleteFunc(s.OwnerReferences, isAWSIAMRole), rendered.OwnerReferences...)
	if OfAWSIAMRole(rendered) || OfAWSIAMRole(&existing) {
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

// ownerUIDs are the AWSIAMRoles that own a Secret.
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

func includes[V any](have, want map[string]V, same func(a, b V) bool) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || !same(got, value) {
			return false
		}
	}
	return true
}
