package events

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"

	v1 "kube-aws-iam-controller/api/v1"
)

// In a burst of new Secrets the API server needs its time for the Secrets: of their events only
// some are written, but all warnings.
func TestRecorder_LimitsSuccessInABurst(t *testing.T) {
	written := events.NewFakeRecorder(10_000)
	c := clocktesting.NewFakePassiveClock(noon)
	r := NewRecorder(written, c)
	pod := new(Reported).Pod(types.NamespacedName{Namespace: "payments", Name: "p"}, "p")
	emit := func(n int) (successes, warnings int) {
		for i := range n {
			name := types.NamespacedName{Namespace: "payments", Name: fmt.Sprintf("aws-iam-%d", i)}
			r.Emit(name, Created(name, "arn", noon), pod)
			r.Emit(name, Forbidden("no right"), pod)
		}
		for len(written.Events) > 0 {
			if strings.Contains(<-written.Events, v1.ReasonCreateCredentials) {
				successes++
			} else {
				warnings++
			}
		}
		return successes, warnings
	}
	if successes, warnings := emit(400); successes != namespaceSuccessBurst || warnings != 400 {
		t.Errorf("%d successes and %d warnings of 400", successes, warnings)
	}
	c.SetTime(noon.Add(time.Second))
	if successes, warnings := emit(warningRate); successes != namespaceSuccessRate || warnings != warningRate {
		t.Errorf("%d successes and %d warnings a second later", successes, warnings)
	}
}

func TestRecorder_EmitsLaterWhatItDropped(t *testing.T) {
	written := events.NewFakeRecorder(10_000)
	c := clocktesting.NewFakePassiveClock(noon)
	r := NewRecorder(written, c)
	name := types.NamespacedName{Namespace: "n", Name: "s"}
	var reported Reported
	var pods []Target
	for i := range warningBurst + 1 {
		pods = append(pods, reported.Pod(name, types.UID(strconv.Itoa(i))))
	}
	for _, want := range []int{warningBurst, 0} {
		if n := r.EmitOnce(name, Warning("r", "a", "n"), pods...); n != want {
			t.Errorf("%d events within the limit, not %d", n, want)
		}
	}
	c.SetTime(noon.Add(time.Second))
	if n := r.EmitOnce(name, Warning("r", "a", "n"), pods...); n != 1 || len(written.Events) != warningBurst+1 {
		t.Errorf("%d of 1 event that was dropped", n)
	}
}

func TestJoin_FitsIntoAnEvent(t *testing.T) {
	reason := strings.Repeat("x", maxNote-200)
	if got := Join(DryRun, reason, reason+". To allow it: kubectl create role "+strings.Repeat("y", 190)); len(got) > maxNote || strings.Contains(got, "kubectl") || !strings.HasPrefix(got, DryRun) {
		t.Errorf("%d bytes: %q", len(got), got[len(got)-60:])
	}
	if got := Join(DryRun, "short", "short"); got != DryRun+"short" {
		t.Errorf("%q", got)
	}
}

func TestShorten_BetweenCharacters(t *testing.T) {
	if got := Shorten(strings.Repeat("ä", maxNote)); len(got) > maxNote || !strings.HasSuffix(got, "ä…") {
		t.Errorf("%d bytes: %q", len(got), got[len(got)-8:])
	}
}
