package podindex

import (
	"slices"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/filteredwatch"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
)

// podMounting returns a pod of namespace n that mounts Secrets.
func podMounting(name, uid string, secrets ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(uid)}}
	for _, s := range secrets {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: s, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: s}}})
	}
	return p
}

func key(secret string) types.NamespacedName {
	return types.NamespacedName{Namespace: "n", Name: secret}
}

// newIndex returns an Index of all namespaces with a clock, and what it returned to its subscriber
// since the last call.
func newIndex(t *testing.T) (x *Index, c *clocktesting.FakePassiveClock, changes func() []string) {
	t.Helper()
	c = clocktesting.NewFakePassiveClock(noon)
	x = New([]string{""}, "/meta/aws-iam", c, Injection{})
	var names []string
	x.Subscribe(func(s types.NamespacedName) { names = append(names, s.Name) })
	return x, c, func() []string {
		slices.Sort(names)
		was := names
		names = nil
		return was
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestIndex_ReportsChangesOnly(t *testing.T) {
	x, _, changes := newIndex(t)
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"a pod that asks for two", func() { x.Put(podMounting("a", "1", "aws-iam-x", "aws-iam-y")) }, []string{"aws-iam-x", "aws-iam-y"}},
		{"the same again", func() { x.Put(podMounting("a", "1", "aws-iam-x", "aws-iam-y")) }, nil},
		{"one that asks for nothing", func() { x.Put(podMounting("b", "2", "other")) }, nil},
		{"a successor of the same name", func() { x.Put(podMounting("a", "3", "aws-iam-y", "aws-iam-z")) }, []string{"aws-iam-x", "aws-iam-y", "aws-iam-y", "aws-iam-z"}},
		{"one that is deleted", func() { x.Delete(types.NamespacedName{Namespace: "n", Name: "a"}) }, []string{"aws-iam-y", "aws-iam-z"}},
		{"one that was never there", func() { x.Delete(types.NamespacedName{Namespace: "n", Name: "c"}) }, nil},
		{"a list", func() { filteredwatch.Replace[*corev1.Pod](x, "", []*corev1.Pod{podMounting("d", "4", "aws-iam-x")}) }, []string{"aws-iam-x"}},
		{"a list without it", func() { filteredwatch.Replace[*corev1.Pod](x, "", nil) }, []string{"aws-iam-x"}},
	} {
		step.do()
		if got := changes(); !slices.Equal(got, step.want) {
			t.Errorf("%s: reports %q, not %q", step.what, got, step.want)
		}
	}
	if pods, secrets := x.Len(); !x.HasSynced() || pods != 0 || secrets != 0 {
		t.Errorf("%d pods and %d Secrets are left", pods, secrets)
	}
}

func TestIndex_ConsumersInTheOrderInWhichTheyCame(t *testing.T) {
	x, c, _ := newIndex(t)
	for i, name := range []string{"b", "c", "a"} {
		c.SetTime(noon.Add(time.Duration(i) * time.Minute))
		x.Put(podMounting(name, name, "aws-iam-x", "aws-iam-y"))
	}
	c.SetTime(noon.Add(time.Hour))
	x.Put(podMounting("b", "b", "aws-iam-x")) // an ephemeral container's mount, say, is gone
	var names []string
	for _, consumer := range consumersOf(x, "aws-iam-x") {
		names = append(names, consumer.Pod.Name.Name)
	}
	if !slices.Equal(names, []string{"b", "c", "a"}) {
		t.Errorf("%q", names)
	}
	if first := consumersOf(x, "aws-iam-x")[0].Pod.FirstSeen; !first.Equal(noon) {
		t.Errorf("first seen at %s", first)
	}
	if n := len(consumersOf(x, "aws-iam-y")); n != 2 {
		t.Errorf("%d ask for the other", n)
	}
}

func TestIndex_SubscriberGetsWhatIsAskedForAlready(t *testing.T) {
	x := New([]string{""}, "/meta/aws-iam", clocktesting.NewFakePassiveClock(noon), Injection{})
	x.Put(podMounting("a", "1", "aws-iam-x"))
	var got []string
	x.Subscribe(func(s types.NamespacedName) { got = append(got, s.Name) })
	if !slices.Equal(got, []string{"aws-iam-x"}) {
		t.Errorf("%q", got)
	}
}

func TestIndex_ReplacesTheListedScopeOnly(t *testing.T) {
	x := New([]string{"n", "m"}, "/meta/aws-iam", clocktesting.NewFakePassiveClock(noon), Injection{})
	other := podMounting("a", "1", "aws-iam-x")
	other.Namespace = "m"
	filteredwatch.Replace[*corev1.Pod](x, "n", []*corev1.Pod{podMounting("a", "2", "aws-iam-x")})
	if x.HasSynced() {
		t.Error("in sync though one namespace is not listed")
	}
	filteredwatch.Replace[*corev1.Pod](x, "m", []*corev1.Pod{other})
	filteredwatch.Replace[*corev1.Pod](x, "n", nil)
	if _, there := x.byName[types.NamespacedName{Namespace: "m", Name: "a"}]; !there || len(x.byName) != 1 || !x.HasSynced() {
		t.Errorf("%v", x.byName)
	}
}

func consumersOf(x *Index, secret string) []Consumer {
	consumers, _ := x.ConsumersOf(key(secret))
	return consumers
}

// A pod that mounts the Secret of another ServiceAccount is none of its consumers.
func TestIndex_ConsumersOfAServiceAccountsSecret(t *testing.T) {
	x := New([]string{""}, "/meta/aws-iam", clocktesting.NewFakePassiveClock(noon), Injection{})
	for _, account := range []string{"app", "other"} {
		x.Put(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: account, UID: types.UID(account)},
			Spec: corev1.PodSpec{ServiceAccountName: account, Volumes: []corev1.Volume{{
				Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "aws-iam.app"}},
			}}},
		})
	}
	consumers, strangers := x.ConsumersOf(types.NamespacedName{Namespace: "n", Name: "aws-iam.app"})
	if len(consumers) != 1 || consumers[0].Pod.ServiceAccount != "app" || len(strangers) != 1 || strangers[0].Pod.ServiceAccount != "other" {
		t.Errorf("consumers %+v, strangers %+v", consumers, strangers)
	}
}
