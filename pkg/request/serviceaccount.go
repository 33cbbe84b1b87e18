package request

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/role"
)

// The annotations of a ServiceAccount.
const (
	// RoleAnnotation is the role: a name under the base role ARN, or an ARN. It decides if EKS's
	// annotation is there, too.
	RoleAnnotation = "iam.amazonaws.com/role"
	// RoleARNAnnotation is the role as IAM roles for service accounts of EKS have it.
	RoleARNAnnotation = "eks.amazonaws.com/role-arn"
	// DurationAnnotation is the session duration in seconds.
	DurationAnnotation = "iam.amazonaws.com/session-duration"
	// AudienceAnnotation is the audience of web identity tokens, as EKS has it.
	AudienceAnnotation = "eks.amazonaws.com/audience"
	// KeysAnnotation asks with "true" for the three credentials as keys of their own, on an
	// AWSIAMRole, too.
	KeysAnnotation = "iam.amazonaws.com/keys"
	// MountPathAnnotation is the directory in which pods have the files of the Secret, on an
	// AWSIAMRole, too. With one of its own, a second Secret is of use in a container.
	MountPathAnnotation = "iam.amazonaws.com/mount-path"
)

// WithoutRoleError is the error of pods that mount the Secret of a ServiceAccount which asks for no
// role.
type WithoutRoleError struct{ Namespace, ServiceAccount string }

// Error implements error.
func (e *WithoutRoleError) Error() string {
	return fmt.Sprintf("ServiceAccount %s has no annotation %s, or does not exist, so Secret %s%s has no role. To give it one: "+
		"kubectl annotate serviceaccount --namespace %s %s %s=<role name or ARN>",
		quoted(e.ServiceAccount), RoleAnnotation, ServiceAccountPrefix, e.ServiceAccount, e.Namespace, e.ServiceAccount, RoleAnnotation)
}

var serviceAccountAnnotations = []string{RoleAnnotation, RoleARNAnnotation, DurationAnnotation, AudienceAnnotation, KeysAnnotation, MountPathAnnotation}

const (
	// minDuration and maxDuration are the limits of a session's duration. Source: the API reference
	// of AssumeRole.
	minDuration = 15 * time.Minute
	maxDuration = 12 * time.Hour
	// maxAudience is the longest audience, in bytes, that an IAM OIDC identity provider can have.
	// Source: the API reference of CreateOpenIDConnectProvider.
	maxAudience = 255
	// maxAnnotation limits what ReduceServiceAccount keeps of an annotation, in bytes. It is more
	// than any valid value has.
	maxAnnotation = 1024
	// maxReason limits what a message says of why a role is none, in bytes.
	maxReason = 512
)

// ServiceAccountOf returns the name of the ServiceAccount whose Secret has this name, and reports
// whether it is the name of such a Secret.
func ServiceAccountOf(secret string) (name string, ok bool) {
	if name, ok = strings.CutPrefix(secret, ServiceAccountPrefix); !ok {
		return "", false
	}
	return name, true
}

// IsOfServiceAccount reports whether a Secret of this name is the own one of a ServiceAccount.
func IsOfServiceAccount(secret string) bool { return strings.HasPrefix(secret, ServiceAccountPrefix) }

// ServiceAccount returns the name of the ServiceAccount whose annotations say which role the Secret
// is for, or an empty string if the Request is of another kind.
func (r Request) ServiceAccount() string {
	if r.source == awsIAMRole {
		return ""
	}
	name, _ := ServiceAccountOf(r.Secret)
	return name
}

// FromServiceAccount returns what a ServiceAccount asks for by its annotations, and reports whether
// it asks for anything. A mistake in an annotation is an error of the Request's Validate.
func FromServiceAccount(account *metav1.PartialObjectMetadata) (Request, bool) {
	if !asksForRole(account) {
		return Request{}, false
	}
	r := Request{Secret: shorten(ServiceAccountPrefix+account.Name, maxSecretName), source: serviceAccount}
	for _, read := range []func(map[string]string) string{r.readRole, r.readDuration, r.readAudience, r.readKeys, r.readMountPath} {
		if problem := read(account.Annotations); problem != "" && r.invalid == "" {
			r.invalid = fmt.Sprintf("ServiceAccount %s: %s", quoted(account.Name), problem)
		}
	}
	if len(ServiceAccountPrefix)+len(account.Name) > maxSecretName {
		r.invalid = nameTooLong(account.Name)
	}
	return r, true
}

