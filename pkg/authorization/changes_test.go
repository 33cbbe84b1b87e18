package authorization

import (
	"context"
	"strconv"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/role"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// reviews asks a Reviewer about one Secret, and remembers its Decisions.
type reviews struct {
	Reviewer
	known Decisions
	asked int
}

func newReviews() *reviews {
	r := &reviews{}
	r.Reviewer = Reviewer{Changes: NewChanges(), Authorizer: func(context.Context, Request) (Decision, error) {
		r.asked++
		return Decision{Allowed: true}, nil
	}}
	return r
}

// ask reports whether the Authorizer was asked.
func (r *reviews) ask(t *testing.T, s Subject, arn role.ARN, now time.Time) bool {
	t.Helper()
	before := r.asked
	r.known = r.review(t.Context(), question{now: now}, r.known, []Subject{s}, arn).decisions
	return r.asked > before
}

func TestReviewer_DecisionsHoldUntilAChange(t *testing.T) {
	r := newReviews()
	subject := Subject{Namespace: "n", ServiceAccount: "a"}
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	for _, step := range []struct {
		what  string
		do    func()
		at    int
		known bool
	}{
		{"nothing was asked", func() {}, 0, false},
		{"asked", func() {}, 3600, true},
		{"something changed elsewhere", func() { r.Changes.Observe("m", at(3700)) }, 3701, true},
		{"something changed here", func() { r.Changes.Observe("n", at(3800)) }, 3801, false},
		{"asked while it settles", func() {}, 3809, true},
		{"asked before it had settled", func() {}, 3810, false},
		{"asked after it had settled", func() {}, 7200, true},
		{"something changed in the cluster", func() { r.Changes.Observe("", at(7300)) }, 7301, false},
	} {
		if step.do(); r.ask(t, subject, role.ARN{}, at(step.at)) == step.known {
			t.Errorf("%s: the decision is known %t", step.what, !step.known)
		}
	}
}

func TestChanges_Recheck(t *testing.T) {
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	const spread = 0.5
	spreadOut := recheckSpread / 2
	c := NewChanges()
	c.Begin(noon)
	for _, test := range []struct {
		what     string
		observed string
		changed  time.Time
		allowed  bool
		now      int
		again    time.Time
	}{
		{what: "a denial at the beginning", now: 1, again: at(10).Add(spreadOut)},
		{what: "a permission at the beginning", allowed: true, now: 1},
		{what: "a denial long after the beginning", now: 20},
		{what: "a change of the namespace", observed: "n", changed: at(100), allowed: true, now: 101, again: at(110)},
		{what: "a change of another", observed: "m", changed: at(200), allowed: true, now: 201},
		{what: "a change of the cluster", observed: "", changed: at(300), allowed: true, now: 305, again: at(310).Add(spreadOut)},
		{what: "when it has settled", allowed: true, now: 310},
	} {
		if !test.changed.IsZero() {
			c.Observe(test.observed, test.changed)
		}
		if got := c.Recheck("n", spread, test.allowed, at(test.now)); !got.Equal(test.again) {
			t.Errorf("%s: again at %s, not at %s", test.what, got, test.again)
		}
	}
}

func TestReviewer_DecisionsAreAboutOneRole(t *testing.T) {
	r := newReviews()
	other, err := role.ParseARN("arn:aws:iam::123456789012:role/other")
	if err != nil {
		t.Fatal(err)
	}
	r.ask(t, Subject{Namespace: "n"}, role.ARN{}, noon)
	if !r.ask(t, Subject{Namespace: "n"}, other, noon) {
		t.Error("the decision about one role holds for another")
	}
	if r.ask(t, Subject{Namespace: "n"}, role.ARN{}, noon) || r.ask(t, Subject{Namespace: "n"}, other, noon) {
		t.Error("those about two roles are not both known")
	}
	if r.ask(t, Subject{Namespace: "n"}, role.ARN{}, noon); len(r.known) != 2 {
		t.Errorf("%d decisions are kept", len(r.known))
	}
}

func TestReviewer_KeepsTwoRolesOfEachSubject(t *testing.T) {
	r := newReviews()
	for i := range 10 {
		arn, err := role.ParseARN("arn:aws:iam::123456789012:role/r" + strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		for _, account := range []string{"a", "b"} {
			r.ask(t, Subject{Namespace: "n", ServiceAccount: account}, arn, noon)
		}
	}
	if len(r.known) != 4 {
		t.Errorf("%d decisions are kept", len(r.known))
	}
	if kept := r.known.of(func(s Subject) bool { return s.ServiceAccount == "a" }); len(kept) != 2 || len(r.known) != 4 {
		t.Errorf("%d of one subject, %d in all", len(kept), len(r.known))
	}
}

// Namespaces come and go: those that changed long ago are dropped, and what they made void stays
// void.
func TestChanges_DropsWhatHasSettled(t *testing.T) {
	r := newReviews()
	subject := Subject{Namespace: "n"}
	r.ask(t, subject, role.ARN{}, noon)
	r.Changes.Observe("n", noon.Add(time.Second))
	for i := range 3 * maxChanges {
		r.Changes.Observe(strconv.Itoa(i), noon.Add(time.Duration(i)*time.Minute))
	}
	if n := r.Changes.Len(); n > maxChanges {
		t.Errorf("%d changes are kept", n)
	}
	if !r.ask(t, subject, role.ARN{}, noon.Add(time.Hour)) {
		t.Error("a void decision came back")
	}
}
