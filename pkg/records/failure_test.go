package records_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/records"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// A failure that was noted by a clock that was ahead does not delay the next attempt until that
// time.
func TestFailure_OfAnotherClockIsDropped(t *testing.T) {
	name := types.NamespacedName{Namespace: "payments", Name: "aws-iam-app"}
	var last *records.Failure
	for range 20 {
		last = records.Failure{Reason: v1.ReasonGetCredentialsFailed}.After(last, name, noon, 0)
		if last.ValidAt(noon) == nil {
			t.Fatalf("one that is tried again at %s is dropped", last.RetryAt)
		}
		if last.ValidAt(noon.Add(-7*time.Minute)) != nil {
			t.Fatalf("one that is tried again at %s holds at %s", last.RetryAt, noon.Add(-7*time.Minute))
		}
	}
}

func TestStore_KeepsACopy(t *testing.T) {
	name := types.NamespacedName{Namespace: "payments", Name: "aws-iam-app"}
	store, next := records.New(), &records.Record{Logged: "one", WithoutRight: 2}
	store.Put(name, next)
	next.Logged = "changed later"
	got := store.Get(name)
	got.Logged = "changed, too"
	if again := store.Get(name); again.Logged != "one" || again.Logged == got.Logged {
		t.Errorf("it has %q", again.Logged)
	}
	of := func(r *records.Record) int { return r.WithoutRight }
	if n := store.Count(of); n != 2 {
		t.Errorf("it counts %d", n)
	}
	if store.Forget(name); store.Get(name).Logged != "" || store.Count(of) != 0 {
		t.Error("it is not forgotten")
	}
}
