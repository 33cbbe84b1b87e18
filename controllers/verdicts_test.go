package controllers

import (
	"strconv"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
)

func TestVerdictsHoldUntilSomethingChanges(t *testing.T) {
	v := newVerdicts()
	subject := policy.Subject{Namespace: "n", ServiceAccount: "a"}
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	ask := func(seconds int) { v.put(key("s"), subject, role.ARN{}, policy.Verdict{Allowed: true}, at(seconds)) }
	holds := func(seconds int) bool {
		verdict, _, ok := v.get(key("s"), subject, role.ARN{}, at(seconds))
		return ok && verdict.Allowed
	}
	for _, step := range []struct {
		what  string
		do    func()
		at    int
		holds bool
	}{
		{"nothing was asked", func() {}, 0, false},
		{"asked", func() { ask(0) }, 3600, true},
		{"something changed elsewhere", func() { v.change("m", at(100)) }, 101, true},
		{"something changed here", func() { v.change("n", at(200)) }, 201, false},
		{"asked while it settles", func() { ask(202) }, 209, true},
		{"asked before it had settled", func() {}, 210, false},
		{"asked after it had settled", func() { ask(211) }, 3600, true},
		{"something changed in the cluster", func() { v.change("", at(300)) }, 301, false},
		{"forgotten", func() { ask(311); v.forget(key("s")) }, 312, false},
	} {
		if step.do(); holds(step.at) != step.holds {
			t.Errorf("%s: holds %t", step.what, !step.holds)
		}
	}
	spread := time.Duration(share(key("s").String()) * float64(spreadSettled))
	for _, test := range []struct {
		what    string
		allowed bool
		at      int
		again   time.Time
	}{
		{"a change of the cluster settles", true, 305, at(310).Add(spread)},
		{"it has settled", true, 310, time.Time{}},
		{"a refusal long after the beginning", false, 320, time.Time{}},
	} {
		if got := v.settled(key("s"), test.allowed, at(test.at)); !got.Equal(test.again) {
			t.Errorf("%s: again at %s", test.what, got)
		}
	}
	fresh := newVerdicts()
	fresh.get(key("s"), subject, role.ARN{}, noon)
	if got := fresh.settled(key("s"), false, at(1)); !got.Equal(at(10).Add(spread)) {
		t.Errorf("a refusal at the beginning is asked about again at %s", got)
	}
	if got := fresh.settled(key("s"), true, at(1)); !got.IsZero() {
		t.Errorf("a permission at the beginning is asked about again at %s", got)
	}
	fresh.change("n", at(100))
	if got := fresh.settled(key("s"), true, at(101)); !got.Equal(at(110)) {
		t.Errorf("a change of the namespace settles at %s", got)
	}
}

func TestVerdictsAreAboutOneRole(t *testing.T) {
	v := newVerdicts()
	subject := policy.Subject{Namespace: "n"}
	other, err := role.ParseARN("arn:aws:iam::123456789012:role/other")
	if err != nil {
		t.Fatal(err)
	}
	v.put(key("s"), subject, role.ARN{}, policy.Verdict{Allowed: true}, noon)
	if _, _, ok := v.get(key("s"), subject, other, noon); ok {
		t.Error("the verdict about one role holds for another")
	}
}

// Namespaces come and go: those that changed long ago are forgotten, and what they made void does not come back.
func TestChangesAreForgotten(t *testing.T) {
	v := newVerdicts()
	subject := policy.Subject{Namespace: "n"}
	v.put(key("s"), subject, role.ARN{}, policy.Verdict{Allowed: true}, noon)
	v.change("n", noon.Add(time.Second))
	for i := range 3 * manyChanges {
		v.change(strconv.Itoa(i), noon.Add(time.Duration(i)*time.Minute))
	}
	if len(v.changed) > manyChanges {
		t.Errorf("%d changes are remembered", len(v.changed))
	}
	if _, _, ok := v.get(key("s"), subject, role.ARN{}, noon.Add(time.Hour)); ok {
		t.Error("a void verdict came back")
	}
}
