package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// AWSIAMRole requests a Secret of the same name with credentials of an AWS IAM role. Use it for
// roles that the name of a Secret cannot express: upper-case letters, one of _+=,@, a path, another
// account or another partition.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=all
// +kubebuilder:printcolumn:name="Role",type=string,JSONPath=`.status.roleARN`,description="ARN of the role"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Secret holds usable credentials"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiration`,description="When the credentials in the Secret expire"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AWSIAMRole struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Requested role and duration of its sessions.
	Spec AWSIAMRoleSpec `json:"spec"`
	// Observed state.
	//
	// +optional
	Status AWSIAMRoleStatus `json:"status,omitempty"`
}

// AWSIAMRoleSpec defines the requested role and the duration of its sessions.
//
// +kubebuilder:pruning:PreserveUnknownFields
type AWSIAMRoleSpec struct {
	// Name or ARN of the role. A name, with or without a leading path, is resolved under the
	// controller's base role ARN. An ARN can be in any account and partition. The controller issues
	// credentials only if its authorization mode allows the role to the namespace and the role's
	// trust policy allows the controller.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=640
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$')",message="a role has no spaces, line breaks or characters beyond ASCII"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('arn:') || self.matches('^arn:aws[a-z0-9-]*:iam::[0-9]{12}:role/[!-~]+$')",message="an ARN must be that of an IAM role: arn:aws:iam::123456789012:role/name"
	// +kubebuilder:validation:XValidation:rule="self.split('/')[size(self.split('/')) - 1].matches('^[a-zA-Z0-9_+=,.@-]{1,64}$')",message="the role's name, after the last slash, has 1 to 64 letters, digits and _+=,.@-"
	RoleReference string `json:"roleReference,omitempty"`

	// Duration of sessions, in seconds. The default is the controller's --session-duration. It must
	// not exceed the role's MaxSessionDuration. If the controller itself runs as a role, AWS limits
	// sessions to one hour, and a longer duration is reduced to that.
	//
	// +optional
	// +kubebuilder:validation:Minimum=900
	// +kubebuilder:validation:Maximum=43200
	RoleSessionDuration int64 `json:"roleSessionDuration,omitempty"`
}

// AWSIAMRoleStatus is the observed state of an AWSIAMRole.
type AWSIAMRoleStatus struct {
	// Generation of the resource that the status describes.
	//
	// +optional
	ObservedGeneration *int64 `json:"observedGeneration,omitempty"`
	// ARN of the role whose credentials the Secret holds.
	//
	// +optional
	RoleARN string `json:"roleARN,omitempty"`
	// Time at which the credentials in the Secret expire. The controller renews them earlier.
	//
	// +optional
	Expiration *metav1.Time `json:"expiration,omitempty"`
	// ID of the access key in the Secret. It is not confidential: CloudTrail records it in every
	// event of the session.
	//
	// +optional
	AccessKeyID string `json:"accessKeyID,omitempty"`
	// Ready: the Secret holds usable credentials. Authorized: the namespace has the right to the
	// role. FullSessionDuration: the session lasts as long as requested.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Condition types.
const (
	// ConditionReady is true if the Secret holds usable credentials of the role.
	ConditionReady = "Ready"
	// ConditionAuthorized is true if the namespace has the right to the role.
	ConditionAuthorized = "Authorized"
	// ConditionFullSessionDuration is false if AWS limits the session to less than the requested
	// duration.
	ConditionFullSessionDuration = "FullSessionDuration"
)

// Condition reasons. A condition can also have the reason of a Warning event.
const (
	// ReasonIssued: Ready is true, the credentials are current.
	ReasonIssued = "Issued"
	// ReasonExpired: Ready is false, the credentials expired and could not be renewed.
	ReasonExpired = "Expired"
	// ReasonAllowed: Authorized is true.
	ReasonAllowed = "Allowed"
	// ReasonNotAsked: Authorized is unknown, because another error comes first or the access review
	// was undecided.
	ReasonNotAsked = "NotAsked"
	// ReasonAsRequested: FullSessionDuration is true.
	ReasonAsRequested = "AsRequested"
	// ReasonRoleChaining: FullSessionDuration is false, because the controller itself runs as a
	// role.
	ReasonRoleChaining = "RoleChaining"
)

// AWSIAMRoleList is a list of AWSIAMRoles.
//
// +kubebuilder:object:root=true
type AWSIAMRoleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AWSIAMRole `json:"items"`
}

var (
	_ runtime.Object = &AWSIAMRole{}
	_ runtime.Object = &AWSIAMRoleList{}
)
