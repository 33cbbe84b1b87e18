package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	ststest "kube-aws-iam-controller/test/sts"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// issuedTo knows the sessions A and B, which were issued at noon and half a minute later.
func issuedTo(key string) (ststest.Session, bool) {
	at, known := map[string]time.Time{"A": noon, "B": noon.Add(30 * time.Second)}[key]
	return ststest.Session{Issued: at, Expires: at.Add(time.Minute)}, known
}

func anyCaller() *caller {
	c := newCaller(&program{name: "any"}, time.Minute)
	c.pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "sdk-any"}}
	return c
}

func identityCall(key string, second int) *ststest.Call {
	return &ststest.Call{
		Operation: "GetCallerIdentity", CallerRoleARN: roleARN("sdk-any"), CallerKeyID: key, Time: noon.Add(time.Duration(second) * time.Second),
	}
}

func TestCaller_CountsRotations(t *testing.T) {
	c := anyCaller()
	for _, call := range []*ststest.Call{
		identityCall("A", 5), identityCall("A", 6), identityCall("B", 40), identityCall("A", 41),
		identityCall("B", 80), identityCall("unknown", 81),
	} {
		if err := c.observeCall(call, issuedTo); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(c.lags, []time.Duration{10 * time.Second}) {
		t.Errorf("new keys were used after %v", c.lags)
	}
	if c.left != 10*time.Second {
		t.Errorf("%s were left of a session at the least", c.left)
	}
}

func TestCaller_RefusedCallIsAnError(t *testing.T) {
	c := anyCaller()
	other := identityCall("A", 5)
	other.CallerRoleARN, other.Code = roleARN("sdk-other"), "ExpiredToken"
	if err := c.observeCall(other, issuedTo); err != nil {
		t.Errorf("call of another caller: %v", err)
	}
	own := identityCall("A", 5)
	own.Code = "ExpiredToken"
	if err := c.observeCall(own, issuedTo); err == nil || !strings.Contains(err.Error(), "ExpiredToken") || c.failed() != 1 {
		t.Errorf("error is %v, %d failed", err, c.failed())
	}
}

func TestCaller_Output(t *testing.T) {
	const ok, other = "ok arn:aws:sts::123456789012:assumed-role/sdk-any/e2e.trial.aws-iam-sdk-any", "ok arn:aws:iam::123456789012:user/a"
	for _, c := range []struct {
		name  string
		lines []string
		phase corev1.PodPhase
		after time.Duration
		want  string
	}{
		{"calls", []string{ok, ok}, corev1.PodRunning, time.Hour, ""},
		{"a failed call", []string{ok, "failed ExpiredToken"}, corev1.PodRunning, time.Second, "ExpiredToken"},
		{"another identity", []string{ok, other}, corev1.PodRunning, time.Second, "user/a"},
		{"an ended program", []string{ok}, corev1.PodSucceeded, time.Second, "has ended"},
		{"a short pause", []string{ok}, corev1.PodRunning, silence, ""},
		{"silence", []string{ok}, corev1.PodRunning, silence + time.Second, "has not called"},
	} {
		t.Run(c.name, func(t *testing.T) {
			observed := anyCaller()
			if err := observed.observeOutput([]string{ok}, noon); err != nil {
				t.Fatal(err)
			}
			observed.pod.Status.Phase = c.phase
			err := observed.observeOutput(c.lines, noon.Add(c.after))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestCaller_CountsDeletedSecrets(t *testing.T) {
	for _, c := range []struct {
		name   string
		byTest int
		seen   []types.UID
		want   int
	}{
		{"the first one", 0, []types.UID{"1"}, 0},
		{"one that stays", 0, []types.UID{"1", "1", "1"}, 0},
		{"one that is gone", 0, []types.UID{"1", "", ""}, 1},
		{"one that is gone and comes back", 0, []types.UID{"1", "", "2"}, 1},
		{"one that is replaced between two looks", 0, []types.UID{"1", "2"}, 1},
		{"twice", 0, []types.UID{"1", "2", "", "3"}, 2},
		{"by the test", 1, []types.UID{"1", "2", "2"}, 0},
		{"by the test, seen while it is gone", 1, []types.UID{"1", "", "2"}, 0},
		{"by the test and then by the controller", 1, []types.UID{"1", "2", "3"}, 1},
		{"none yet", 0, []types.UID{"", "", "1"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			observed := anyCaller()
			observed.byTest = c.byTest
			for _, uid := range c.seen {
				observed.observeSecret(uid, &ststest.Session{})
			}
			if observed.deleted != c.want {
				t.Errorf("%d deleted, want %d", observed.deleted, c.want)
			}
		})
	}
}

func TestCaller_AgeOfTheSecret(t *testing.T) {
	c := anyCaller()
	if c.fresh(noon) {
		t.Error("without a Secret it is fresh")
	}
	a, _ := issuedTo("A")
	c.observeSecret("1", &a)
	c.observeSecret("1", &ststest.Session{}) // its annotation was removed
	if !c.current.Issued.Equal(noon) || !c.fresh(noon.Add(16*time.Second)) || c.fresh(noon.Add(18*time.Second)) {
		t.Errorf("current session is %+v", c.current)
	}
	if c.overdue(noon.Add(20*time.Second)) != 0 || c.overdue(noon.Add(50*time.Second)) != 20*time.Second {
		t.Errorf("overdue by %s and %s", c.overdue(noon.Add(20*time.Second)), c.overdue(noon.Add(50*time.Second)))
	}
	if d := anyCaller().overdue(noon); d != 0 {
		t.Errorf("without a Secret overdue by %s", d)
	}
}
