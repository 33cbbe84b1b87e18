package controllers

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/request"
)

// injecting returns a fakeCluster whose ServiceAccount orders came to inject after it was known.
func injecting(t *testing.T) *fakeCluster {
	t.Helper()
	l := newFakeCluster(t)
	filteredwatch.Replace[*metav1.PartialObjectMetadata](l.accounts, "", nil)
	l.setInjects("true")
	return l
}

func (l *fakeCluster) setInjects(value string) {
	l.accounts.Put(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "orders", UID: "uid-1",
		Labels: map[string]string{request.RoleAnnotatedLabel: value}, Annotations: map[string]string{request.RoleAnnotation: "app"},
	}})
}

func plainPod(name string, labels map[string]string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), Labels: labels},
		Spec:       corev1.PodSpec{ServiceAccountName: "orders", Containers: []corev1.Container{{Name: "c"}}},
	}
}

func TestInjection_PodThatAskedByALabel(t *testing.T) {
	l := newFakeCluster(t)
	pod := plainPod("p", map[string]string{request.InjectLabel: "true"})
	l.pods.Put(&pod)
	for range 3 {
		l.reconcile("aws-iam.orders")
	}
	if l.rec.count(v1.ReasonNotInjected) != 1 || !strings.Contains(l.rec.events[0], "kubectl rollout restart") || l.sts != 0 {
		t.Errorf("%d sessions, the events %v", l.sts, l.rec.events)
	}
	if n := l.core.Counts().NotInjected(); n != 1 {
		t.Errorf("%d pods count", n)
	}
	l.pods.Delete(types.NamespacedName{Namespace: "ns", Name: "p"})
	l.reconcile("aws-iam.orders")
	if n := l.core.Counts().NotInjected(); n != 0 || l.core.Sizes()["records"] != 0 {
		t.Errorf("%d pods count after it ended; sizes %v", n, l.core.Sizes())
	}
}

// A pod that was not injected neither asks for the Secret, nor keeps others from it.
func TestInjection_BesideAPodThatHasTheSecret(t *testing.T) {
	l := injecting(t)
	l.pod("good", "orders", "aws-iam.orders")
	pod := plainPod("bad", map[string]string{request.InjectLabel: "true"})
	l.pods.Put(&pod)
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") == nil || l.rec.count(v1.ReasonNotInjected) != 1 || l.rec.count(v1.ReasonCreateCredentials) != 1 {
		t.Errorf("the events are %v", l.rec.events)
	}
}

// A pod was created before its ServiceAccount was annotated: a list finds it, once.
func TestInjection_ServiceAccountAnnotatedLater(t *testing.T) {
	l := injecting(t)
	l.podsOf = []corev1.Pod{plainPod("p", nil)}
	l.reconcile("aws-iam.orders")
	if l.rec.count(v1.ReasonNotInjected) != 1 || !strings.Contains(l.rec.events[0], "ServiceAccount that is annotated") {
		t.Fatalf("the events are %v", l.rec.events)
	}
	l.podsOf = []corev1.Pod{plainPod("later", nil)} // as if the watch had dropped it again
	l.reconcile("aws-iam.orders")
	if n := l.core.Counts().NotInjected(); n != 1 {
		t.Errorf("%d pods count: they are listed again", n)
	}
	l.setInjects("") // the namespace no longer opts in
	l.reconcile("aws-iam.orders")
	if n := l.core.Counts().NotInjected(); n != 0 {
		t.Errorf("%d pods count though none should be injected", n)
	}
}

func TestInjection_NoAnswerIsTriedAgain(t *testing.T) {
	l := injecting(t)
	l.podsErr = errors.New("away")
	l.pod("good", "orders", "aws-iam.orders")
	if after := l.reconcile("aws-iam.orders"); after.RequeueAfter != time.Minute || l.get("aws-iam.orders") == nil {
		t.Errorf("it is tried again after %v, and keeps others from their Secret", after.RequeueAfter)
	}
	l.step(time.Minute)
	l.podsErr, l.podsOf = nil, []corev1.Pod{plainPod("p", nil)}
	l.reconcile("aws-iam.orders")
	if l.rec.count(v1.ReasonNotInjected) != 1 {
		t.Errorf("the events are %v", l.rec.events)
	}
}

// A namespace has had too many lists of pods: the pods are listed later.
func TestInjection_ListIsDelayed(t *testing.T) {
	l := injecting(t)
	for done := true; done; {
		var err error
		done, err = l.pods.Refresh(t.Context(), types.NamespacedName{Namespace: "ns", Name: "other"})
		l.must(err)
	}
	l.podsOf = []corev1.Pod{plainPod("p", nil)}
	after := l.reconcile("aws-iam.orders")
	if n := l.rec.count(v1.ReasonNotInjected); n != 0 || after.RequeueAfter != time.Minute {
		t.Fatalf("%d events, and then %v", n, after)
	}
	l.step(time.Minute)
	l.reconcile("aws-iam.orders")
	if l.rec.count(v1.ReasonNotInjected) != 1 {
		t.Errorf("the events are %v", l.rec.events)
	}
}
