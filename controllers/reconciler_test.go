package controllers

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
)

// A failure that was noted by a clock that was ahead does not delay the next attempt until that
// time.
func TestFailure_OfAnotherClockIsDropped(t *testing.T) {
	name := types.NamespacedName{Namespace: "payments", Name: "aws-iam-app"}
	var k record
	for range 20 {
		k.failure = failure{reason: v1.ReasonGetCredentialsFailed}.after(k.failure, name, noon, 0)
		if k.failure.validAt(noon) == nil {
			t.Fatalf("one that is tried again at %s is dropped", k.failure.retryAt)
		}
		if k.failure.validAt(noon.Add(-7*time.Minute)) != nil {
			t.Fatalf("one that is tried again at %s holds at %s", k.failure.retryAt, noon.Add(-7*time.Minute))
		}
	}
}

// What is remembered of a Secret must not keep the whole snapshot in memory.
func TestReconciler_KeepsNoSnapshot(t *testing.T) {
	l := newFakeCluster(t)
	l.pod("p", "a", "aws-iam-x")
	reconcileOnce := func() weak.Pointer[snapshot] {
		s, err := l.core.r.gather(t.Context(), types.NamespacedName{Namespace: "ns", Name: "aws-iam-x"})
		if err != nil {
			t.Fatal(err)
		}
		l.core.r.apply(t.Context(), s, decide(&s.state))
		return weak.Make(s)
	}
	kept := reconcileOnce()
	runtime.GC()
	if kept.Value() != nil {
		t.Error("the snapshot is still in use after the reconcile")
	}
	if l.core.Sizes()["records"] != 1 {
		t.Error("nothing is remembered")
	}
}
