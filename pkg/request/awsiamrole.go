package request

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
)

// FromAWSIAMRole returns what an AWSIAMRole asks for: a Secret of its own name.
func FromAWSIAMRole(r *v1.AWSIAMRole) Request {
	asked := Request{
		Secret:   r.Name,
		Role:     r.Spec.RoleReference,
		Duration: time.Duration(r.Spec.RoleSessionDuration) * time.Second,
		source:   awsIAMRole,
	}
	asked.invalid = cmp.Or(nameProblem(r.Name), labelsProblem(r), asked.readKeys(r.Annotations), asked.readMountPath(r.Annotations))
	return asked
}

// The limits of what ReduceAWSIAMRole keeps, in bytes.
const (
	// MaxLabels limits the keys and values of all labels together. They are copied to the Secret.
	MaxLabels = 4 << 10
	// maxReference limits spec.roleReference as the CRD does. An older CRD has no limit.
	maxReference = 640
	// MaxConditionMessage limits the message of a condition. The controller writes none that is
	// longer.
	MaxConditionMessage = 1024
	// maxStatus limits the other strings of the status. The longest that the controller writes is
	// an ARN, of at most 2048 characters.
	maxStatus = 2048
)

// droppedLabels is the annotation in which ReduceAWSIAMRole stores the size of labels that it
// dropped. Users cannot set it: the API server rejects a key with spaces.
const droppedLabels = "size of dropped labels"

// ReduceAWSIAMRole drops from an AWSIAMRole everything that the controller does not use, and limits
// the size of the rest, to bound its memory. If the labels exceed MaxLabels, they are dropped, and
// Validate of the Request returns an error. ReduceAWSIAMRole is idempotent. A reduced AWSIAMRole
// can be read, and its status written; it must never replace the object in the API server.
func ReduceAWSIAMRole(r *v1.AWSIAMRole) {
	labels, annotations := r.Labels, map[string]string{}
	if size, dropped := r.Annotations[droppedLabels]; dropped {
		annotations[droppedLabels] = size
	} else if n := sizeOf(labels); n > MaxLabels {
		labels, annotations[droppedLabels] = nil, strconv.Itoa(n)
	}
	copyAnnotations(annotations, r.Annotations, KeysAnnotation, MountPathAnnotation)
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
	r.Spec.RoleReference = shorten(r.Spec.RoleReference, maxReference) // the ellipsis makes it invalid
	r.Status.RoleARN = shorten(r.Status.RoleARN, maxStatus)
	r.Status.AccessKeyID = shorten(r.Status.AccessKeyID, maxStatus)
	r.Status.Conditions = reduceConditions(r.Status.Conditions)
}

// reduceConditions returns the conditions that the controller writes, without duplicates.
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

// sizeOf returns the size of all keys and values of a map, in bytes.
func sizeOf(labels map[string]string) int {
	n := 0
	for key, value := range labels {
		n += len(key) + len(value)
	}
	return n
}

// nameProblem returns why an AWSIAMRole of this name is rejected, or an empty string. The Secret of
// a ServiceAccount is for that ServiceAccount alone, and an AWSIAMRole's for the whole namespace.
func nameProblem(name string) string {
	for _, prefix := range []string{ServiceAccountPrefix, EscapedPrefix} {
		if strings.HasPrefix(name, prefix) {
			return fmt.Sprintf("the name begins with %s, as those of Secrets do that pods ask for by annotations: give the AWSIAMRole another name", prefix)
		}
	}
	return ""
}

// labelsProblem returns why the labels of an AWSIAMRole are rejected, or an empty string.
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
