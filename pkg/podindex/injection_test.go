package podindex

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-aws-iam-controller/pkg/request"
)

// podOf returns a pod of a ServiceAccount that asks for nothing.
func podOf(name, account string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{ServiceAccountName: account},
	}
}

// notInjected returns the names of the pods that should have a Secret and have not.
func notInjected(x *Index, secret string) (names []string) {
	consumers, strangers := x.ConsumersOf(key(secret))
	if len(consumers) > 0 {
		names = append(names, "consumers")
	}
	for _, s := range strangers {
		if s.Rejection() == request.NotInjected {
			names = append(names, s.Pod.Name.Name)
		}
	}
	return names
}

// The watch keeps a pod that asks for nothing only if its ServiceAccount says that it should.
func TestReduce_NotInjected(t *testing.T) {
	injects := func(account types.NamespacedName) bool {
		return account == types.NamespacedName{Namespace: "n", Name: "orders"}
	}
	x := New([]string{""}, "/meta/aws-iam", clocktesting.NewFakePassiveClock(noon), Injection{Injects: injects})
	asking := podOf("asking", "other")
	asking.Labels = map[string]string{request.InjectLabel: "true"}
	excluded := podOf("excluded", "orders")
	excluded.Labels = map[string]string{request.InjectLabel: "false"}
	elsewhere := podOf("elsewhere", "orders")
	elsewhere.Namespace = "m"
	for pod, want := range map[*corev1.Pod]bool{
		podOf("orders", "orders"): true, podOf("other", "other"): false, podOf("default", ""): false, asking: true, excluded: false, elsewhere: false,
	} {
		name := pod.Name
		if got := x.reduce(pod); got != want {
			t.Errorf("%s is kept: %t", name, got)
		} else if got {
			x.Put(pod)
		}
	}
	if got := notInjected(x, "aws-iam.orders"); !slices.Equal(got, []string{"orders"}) {
		t.Errorf("not injected with orders' Secret: %q", got)
	}
	if got := notInjected(x, "aws-iam.other"); !slices.Equal(got, []string{"asking"}) {
		t.Errorf("not injected with other's Secret: %q", got)
	}
}

func TestIndex_Refresh(t *testing.T) {
	account := types.NamespacedName{Namespace: "n", Name: "orders"}
	away := errors.New("away")
	for _, c := range []struct {
		name          string
		first, second []corev1.Pod
		err           []error
		want          []string
		lists         int
		fails         bool
	}{
		{"no pods", nil, nil, []error{nil}, nil, 1, false},
		{"a pod", []corev1.Pod{*podOf("a", "orders")}, []corev1.Pod{*podOf("a", "orders")}, []error{nil, nil}, []string{"a"}, 2, false},
		{"a pod that has the Secret", []corev1.Pod{*podMounting("a", "1", "aws-iam.default")}, nil, []error{nil, nil}, nil, 2, false},
		{"a pod that is deleted meanwhile", []corev1.Pod{*podOf("a", "orders"), *podOf("b", "orders")}, []corev1.Pod{*podOf("b", "orders")}, []error{nil, nil}, []string{"b"}, 2, false},
		{"no answer", nil, nil, []error{away, away}, nil, 2, true},
		{"no answer after the first page", []corev1.Pod{*podOf("a", "orders"), *podOf("b", "orders")}, []corev1.Pod{*podOf("b", "orders")}, []error{away, nil}, []string{"b"}, 2, true},
		{"no second answer", []corev1.Pod{*podOf("a", "orders")}, nil, []error{nil, away}, nil, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			lists := 0
			x := New([]string{""}, "/meta/aws-iam", clocktesting.NewFakePassiveClock(noon), Injection{
				Injects: func(types.NamespacedName) bool { return true },
				Pods: func(_ context.Context, of types.NamespacedName, each func(*corev1.Pod)) error {
					if lists++; of != account {
						t.Errorf("lists the pods of %s", of)
					}
					for _, pod := range [][]corev1.Pod{c.first, c.second}[lists-1] {
						each(&pod)
					}
					return c.err[lists-1]
				},
			})
			done, err := x.Refresh(t.Context(), account)
			if (err != nil) != c.fails || done == c.fails || lists != c.lists {
				t.Errorf("%v after %d lists", err, lists)
			}
			if got := notInjected(x, "aws-iam.orders"); !slices.Equal(got, c.want) {
				t.Errorf("not injected: %q, want %q", got, c.want)
			}
		})
	}
}

// What the watch delivered is newer than a list.
func TestIndex_RefreshKeepsWhatIsThere(t *testing.T) {
	x := New([]string{""}, "/meta/aws-iam", clocktesting.NewFakePassiveClock(noon), Injection{
		Injects: func(types.NamespacedName) bool { return true },
		Pods: func(_ context.Context, _ types.NamespacedName, each func(*corev1.Pod)) error {
			each(podOf("a", "orders"))
			return nil
		},
	})
	x.Put(podMounting("a", "1", "aws-iam-x"))
	if _, err := x.Refresh(t.Context(), types.NamespacedName{Namespace: "n", Name: "orders"}); err != nil {
		t.Fatal(err)
	}
	if len(consumersOf(x, "aws-iam-x")) != 1 || len(notInjected(x, "aws-iam.orders")) > 0 {
		t.Error("the pod was replaced by an older state")
	}
}

// Users who can change ServiceAccounts of a namespace can cause lists, but only so many.
func TestIndex_RefreshesOfANamespaceAreLimited(t *testing.T) {
	lists := map[string]int{}
	c := clocktesting.NewFakePassiveClock(noon)
	x := New([]string{""}, "/meta/aws-iam", c, Injection{
		Injects: func(types.NamespacedName) bool { return true },
		Pods: func(_ context.Context, of types.NamespacedName, _ func(*corev1.Pod)) error {
			lists[of.Namespace]++
			return nil
		},
	})
	refresh := func(namespace string) {
		if _, err := x.Refresh(t.Context(), types.NamespacedName{Namespace: namespace, Name: "orders"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		refresh("busy")
	}
	refresh("other")
	if lists["busy"] != 50 || lists["other"] != 1 {
		t.Errorf("lists: %v", lists)
	}
	c.SetTime(noon.Add(10 * time.Second))
	for range 1000 {
		refresh("busy")
	}
	if lists["busy"] != 60 {
		t.Errorf("lists ten seconds later: %v", lists)
	}
}
