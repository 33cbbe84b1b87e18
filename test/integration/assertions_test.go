package integration_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/test/env"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	patience     = time.Minute
	pollInterval = 20 * time.Millisecond
)

// eventually waits until a condition holds.
func (w *testEnv) eventually(what string, holds func() bool) {
	w.t.Helper()
	if err := env.AwaitWithin(w.t.Context(), patience, pollInterval, what, func() (bool, error) { return holds(), nil }); err != nil {
		w.t.Fatalf("%v\nevents:\n%s", err, strings.Join(w.events(), "\n"))
	}
}

// secret returns a Secret as it is now, or nil.
func (w *testEnv) secret(name string) *corev1.Secret {
	w.t.Helper()
	var s corev1.Secret
	err := w.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	w.must(err)
	return &s
}

// isGood reports whether a Secret has credentials that STS knows, of the role and for the session
// that it says.
func (w *testEnv) isGood(s *corev1.Secret) bool {
	if s == nil {
		return false
	}
	c, err := secret.Read(s)
	if err != nil {
		return false
	}
	session, known := w.sts.IssuedTo(c.AccessKeyID)
	return known && session.RoleARN == string(s.Data["role-arn"]) && session.SessionName == s.Annotations[secret.SessionNameAnnotation] &&
		session.Expires.Equal(c.Expires) && w.clocks.sts().Before(c.Expires)
}

// wait returns a Secret as soon as it is good.
func (w *testEnv) wait(name string) *corev1.Secret {
	w.t.Helper()
	var s *corev1.Secret
	w.eventually("Secret "+name+" with good credentials", func() bool {
		s = w.secret(name)
		return w.isGood(s)
	})
	return s
}

// waitOther returns a Secret as soon as it is good and has other credentials than before.
func (w *testEnv) waitOther(before *corev1.Secret) *corev1.Secret {
	w.t.Helper()
	var now *corev1.Secret
	w.eventually("Secret "+before.Name+" with new credentials", func() bool {
		now = w.secret(before.Name) // once, as it can be gone at the next read
		return w.isGood(now) && accessKey(now) != accessKey(before)
	})
	return now
}

// waitGone waits until there is no Secret of a name.
func (w *testEnv) waitGone(name string) {
	w.t.Helper()
	w.eventually("Secret "+name+" gone", func() bool { return w.secret(name) == nil })
}

// checkUnchanged checks that a Secret was not written or deleted.
func (w *testEnv) checkUnchanged(before *corev1.Secret) {
	w.t.Helper()
	switch now := w.secret(before.Name); {
	case now == nil:
		w.t.Errorf("Secret %s was deleted", before.Name)
	case now.ResourceVersion != before.ResourceVersion:
		w.t.Errorf("Secret %s was written", before.Name)
	}
}

func accessKey(s *corev1.Secret) string { return s.Annotations[secret.AccessKeyIDAnnotation] }

// credentialsOf returns the credentials in a Secret.
func credentialsOf(tb testing.TB, s *corev1.Secret) credentials.Credentials {
	tb.Helper()
	c, err := secret.Read(s)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// countDeletions counts the Secrets of the namespace that are deleted from now on.
func (w *testEnv) countDeletions() (count func() int) {
	w.t.Helper()
	events, err := w.Watch(w.t.Context(), &corev1.SecretList{}, client.InNamespace(w.namespace))
	w.must(err)
	w.t.Cleanup(events.Stop)
	var deleted atomic.Int64
	go func() {
		for e := range events.ResultChan() {
			if e.Type == watch.Deleted {
				deleted.Add(1)
			}
		}
	}()
	return func() int { return int(deleted.Load()) }
}

// versions returns the resource versions of all Secrets and AWSIAMRoles of namespaces. Each write
// changes one.
func versions(namespaces ...*testEnv) map[types.NamespacedName]string {
	all := map[types.NamespacedName]string{}
	for _, w := range namespaces {
		var list corev1.SecretList
		w.must(w.List(w.t.Context(), &list, client.InNamespace(w.namespace)))
		for i := range list.Items {
			all[client.ObjectKeyFromObject(&list.Items[i])] = list.Items[i].ResourceVersion
		}
		var roles v1.AWSIAMRoleList
		w.must(w.List(w.t.Context(), &roles, client.InNamespace(w.namespace)))
		for i := range roles.Items {
			key := client.ObjectKeyFromObject(&roles.Items[i])
			key.Name += " (AWSIAMRole)"
			all[key] = roles.Items[i].ResourceVersion
		}
	}
	return all
}

// condition waits until a condition of an AWSIAMRole has a status and a reason, and its message
// contains each of the texts.
func (w *testEnv) condition(name, kind string, status metav1.ConditionStatus, reason string, texts ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("condition %s of %s: %s, %s", kind, name, status, reason), func() bool {
		r := newAWSIAMRole(w.namespace, name, "")
		w.read(r)
		c := meta.FindStatusCondition(r.Status.Conditions, kind)
		return c != nil && c.Status == status && c.Reason == reason && containsAll(c.Message, texts)
	})
}

// events returns the events of the namespace, as "type reason object: note".
func (w *testEnv) events() []string {
	var list eventsv1.EventList
	w.must(w.List(context.Background(), &list, client.InNamespace(w.namespace)))
	var lines []string
	for i := range list.Items {
		e := &list.Items[i]
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", e.Type, e.Reason, e.Regarding.Name, e.Note))
	}
	return lines
}

// event waits for an event that starts with "type reason object:" and contains each of the texts.
func (w *testEnv) event(start string, texts ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("event %q with %q", start, texts), func() bool { return hasEvent(w.events(), start, texts...) })
}

// hasEvent reports whether there is an event that testEnv.event waits for.
func hasEvent(events []string, start string, texts ...string) bool {
	return slices.ContainsFunc(events, func(line string) bool { return strings.HasPrefix(line, start) && containsAll(line, texts) })
}

// checkNoEvent checks that no event starts with "type" or "type reason".
func checkNoEvent(tb testing.TB, events []string, start string) {
	tb.Helper()
	for _, line := range events {
		if strings.HasPrefix(line, start) {
			tb.Error(line)
		}
	}
}

func containsAll(s string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(s, text) {
			return false
		}
	}
	return true
}

// assumed counts the calls of AssumeRole with a code, of all if the code is "*".
func assumed(sts *ststest.Server, code string) int {
	n := 0
	for outcome, count := range sts.Counts() {
		if outcome.Operation == "AssumeRole" && (code == "*" || outcome.Code == code) {
			n += count
		}
	}
	return n
}

// metric returns the value of a counter or gauge, or the count of a histogram, with labels given as
// name, value, name, value; 0 if there is none.
func (w *testEnv) metric(name string, labels ...string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	w.must(err)
	for _, family := range families {
		if family.GetName() != "kube_aws_iam_controller_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			var have []string
			for _, pair := range m.GetLabel() {
				have = append(have, pair.GetName(), pair.GetValue())
			}
			if sameLabels(have, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

func sameLabels(a, b []string) bool {
	pairs := func(list []string) map[string]string {
		m := map[string]string{}
		for pair := range slices.Chunk(list, 2) {
			m[pair[0]] = pair[1]
		}
		return m
	}
	return maps.Equal(pairs(a), pairs(b))
}
