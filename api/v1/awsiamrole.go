package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// AWSIAMRole asks for a Secret of its own name with credentials of an AWS IAM role. It is needed where a Secret's name cannot hold the
// role's: upper-case letters, _+=,@, a path, another account or partition.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=all
// +kubebuilder:printcolumn:name="Role",type=string,JSONPath=`.status.roleARN`,description="ARN of the role"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Secret has good credentials"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiration`,description="When the credentials in the Secret expire"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AWSIAMRole struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AWSIAMRoleSpec `json:"spec"`
	// +optional
	Status AWSIAMRoleStatus `json:"status,omitempty"`
}

// AWSIAMRoleSpec says which role is wanted, and for how long a session.
//
// +kubebuilder:pruning:PreserveUnknownFields
type AWSIAMRoleSpec struct {
	// Name or ARN of the role. A name, with or without a path in front, lies under the controller's base role ARN; an ARN may be of any
	// account and partition. Whether it may be had is decided by the controller's authorization mode, and by the role's trust policy.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=640
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$')",message="a role has no spaces, line breaks or characters beyond ASCII"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('arn:') || self.matches('^arn:aws[a-z0-9-]*:iam::[0-9]{12}:role/[!-~]+$')",message="an ARN must be that of an IAM role: arn:aws:iam::123456789012:role/name"
	// +kubebuilder:validation:XValidation:rule="self.split('/')[size(self.split('/')) - 1].matches('^[a-zA-Z0-9_+=,.@-]{1,64}$')",message="the role's name, after the last slash, has 1 to 64 letters, digits and _+=,.@-"
	RoleReference string `json:"roleReference,omitempty"`

	// How long credentials live, in seconds; the default is the controller's --session-duration. It must not be longer than the role's
	// MaxSessionDuration. Where the controller is itself a role, AWS allows an hour at most, and a longer session is cut to that.
	//
	// +optional
	// +kubebuilder:validation:Minimum=900
	// +kubebuilder:validation:Maximum=43200
	RoleSessionDuration int64 `json:"roleSessionDuration,omitempty"`
}

// AWSIAMRoleStatus says what became of the wish.
type AWSIAMRoleStatus struct {
	// The generation of the resource that the rest of the status is about.
	//
	// +optional
	ObservedGeneration *int64 `json:"observedGeneration,omitempty"`
	// ARN of the role whose credentials are in the Secret.
	//
	// +optional
	RoleARN string `json:"roleARN,omitempty"`
	// When the credentials in the Secret expire. They are renewed before.
	//
	// +optional
	Expiration *metav1.Time `json:"expiration,omitempty"`
	// The ID of the access key in the Secret. It is no secret: CloudTrail names it in every event that the key is used for.
	//
	// +optional
	AccessKeyID string `json:"accessKeyID,omitempty"`
	// Ready: the Secret has good credentials. Authorized: the role may be had. FullSessionDuration: the session is as long as was asked for.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The types of conditions.
const (
	// ConditionReady is true if the Secret has good credentials of the role.
	ConditionReady = "Ready"
	// ConditionAuthorized is true if the resource may have the role.
	ConditionAuthorized = "Authorized"
	// ConditionFullSessionDuration is false if AWS does not allow a session as long as was asked for.
	ConditionFullSessionDuration = "FullSessionDuration"
)

// Reasons of conditions, beside those of the Warning events.
const (
	// ReasonIssued is why the resource is Ready.
	ReasonIssued = "Issued"
	// ReasonExpired is why it is not: what there was has expired, and could not be renewed.
	ReasonExpired = "Expired"
	// ReasonAllowed is why it is Authorized.
	ReasonAllowed = "Allowed"
	// ReasonNotAsked is why it is not known to be Authorized: something else is wrong.
	ReasonNotAsked = "NotAsked"
	// ReasonAsRequested is why it has its FullSessionDuration.
	ReasonAsRequested = "AsRequested"
	// ReasonRoleChaining is why it does not: the controller is itself a role.
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
