// Package v1 is the API group zalando.org/v1 with the resource AWSIAMRole, which requests
// credentials of an AWS IAM role.
//
// +kubebuilder:object:generate=true
// +groupName=zalando.org
package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is zalando.org/v1.
var GroupVersion = schema.GroupVersion{Group: "zalando.org", Version: "v1"}

// Kind is the kind of the resource, and Resource its name in URLs and in RBAC rules.
const (
	Kind     = "AWSIAMRole"
	Resource = "awsiamroles"
)

// AddToScheme registers the types of this package with a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &AWSIAMRole{}, &AWSIAMRoleList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
