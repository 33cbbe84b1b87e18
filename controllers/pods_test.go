package controllers

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
)

// podWanting is a pod of namespace n that mounts Secrets.
func podWanting(name, uid string, secrets ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(uid)}}
	for _, s := range secrets {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: s, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: s}}})
	}
	return p
}

func key(secret string) types.NamespacedName {
	return types.NamespacedName{Namespace: "n", Name: secret}
}

// store is an empty store with a clock, and what it told its listener.
func store(t *testing.T, listening bool) (p *podStore, c *clocktesting.FakePassiveClock, told func() []string) {
	t.Helper()
	c = clocktesting.NewFakePassiveClock(noon)
	p = newPodStore([]string{""}, "/meta/aws-iam", c)
	var names []string
	if listening {
		p.listen(func(s types.NamespacedName) { names = append(names, s.Name) })
	}
	return p, c, func() []string {
		slices.Sort(names)
		was := names
		names = nil
		return was
	}
}

func TestTheStoreTellsOfWhatChangesOnly(t *testing.T) {
	p, _, told := store(t, true)
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"a pod that wants something", func() { p.put(podWanting("a", "1", "aws-iam-x", "aws-iam-y")) }, []string{"aws-iam-x", "aws-iam-y"}},
		{"the same again", func() { p.put(podWanting("a", "1", "aws-iam-x", "aws-iam-y")) }, nil},
		{"one that wants nothing", func() { p.put(podWanting("b", "2", "other")) }, nil},
		{"a successor of the same name", func() { p.put(podWanting("a", "3", "aws-iam-y", "aws-iam-z")) }, []string{"aws-iam-x", "aws-iam-y", "aws-iam-y", "aws-iam-z"}},
		{"one that goes", func() { p.drop(types.NamespacedName{Namespace: "n", Name: "a"}) }, []string{"aws-iam-y", "aws-iam-z"}},
		{"one that was never there", func() { p.drop(types.NamespacedName{Namespace: "n", Name: "c"}) }, nil},
		{"a list", func() { p.replace("", []*corev1.Pod{podWanting("d", "4", "aws-iam-x")}) }, []string{"aws-iam-x"}},
		{"a list without it", func() { p.replace("", nil) }, []string{"aws-iam-x"}},
	} {
		step.do()
		if got := told(); !slices.Equal(got, step.want) {
			t.Errorf("%s: told of %q, not %q", step.what, got, step.want)
		}
	}
	if !p.isSynced() || len(p.byName) != 0 || len(p.bySecret) != 0 {
		t.Errorf("not empty: %v %v", p.byName, p.bySecret)
	}
}

func TestSinceWhenNobodyWantsASecret(t *testing.T) {
	p, c, _ := store(t, true)
	c.SetTime(noon.Add(time.Minute))
	if _, since := p.wanting(key("aws-iam-x")); !since.Equal(noon) {
		t.Errorf("never wanted: since %s, not since the beginning", since)
	}
	p.put(podWanting("a", "1", "aws-iam-x"))
	if wants, _ := p.wanting(key("aws-iam-x")); len(wants) != 1 || !wants[0].pod.since.Equal(c.Now()) {
		t.Errorf("wanted: %+v", wants)
	}
	c.SetTime(noon.Add(time.Hour))
	p.drop(types.NamespacedName{Namespace: "n", Name: "a"})
	c.SetTime(noon.Add(2 * time.Hour))
	if wants, since := p.wanting(key("aws-iam-x")); len(wants) != 0 || !since.Equal(noon.Add(time.Hour)) {
		t.Errorf("wanted no more: since %s", since)
	}
	p.forget(key("aws-iam-x"))
	if len(p.left) != 0 {
		t.Errorf("remembered: %v", p.left)
	}
}

// A standby reconciles nothing, and so forgets nothing: it must not remember what nobody will ask for. And the grace period begins when it leads.
func TestAStandbyRemembersOnlyWhatIsWanted(t *testing.T) {
	p, c, _ := store(t, false)
	for range 100 {
		p.put(podWanting("a", "1", "aws-iam-x"))
		p.drop(types.NamespacedName{Namespace: "n", Name: "a"})
	}
	if len(p.left) != 0 {
		t.Errorf("remembered: %v", p.left)
	}
	c.SetTime(noon.Add(time.Hour))
	p.put(podWanting("b", "2", "aws-iam-y"))
	var told []string
	p.listen(func(s types.NamespacedName) { told = append(told, s.Name) })
	if !slices.Equal(told, []string{"aws-iam-y"}) {
		t.Errorf("told of %q", told)
	}
	if _, since := p.wanting(key("aws-iam-x")); !since.Equal(c.Now()) {
		t.Errorf("since %s", since)
	}
}

func TestOnlyTheListedScopeIsReplaced(t *testing.T) {
	p := newPodStore([]string{"n", "m"}, "/meta/aws-iam", clocktesting.NewFakePassiveClock(noon))
	other := podWanting("a", "1", "aws-iam-x")
	other.Namespace = "m"
	p.replace("n", []*corev1.Pod{podWanting("a", "2", "aws-iam-x")})
	if p.isSynced() {
		t.Error("in sync though one namespace is not listed")
	}
	p.replace("m", []*corev1.Pod{other})
	p.replace("n", nil)
	if _, there := p.byName[types.NamespacedName{Namespace: "m", Name: "a"}]; !there || len(p.byName) != 1 || !p.isSynced() {
		t.Errorf("%v", p.byName)
	}
}

func TestWhatAPodIsToldOf(t *testing.T) {
	p, _, _ := store(t, true)
	p.put(podWanting("a", "1", "aws-iam-x", "aws-iam-y"))
	pod := p.byName[types.NamespacedName{Namespace: "n", Name: "a"}]
	if !p.tell(pod, "aws-iam-x", "failed") || p.tell(pod, "aws-iam-x", "failed") {
		t.Error("it is news once")
	}
	if !p.tell(pod, "aws-iam-y", "failed") {
		t.Error("another Secret is other news")
	}
	p.tell(pod, "aws-iam-x", findings+"0")
	p.served([]want{{pod: pod}}, "aws-iam-x")
	if !p.wasServed(pod, "aws-iam-x") || p.wasServed(pod, "aws-iam-y") {
		t.Error("served with another Secret")
	}
	if !p.tell(pod, "aws-iam-x", "failed") {
		t.Error("after it went well, a failure is news")
	}
	if p.tell(pod, "aws-iam-x", findings+"0") {
		t.Error("its own mistakes stay told")
	}
}
