package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
)

// Owned tells whether a Secret is the controller's own: it has the label, and no other controller claims it.
func Owned(s metav1.Object) bool {
	return s.GetLabels()[OwnerLabel] == OwnerValue && metav1.GetControllerOf(s) == nil
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

// What is known of a reduced Secret's credentials, in its StringData.
const (
	knownID    = "access-key-id"
	knownWhole = "whole"
)

// Reduce takes the credentials out of a Secret, so that what keeps it in memory holds none of them, and only a fraction of the bytes. Of the data,
// expire and role-arn stay; what else is to be known goes to StringData, which no API server ever delivers. A reduced Secret is never to be written.
func Reduce(s *corev1.Secret, f Files) {
	if s.StringData != nil {
		return // it is reduced already
	}
	known, expire := map[string]string{}, s.Data[ExpireKey]
	if c, err := Read(s); err == nil {
		known[knownID] = c.AccessKeyID
		expire = []byte(timestamp(c.Expires))
		if of, err := role.ParseARN(string(s.Data[RoleARNKey])); err == nil && includes(s.Data, f.data(of, c), bytes.Equal) {
			known[knownWhole] = ""
		}
	}
	s.StringData = known
	s.Data = map[string][]byte{ExpireKey: expire, RoleARNKey: s.Data[RoleARNKey]}
	s.ManagedFields = nil
}

// Held are the credentials that were in a reduced Secret, without what is secret about them. They are zero if none could be read.
func Held(s *corev1.Secret) credentials.Credentials {
	id := s.StringData[knownID]
	issued, expires, err := ReadLifetime(s)
	if id == "" || err != nil {
		return credentials.Credentials{}
	}
	return credentials.Credentials{AccessKeyID: id, Issued: issued, Expires: expires}
}

// Intact tells whether a reduced Secret said what rendering its target with its own credentials would say: nobody edited it, and it
// is for this role, session, mount path and owner. Labels, annotations and keys that others added do not count.
func Intact(s *corev1.Secret, t Target) bool {
	want := t.meta(Held(s))
	_, whole := s.StringData[knownWhole]
	return whole && string(s.Data[RoleARNKey]) == t.Session.Role.String() && OfAWSIAMRole(s) == OfAWSIAMRole(&want) &&
		includes(s.Labels, want.Labels, equal) && includes(s.Annotations, want.Annotations, equal) && slices.Equal(ownerUIDs(s), ownerUIDs(&want))
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
