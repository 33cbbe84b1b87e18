package secret

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret/keys"
)

// IsManaged reports whether the controller manages a Secret: it has the label, no other controller
// owns it, and it is not a copy.
func IsManaged(s metav1.Object) bool {
	return s.GetLabels()[OwnerLabel] == OwnerValue && metav1.GetControllerOf(s) == nil && CopiedFrom(s) == ""
}

// CopiedFrom returns the namespace and name, as <namespace>/<name>, of the Secret that s is a copy
// of, as tools make that replicate Secrets with their labels. It returns an empty string if s is
// not a copy, and for Secrets of older versions, which lack the annotation.
func CopiedFrom(s metav1.Object) string {
	original := s.GetAnnotations()[SelfAnnotation]
	if original == (types.NamespacedName{Namespace: s.GetNamespace(), Name: s.GetName()}).String() {
		return ""
	}
	return original
}

// ownerKind is the kind of AWSIAMRoles in owner references.
const ownerKind = "AWSIAMRole"

// BelongsToAWSIAMRole reports whether a Secret belongs to an AWSIAMRole, by its label.
func BelongsToAWSIAMRole(s metav1.Object) bool { return s.GetLabels()[TypeLabel] == TypeAWSIAMRole }

// IsOfAnotherServiceAccount reports whether a Secret was issued for a ServiceAccount with another
// UID.
func IsOfAnotherServiceAccount(s metav1.Object, account types.UID) bool {
	uid := s.GetAnnotations()[ServiceAccountUIDAnnotation]
	return uid != "" && uid != string(account)
}

// Read returns the credentials in a Secret that is not reduced. The error says what is missing or
// invalid, and never includes data of the Secret.
func Read(s *corev1.Secret) (credentials.Credentials, error) {
	var process processCredentials
	if err := json.Unmarshal(s.Data[keys.CredentialsJSON], &process); err != nil {
		return credentials.Credentials{}, fmt.Errorf("key %s is not the JSON of a credential_process", keys.CredentialsJSON)
	}
	if process.AccessKeyId == "" || process.SecretAccessKey == "" || process.SessionToken == "" {
		return credentials.Credentials{}, fmt.Errorf("key %s is incomplete", keys.CredentialsJSON)
	}
	issued, expires, err := readLifetime(s, process.Expiration)
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

// readLifetime is ReadLifetime for a Secret whose credentials.json says when they expire. That
// counts in a seed Secret that a user wrote, which lacks the key expire, or has an earlier value of
// it. What the controller writes never says a later time than the key expire.
func readLifetime(s *corev1.Secret, expiration string) (issued, expires time.Time, err error) {
	issued, expires, err = ReadLifetime(s)
	_, hasExpire := s.Data[keys.Expire]
	at, parseErr := time.Parse(time.RFC3339, expiration)
	if parseErr == nil && (!hasExpire || err == nil && at.After(expires)) {
		return at.Add(-defaultSession).UTC(), at.UTC(), nil
	}
	return issued, expires, err
}

// defaultSession is the assumed session duration of credentials without a time of issue, such as
// those that zalando-incubator/kube-aws-iam-controller wrote: the default of STS AssumeRole.
const defaultSession = time.Hour

// ReadLifetime returns the times at which the credentials in a Secret were issued and expire, at a
// small part of the cost of Read.
func ReadLifetime(s *corev1.Secret) (issued, expires time.Time, err error) {
	expires, err = time.Parse(time.RFC3339, string(s.Data[keys.Expire]))
	if err != nil {
		return time.Time{}, time.Time{}, fmt.Errorf("key %s is not a time of RFC 3339", keys.Expire)
	}
	issued, err = time.Parse(time.RFC3339, s.Annotations[IssuedAtAnnotation])
	if err != nil || issued.After(expires) {
		issued = expires.Add(-defaultSession)
	}
	return issued.UTC(), expires.UTC(), nil
}
