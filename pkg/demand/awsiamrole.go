package demand

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
)

// FromAWSIAMRole returns what an AWSIAMRole asks for: a Secret of its own name.
func FromAWSIAMRole(r *v1.AWSIAMRole) Demand {
	return Demand{
		Secret:   r.Name,
		Role:     r.Spec.RoleReference,
		Duration: time.Duration(r.Spec.RoleSessionDuration) * time.Second,
		source:   awsIAMRole,
		invalid:  labelsProblem(r),
	}
}

// What is kept of an AWSIAMRole.
const (
	// MaxLabels is how many bytes the keys and values of its labels may have together, in bytes:
	// they are copied to the Secret.
	MaxLabels = 4 << 10
	// maxReference bounds spec.roleReference, in bytes. It is what the CRD allows; an older CRD has
	// no limit.
	maxReference = 640
	// MaxConditionMessage bounds the message of a condition, in bytes. The controller writes none
	// that is longer.
	MaxConditionMessage = 1024
	// maxStatus bounds the other strings of the status, in bytes. None that the controller writes
	// is as long: an ARN has 2048 characters at most.
	maxStatus = 2048
)

// droppedLabels is the annotation that ReduceAWSIAMRole leaves in place of labels: their size. No
// user can set it, as the API server refuses a key with spaces.
const droppedLabels = "size of dropped labels"

// ReduceAWSIAMRole drops from an AWSIAMRole that was read from the API server all that the
// controller does not use, and bounds the rest by a constant. Labels over MaxLabels are dropped,
// and Check of what the AWSIAMRole asks for then returns an error. Reducing it twice changes
// nothing more. The result is good for reading and for writing the status, and must never replace
// the object in the API server.
func ReduceAWSIAMRole(r *v1.AWSIAMRole) {
	labels, annotations := r.Labels, map[string]string(nil)
	if size, dropped := r.Annotations[droppedLabels]; dropped {
		annotations = map[string]string{droppedLabels: size}
	} else if n := sizeOf(labels); n > MaxLabels {
		labels, annotations = nil, map[string]string{droppedLabels: strconv.Itoa(n)}
	}
	r.ObjectMeta = metav1.ObjectMeta{
		Namespace:         r.Namespace,
		Name:              r.Name,
		UID:               r.UID,
		ResourceVersion:   r.ResourceVersion,
		Generation:        r.Generation,
		CreationTimestamp: r.CreationTimestamp,
		DeletionTimestamp: r.DeletionTimestamp,
		Labels:            labels,
		Annotations:       annotations,
	}
	r.Spec.RoleReference = shorten(r.Spec.RoleReference, maxReference) // with the ellipsis, it is no role's
	r.Status.RoleARN = shorten(r.Status.RoleARN, maxStatus)
	r.Status.AccessKeyID = shorten(r.Status.AccessKeyID, maxStatus)
	r.Status.Conditions = reduceConditions(r.Status.Conditions)
}

// reduceConditions keeps the conditions that the controller writes.
func reduceConditions(all []metav1.Condition) []metav1.Condition {
	var kept []metav1.Condition
	for i := range all {
		c := &all[i]
		if !slices.Contains(conditionTypes, c.Type) || meta.FindStatusCondition(kept, c.Type) != nil {
			continue
		}
		c.Status = metav1.ConditionStatus(shorten(string(c.Status), maxStatus))
		c.Reason = shorten(c.Reason, maxStatus)
		c.Message = shorten(c.Message, MaxConditionMessage)
		kept = append(kept, *c)
	}
	return slices.Clip(kept)
}

var conditionTypes = []string{v1.ConditionReady, v1.ConditionAuthorized, v1.ConditionFullSessionDuration}

// sizeOf returns how many bytes the keys and values of a map have together.
func sizeOf(labels map[string]string) int {
	n := 0
	for key, value := range labels {
		n += len(key) + len(value)
	}
	return n
}

// labelsProblem returns why the labels of an AWSIAMRole are refused, or an empty string.
func labelsProblem(r *v1.AWSIAMRole) string {
	size, dropped := r.Annotations[droppedLabels]
	if n := sizeOf(r.Labels); n > MaxLabels {
		size, dropped = strconv.Itoa(n), true
	}
	if !dropped {
		return ""
	}
	return fmt.Sprintf("the labels are %s bytes long, with their keys, and are copied to the Secret only up to %d: remove labels", size, MaxLabels)
}
