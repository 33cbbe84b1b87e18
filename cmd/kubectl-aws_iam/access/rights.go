// Package access is what lets an object have a role: the rights in the cluster, and the trust
// policy of the role. It is pure: it does no I/O.
package access

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/authorization"
)

// VerbUse is the right of a pod to the Secret of an AWSIAMRole whose name begins with aws-iam-. The
// admission policies on pods check it; see config/admission/pods.
const VerbUse = "use"

// Right is a right that is needed, and whether it is there.
type Right struct {
	Subject authorization.Subject
	// Verb is authorization.Verb or VerbUse, and Name the role's name or ARN, or the AWSIAMRole's.
	Verb, Name string
	Allowed    bool
	// Err is why that is not known.
	Err error
}

// String returns the Right as a sentence.
func (r *Right) String() string {
	if r.Verb == VerbUse {
		return r.Subject.String() + " may use AWSIAMRole " + r.Name
	}
	return r.Subject.String() + " may assume role " + r.Name
}

// Grant returns the Role and the RoleBinding that give the Right. Their names are those that the
// controller's events and the admission policies propose.
func (r *Right) Grant() (*rbacv1.Role, *rbacv1.RoleBinding) {
	name := r.Verb + strings.TrimPrefix(authorization.GrantName(r.Subject, r.Name), authorization.Verb)
	meta := metav1.ObjectMeta{Namespace: r.Subject.Namespace, Name: name}
	subject := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: r.Subject.Namespace, Name: r.Subject.ServiceAccount}
	if r.Subject.ServiceAccount == "" {
		subject = rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: r.Subject.Groups()[0]}
	}
	role := &rbacv1.Role{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"},
		ObjectMeta: meta,
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{authorization.Group}, Resources: []string{authorization.Resource}, Verbs: []string{r.Verb}, ResourceNames: []string{r.Name},
		}},
	}
	binding := &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
		ObjectMeta: meta,
		Subjects:   []rbacv1.Subject{subject},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
	}
	return role, binding
}
