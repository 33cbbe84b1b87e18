package controllers

import (
	"strconv"
	"testing"
	"time"
)

func TestEventLimits_OneNamespaceDoesNotSilenceOthers(t *testing.T) {
	l := newEventLimits()
	count := func(allow func(string, time.Time) bool, namespace string, now time.Time) (n int) {
		for range 10_000 {
			if allow(namespace, now) {
				n++
			}
		}
		return n
	}
	if n := count(l.allowWarning, "greedy", noon); n != warningBurst {
		t.Errorf("%d warnings at once", n)
	}
	if n := count(l.allowSuccess, "greedy", noon); n != namespaceSuccessBurst {
		t.Errorf("%d successes at once", n)
	}
	if !l.allowWarning("other", noon) || !l.allowSuccess("other", noon) {
		t.Error("another namespace is silenced")
	}
	if n := count(l.allowWarning, "greedy", noon.Add(time.Second)); n != warningEvents {
		t.Errorf("%d warnings a second later", n)
	}
	if n := count(l.allowSuccess, "other", noon) + count(l.allowSuccess, "third", noon); n > successBurst-namespaceSuccessBurst-1 {
		t.Errorf("%d successes more in all", n)
	}
}

func TestEventLimits_AreForgotten(t *testing.T) {
	l := newEventLimits()
	for i := range 5 * manyEventLimits {
		l.allowWarning(strconv.Itoa(i), noon.Add(time.Duration(i)*time.Second))
	}
	if len(l.ofNamespace) > manyEventLimits {
		t.Errorf("%d are remembered", len(l.ofNamespace))
	}
}
