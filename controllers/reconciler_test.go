package controllers

import (
	"runtime"
	"testing"
	"weak"

	"k8s.io/apimachinery/pkg/types"
)

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
