package events

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	v1 "kube-aws-iam-controller/api/v1"
)

// Reported remembers which events the pods that ask for one Secret have seen. The zero value
// remembers nothing. It is a map: copies share what they remember, unless they were nil.
type Reported map[types.UID]*history

// history is what a pod has seen.
type history struct {
	seen []Event
	// served is true if the pod has had credentials.
	served bool
}

// Served reports whether a pod has had credentials.
func (r Reported) Served(pod types.UID) bool { return r[pod] != nil && r[pod].served }

// Serve remembers that a pod has credentials, and forgets the events about the Secret.
func (r *Reported) Serve(pod types.UID) {
	r.of(pod).served = true
	r.of(pod).forget(func(s scope) bool { return s != ofPod })
}

// Allow forgets the events about the right of a pod, as it has the right.
func (r *Reported) Allow(pod types.UID) {
	r.of(pod).forget(func(s scope) bool { return s == ofRight })
}

// Keep forgets all pods but those given.
func (r Reported) Keep(pods sets.Set[types.UID]) {
	maps.DeleteFunc(r, func(pod types.UID, _ *history) bool { return !pods.Has(pod) })
}

func (r *Reported) of(pod types.UID) *history {
	if *r == nil {
		*r = Reported{}
	}
	if (*r)[pod] == nil {
		(*r)[pod] = &history{}
	}
	return (*r)[pod]
}

func (h *history) forget(drop func(scope) bool) {
	h.seen = slices.DeleteFunc(h.seen, func(e Event) bool { return drop(e.scope) })
}

// Target is an object that gets events, with what it has seen.
type Target struct {
	object runtime.Object
	// pod is what a pod has seen, and status what an AWSIAMRole has.
	pod    *history
	status *metav1.Condition
}

// Pod returns the Target for a pod, which sees an event once.
func (r *Reported) Pod(name types.NamespacedName, uid types.UID) Target {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: uid}}
	return Target{object: pod, pod: r.of(uid)}
}

// AWSIAMRole returns the Target for an AWSIAMRole, which has seen what a condition of its status
// says. It has no version, so that events about all its versions are one series.
func AWSIAMRole(r *v1.AWSIAMRole, condition string) Target {
	reference := &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name, UID: r.UID}}
	return Target{object: reference, status: meta.FindStatusCondition(r.Status.Conditions, condition)}
}

// hasSeen reports whether the object has seen an event.
func (t Target) hasSeen(e Event) bool {
	if t.pod != nil {
		return slices.Contains(t.pod.seen, e.key())
	}
	return t.status != nil && t.status.Reason == e.Reason
}

// mark remembers that the object has seen an event.
func (t Target) mark(e Event) {
	if t.pod != nil && !t.hasSeen(e) {
		t.pod.seen = append(t.pod.seen, e.key())
	}
}
