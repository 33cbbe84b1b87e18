package diagnosis

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
)

// Snapshot is all that an explanation depends on.
type Snapshot struct {
	// Now is the time by the API server's clock.
	Now time.Time
	// Namespace is the explained object's. Pod, Account or AWSIAMRole is the object itself.
	Namespace  string
	Pod        *corev1.Pod
	Account    *metav1.PartialObjectMetadata
	AWSIAMRole *v1.AWSIAMRole
	// Labels are those of the Namespace.
	Labels Read[map[string]string]
	// Asked is what the object asks for.
	Asked []Asked
	// Node is the Lease of the pod's node, by the clock of that.
	Node Read[*coordinationv1.Lease]
	Installation
}

// Asked is one Secret that is asked for.
type Asked struct {
	request.Request
	// Warnings are what in the pod keeps it from using the Secret.
	Warnings []request.Warning
	// Account is the ServiceAccount whose annotations say which role it is; its Value is nil
	// for another Request.
	Account Read[*metav1.PartialObjectMetadata]
	// Role is the role; RoleErr is why there is none.
	Role    role.ARN
	RoleErr error
	// Subject is who needs the right, and Decision what the access reviews said.
	Subject  authorization.Subject
	Decision Read[authorization.Decision]
	// Secret is the metadata of the Secret.
	Secret Read[*metav1.PartialObjectMetadata]
	// Owner is the AWSIAMRole of the Secret's name, or nil.
	Owner *v1.AWSIAMRole
	// Pods are the pods that mount the Secret, if they were looked for.
	Pods   Read[[]string]
	Events Read[[]Event]
}

// Event is an event of the controller about a Secret.
type Event struct {
	Secret       string
	Warning      bool
	Reason, Note string
	// Action is the controller's word for what it did; see pkg/events.
	Action string
	At     time.Time
}

// Installation is the controller that serves the namespace.
type Installation struct {
	// Deployment has a nil Value if there is none, or none may be read.
	Deployment Read[*appsv1.Deployment]
	// Settings are its flags, or their defaults if it is not known; SettingsErr is why.
	Settings    settings.Settings
	SettingsErr error
	Lease       Read[*coordinationv1.Lease]
	Seed        Read[*metav1.PartialObjectMetadata]
}