// ReduceServiceAccount reports whether a ServiceAccount asks for anything. If so, it drops
// everything else from it, and limits the rest, to save memory. FromServiceAccount returns the same
// for the reduced ServiceAccount.
func ReduceServiceAccount(account *metav1.PartialObjectMetadata) bool {
	if !asksForRole(account) {
		return false
	}
	annotations := map[string]string{}
	copyAnnotations(annotations, account.Annotations, serviceAccountAnnotations...)
	var labels map[string]string
	if account.Labels[RoleAnnotatedLabel] == "true" {
		labels = map[string]string{RoleAnnotatedLabel: "true"}
	}
	account.ObjectMeta = metav1.ObjectMeta{
		Labels:          labels,
		Namespace:       account.Namespace,
		Name:            account.Name,
		UID:             account.UID,
		ResourceVersion: account.ResourceVersion,
		Annotations:     annotations,
	}
	return true
}

// copyAnnotations copies annotations that have a value, cut to maxAnnotation.
func copyAnnotations(to, from map[string]string, names ...string) {
	for _, name := range names {
		if value := from[name]; value != "" {
			to[name] = shorten(value, maxAnnotation)
		}
	}
}

func asksForRole(account *metav1.PartialObjectMetadata) bool {
	return account.Annotations[RoleAnnotation] != "" || account.Annotations[RoleARNAnnotation] != ""
}

// readRole sets the role. Like the other readers it returns what is wrong with the annotation, or
// an empty string.
func (r *Request) readRole(annotations map[string]string) (problem string) {
	key := RoleAnnotation
	if annotations[key] == "" {
		key = RoleARNAnnotation
	}
	value := annotations[key]
	r.Role = shorten(value, maxReference)
	const advice = "write the role's name, or its ARN such as arn:aws:iam::123456789012:role/name"
	if len(value) > maxReference {
		return fmt.Sprintf("annotation %s is %s, and longer than the %d characters that a role can have: %s", key, quoted(value), maxReference, advice)
	}
	if err := role.CheckReference(value); err != nil {
		return fmt.Sprintf("annotation %s is %s, and no role (%s): %s", key, quoted(value), shorten(err.Error(), maxReason), advice)
	}
	return ""
}

func (r *Request) readDuration(annotations map[string]string) (problem string) {
	value := annotations[DurationAnnotation]
	if value == "" {
		return ""
	}
	seconds, err := strconv.Atoi(value)
	if err != nil || seconds < int(minDuration.Seconds()) || seconds > int(maxDuration.Seconds()) {
		return fmt.Sprintf("annotation %s is %s: write a number of seconds from %.0f to %.0f",
			DurationAnnotation, quoted(value), minDuration.Seconds(), maxDuration.Seconds())
	}
	r.Duration = time.Duration(seconds) * time.Second
	return ""
}

func (r *Request) readAudience(annotations map[string]string) (problem string) {
	value := annotations[AudienceAnnotation]
	r.Audience = shorten(value, maxAudience)
	if len(value) > maxAudience {
		return fmt.Sprintf("annotation %s is %s, and longer than the %d characters that IAM allows: write an audience of the identity provider in IAM",
			AudienceAnnotation, quoted(value), maxAudience)
	}
	return ""
}

func (r *Request) readKeys(annotations map[string]string) (problem string) {
	switch value := annotations[KeysAnnotation]; value {
	case "", "false":
	case "true":
		r.Keys = true
	default:
		return fmt.Sprintf(`annotation %s is %s: write "true" or "false"`, KeysAnnotation, quoted(value))
	}
	return ""
}

// nameTooLong returns why a ServiceAccount can have no Secret: the API server accepts longer names
// of ServiceAccounts than fit in the Secret's.
func nameTooLong(account string) string {
	return fmt.Sprintf("ServiceAccount %s has too long a name for a Secret %s<serviceaccount>: use a ServiceAccount whose name has at most %d characters",
		quoted(account), ServiceAccountPrefix, maxSecretName-len(ServiceAccountPrefix))
}

// checkServiceAccount rejects the request of a pod for the Secret of a ServiceAccount that is not
// its own. secret is the name as the pod has it, and may be longer than the Request's.
func (r *Request) checkServiceAccount(secret, own string) {
	name, ok := ServiceAccountOf(secret)
	switch {
	case !ok || name == "":
	case len(secret) > maxSecretName:
		r.invalid = nameTooLong(name)
	case name != own:
		r.invalid = fmt.Sprintf("only pods of ServiceAccount %s may have Secret %s, and this pod's is %s: give the pod that ServiceAccount, or name Secret %s",
			quoted(name), quoted(r.Secret), quoted(own), quoted(ServiceAccountPrefix+own))
	}
}
