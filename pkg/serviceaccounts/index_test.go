package serviceaccounts

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/request"
)

// account returns a ServiceAccount of namespace n with a role, or without one if that is empty.
func account(name, uid, role string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID(uid), ResourceVersion: "1", Annotations: map[string]string{request.RoleAnnotation: role, "example.org/other": "x"},
	}}
}

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "n", Name: name}
}

// newIndex returns an Index of all namespaces, and what it returned to its subscriber since the
// last call.
func newIndex(t *testing.T) (x *Index, changes func() []string) {
	t.Helper()
	x = New([]string{""}, nil)
	var names []string
	x.Subscribe(func(s types.NamespacedName) { names = append(names, s.String()) })
	return x, func() []string {
		slices.Sort(names)
		was := names
		names = nil
		return was
	}
}

func TestIndex_ReportsChangesOnly(t *testing.T) {
	x, changes := newIndex(t)
	longer := account("a", "1", "app2")
	longer.Annotations[request.DurationAnnotation] = "900"
	labeled := account("a", "1", "app")
	labeled.ResourceVersion, labeled.Labels = "2", map[string]string{"a": "b"}
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"one that asks", func() { x.Put(account("a", "1", "app")) }, []string{"n/aws-iam.a"}},
		{"the same with another label", func() { x.Put(labeled) }, nil},
		{"one that asks for nothing", func() { x.Put(account("b", "2", "")) }, nil},
		{"another role", func() { x.Put(account("a", "1", "app2")) }, []string{"n/aws-iam.a"}},
		{"another duration", func() { x.Put(longer) }, []string{"n/aws-iam.a"}},
		{"the annotation is a mistake", func() { x.Put(account("a", "1", "my app")) }, []string{"n/aws-iam.a"}},
		{"a successor of the same name", func() { x.Put(account("a", "3", "my app")) }, []string{"n/aws-iam.a"}},
		{"the annotation is removed", func() { x.Put(account("a", "3", "")) }, []string{"n/aws-iam.a"}},
		{"the annotation was removed before", func() { x.Put(account("a", "3", "")) }, nil},
		{"the annotation is back", func() { x.Put(account("a", "3", "app")) }, []string{"n/aws-iam.a"}},
		{"it is deleted", func() { x.Delete(named("a")) }, []string{"n/aws-iam.a"}},
		{"one that was never there", func() { x.Delete(named("c")) }, nil},
		{"a list", func() {
			filteredwatch.Replace[*metav1.PartialObjectMetadata](x, "", []*metav1.PartialObjectMetadata{account("d", "4", "app"), account("e", "5", "app")})
		}, []string{"n/aws-iam.d", "n/aws-iam.e"}},
		{"a list without one", func() {
			filteredwatch.Replace[*metav1.PartialObjectMetadata](x, "", []*metav1.PartialObjectMetadata{account("d", "4", "app")})
		}, []string{"n/aws-iam.e"}},
		{"a list with a successor", func() {
			filteredwatch.Replace[*metav1.PartialObjectMetadata](x, "", []*metav1.PartialObjectMetadata{account("d", "6", "app")})
		}, []string{"n/aws-iam.d"}},
	} {
		step.do()
		if got := changes(); !slices.Equal(got, step.want) {
			t.Errorf("%s: reports %q, not %q", step.what, got, step.want)
		}
	}
	if x.Len() != 1 || !x.HasSynced() {
		t.Errorf("%d are left; in sync: %t", x.Len(), x.HasSynced())
	}
}

func TestIndex_Get(t *testing.T) {
	x, _ := newIndex(t)
	asking := account("orders", "1", "arn:aws:iam::123456789012:role/Stack-OrdersRole-1AB2C3")
	asking.Annotations[request.DurationAnnotation] = "7200"
	x.Put(asking)
	byName, ok := x.Get(named("orders"))
	bySecret, also := x.ForSecret(named("aws-iam.orders"))
	if !ok || !also || byName.Name != named("orders") || byName.UID != "1" || byName.Request.Role != asking.Annotations[request.RoleAnnotation] || byName.Request.Duration != 2*time.Hour {
		t.Errorf("%+v, %t, %t", byName, ok, also)
	}
	if byName.Name != bySecret.Name || byName.UID != bySecret.UID {
		t.Errorf("%+v by its Secret", bySecret)
	}
	for _, name := range []string{"aws-iam-orders", "orders", "aws-iam.", "aws-iam.billing"} {
		if found, ok := x.ForSecret(named(name)); ok {
			t.Errorf("Secret %s: %+v", name, found)
		}
	}
	if _, ok := x.Get(types.NamespacedName{Namespace: "m", Name: "orders"}); ok {
		t.Error("there is one in another namespace")
	}
}

func TestIndex_SubscriberGetsWhatIsAskedForAlready(t *testing.T) {
	x := New([]string{""}, nil)
	x.Put(account("a", "1", "app"))
	var got []string
	x.Subscribe(func(s types.NamespacedName) { got = append(got, s.Name) })
	if !slices.Equal(got, []string{"aws-iam.a"}) {
		t.Errorf("%q", got)
	}
}

func TestIndex_ReplacesTheListedScopeOnly(t *testing.T) {
	x := New([]string{"n", "m"}, nil)
	other := account("a", "1", "app")
	other.Namespace = "m"
	filteredwatch.Replace[*metav1.PartialObjectMetadata](x, "n", []*metav1.PartialObjectMetadata{account("a", "2", "app")})
	if x.HasSynced() {
		t.Error("in sync though one namespace is not listed")
	}
	filteredwatch.Replace[*metav1.PartialObjectMetadata](x, "m", []*metav1.PartialObjectMetadata{other})
	filteredwatch.Replace[*metav1.PartialObjectMetadata](x, "n", nil)
	if found, ok := x.Get(types.NamespacedName{Namespace: "m", Name: "a"}); !ok || found.UID != "1" || x.Len() != 1 || !x.HasSynced() {
		t.Errorf("%+v, %d", found, x.Len())
	}
}

// The subscriber may ask the Index, and several goroutines may write to it.
func TestIndex_IsSafeForConcurrentUse(t *testing.T) {
	x := New([]string{""}, nil)
	x.Subscribe(func(s types.NamespacedName) { x.ForSecret(s) })
	var running sync.WaitGroup
	for i := range 4 {
		running.Go(func() {
			for j := range 200 {
				name := fmt.Sprint("a", (i+j)%7)
				x.Put(account(name, strconv.Itoa(i), "app"))
				x.Get(named(name))
				x.Delete(named(name))
				filteredwatch.Replace[*metav1.PartialObjectMetadata](x, "m", nil)
				x.Len()
			}
		})
	}
	running.Wait()
	if x.Len() != 0 {
		t.Errorf("%d are left", x.Len())
	}
}
