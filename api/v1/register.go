// Package v1 is the API zalando.org/v1: the resource by which a role is asked for that a Secret's name cannot hold.
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

// Kind is the name of the resource's kind, and Resource its name in URLs and in RBAC.
const (
	Kind     = "AWSIAMRole"
	Resource = "awsiamroles"
)

// AddToScheme makes the resource known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &AWSIAMRole{}, &AWSIAMRoleList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
