package events

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"

	v1 "kube-aws-iam-controller/api/v1"
)

var (
	name     = types.NamespacedName{Namespace: "n", Name: "s"}
	failed   = Warning(v1.ReasonGetCredentialsFailed, "AssumeRole/AccessDenied", "no")
	noRight  = Forbidden("no right")
	replaced = RoleReplaced(name, "asked", "role")
	fault    = Inspected("OptionalSecret", "container a")
)

func newTestRecorder() *Recorder {
	return NewRecorder(events.NewFakeRecorder(1000), clocktesting.NewFakePassiveClock(noon))
}

func TestRecorder_EmitsOnceUntilItIsForgotten(t *testing.T) {
	nothing := func(*Reported) {}
	for _, test := range []struct {
		name   string
		first  Event
		change func(*Reported)
		next   Event
		want   int
	}{
		{"the same event", failed, nothing, failed, 0},
		{"another note", failed, nothing, Warning(failed.Reason, failed.Action, "never"), 0},
		{"another action", failed, nothing, Warning(failed.Reason, "AssumeRole/NoAnswer", "no"), 1},
		{"another reason", failed, nothing, noRight, 1},
		{"another role that replaces", replaced, nothing, RoleReplaced(name, "asked", "other"), 0},
		{"another fault of the pod", fault, nothing, Inspected(fault.Reason, "container b"), 1},
		{"a failure before the Secret was written", failed, func(r *Reported) { r.Serve("p") }, failed, 1},
		{"a right that the pod had meanwhile, with the Secret", noRight, func(r *Reported) { r.Serve("p") }, noRight, 1},
		{"a right that the pod had meanwhile", noRight, func(r *Reported) { r.Allow("p") }, noRight, 1},
		{"a delay before the pod had the right", RemovalDelayed("later"), func(r *Reported) { r.Allow("p") }, RemovalDelayed("later"), 1},
		{"a failure before the pod had the right", failed, func(r *Reported) { r.Allow("p") }, failed, 0},
		{"another role since the Secret was written", replaced, func(r *Reported) { r.Serve("p") }, replaced, 0},
		{"a fault since the Secret was written", fault, func(r *Reported) { r.Serve("p") }, fault, 0},
		{"a fault of a pod that stays", fault, func(r *Reported) { r.Keep(sets.New[types.UID]("p", "q")) }, fault, 0},
		{"a fault of a pod that was gone", fault, func(r *Reported) { r.Keep(sets.New[types.UID]("q")) }, fault, 1},
		{"what another pod saw", failed, func(r *Reported) { r.Serve("q") }, failed, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, reported := newTestRecorder(), Reported{}
			if n := r.EmitOnce(name, test.first, reported.Pod(name, "p")); n != 1 {
				t.Fatalf("%d events at first", n)
			}
			test.change(&reported)
			if n := r.EmitOnce(name, test.next, reported.Pod(name, "p")); n != test.want {
				t.Errorf("%d events, not %d", n, test.want)
			}
		})
	}
}

func TestRecorder_EmitsEachTimeAndRemembersIt(t *testing.T) {
	r, reported := newTestRecorder(), Reported{}
	targets := []Target{reported.Pod(name, "p"), reported.Pod(name, "q")}
	for range 2 {
		if n := r.Emit(name, failed, targets...); n != 2 {
			t.Errorf("%d events on 2 pods", n)
		}
	}
	if n := r.EmitOnce(name, failed, append(targets, reported.Pod(name, "new"))...); n != 1 {
		t.Errorf("%d events on 1 new pod", n)
	}
	if n := len(reported["p"].seen); n != 1 {
		t.Errorf("one event is remembered %d times", n)
	}
}

func TestRecorder_AWSIAMRoleHasSeenWhatItsStatusSays(t *testing.T) {
	r, resource := newTestRecorder(), &v1.AWSIAMRole{}
	for _, test := range []struct {
		condition, status string
		want              int
	}{
		{v1.ConditionReady, "", 1},
		{v1.ConditionReady, v1.ReasonInvalidRole, 1},
		{v1.ConditionReady, noRight.Reason, 0},
		{v1.ConditionAuthorized, noRight.Reason, 1},
	} {
		resource.Status.Conditions = []metav1.Condition{{Type: v1.ConditionReady, Reason: test.status}}
		if n := r.EmitOnce(name, noRight, AWSIAMRole(resource, test.condition)); n != test.want {
			t.Errorf("%d events, not %d, while %s is compared and Ready has %q", n, test.want, test.condition, test.status)
		}
	}
}

func TestReported_Served(t *testing.T) {
	var reported Reported
	if reported.Served("p") {
		t.Error("the zero value has a pod")
	}
	reported.Serve("p")
	reported.Allow("q")
	if !reported.Served("p") || reported.Served("q") {
		t.Error("not the pod that has credentials")
	}
	reported.Keep(nil)
	if reported.Served("p") || len(reported) > 0 {
		t.Error("a pod that is gone is remembered")
	}
}

// The API server keeps only the first note of events on one object that have reason and action in
// common.
func TestInspected_FaultsOfOneReasonAreNotOneSeries(t *testing.T) {
	a, b, again := Inspected("MissingKey", "key a"), Inspected("MissingKey", "key b"), Inspected("MissingKey", "key a")
	if a.Action == b.Action || a.Action != again.Action || len(a.Action) > 128 { // what the API server accepts
		t.Errorf("actions %q, %q, %q", a.Action, b.Action, again.Action)
	}
}
