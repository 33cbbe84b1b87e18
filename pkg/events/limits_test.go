package events

import (
	"strconv"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestLimits_OneNamespaceDoesNotSilenceOthers(t *testing.T) {
	l := newLimits()
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
	if n := count(l.allowWarning, "greedy", noon.Add(time.Second)); n != warningRate {
		t.Errorf("%d warnings a second later", n)
	}
	if n := count(l.allowSuccess, "other", noon) + count(l.allowSuccess, "third", noon); n > successBurst-namespaceSuccessBurst-1 {
		t.Errorf("%d successes more in all", n)
	}
}

func TestLimits_DropsIdleNamespaces(t *testing.T) {
	l := newLimits()
	for i := range 5 * maxIdleNamespaces {
		l.allowWarning(strconv.Itoa(i), noon.Add(time.Duration(i)*time.Second))
	}
	if len(l.byNamespace) > maxIdleNamespaces {
		t.Errorf("%d are remembered", len(l.byNamespace))
	}
}
