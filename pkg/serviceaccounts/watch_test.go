package serviceaccounts

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"

	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/test/env"
)

// fakeAPI serves ServiceAccounts, as many in each namespace.
type fakeAPI struct {
	metadata.Getter // nil: only lists and watches are served

	size int
	item func(i int) *metav1.PartialObjectMetadata
	// streams sends lists as events, as API servers from Kubernetes 1.34 on do.
	streams bool
	// watches gets every watch that begins after a list.
	watches chan *watch.FakeWatcher

	lock     sync.Mutex
	resource schema.GroupVersionResource
	lists    []metav1.ListOptions
}

// Resource implements metadata.Interface.
func (a *fakeAPI) Resource(r schema.GroupVersionResource) metadata.Getter {
	a.resource = r
	return a
}

// Namespace implements metadata.Getter.
func (a *fakeAPI) Namespace(namespace string) metadata.ResourceInterface {
	return scopedAPI{a, namespace}
}

// scopedAPI is a fakeAPI for a namespace, or with "" for all.
type scopedAPI struct {
	*fakeAPI

	namespace string
}

// List implements metadata.ResourceInterface.
func (a scopedAPI) List(_ context.Context, o metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	a.lock.Lock()
	a.lists = append(a.lists, o)
	a.lock.Unlock()
	first, err := strconv.Atoi(cmp.Or(o.Continue, "0"))
	if err != nil {
		return nil, err
	}
	last := min(a.size, first+int(o.Limit))
	list := &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
	if last < a.size {
		list.Continue = strconv.Itoa(last)
	}
	for i := first; i < last; i++ {
		list.Items = append(list.Items, *a.in(i))
	}
	return list, nil
}

func (a scopedAPI) in(i int) *metav1.PartialObjectMetadata {
	item := a.item(i)
	item.Namespace = cmp.Or(a.namespace, item.Namespace)
	return item
}

// Watch implements metadata.ResourceInterface.
func (a scopedAPI) Watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w := watch.NewFake()
	switch {
	case o.SendInitialEvents == nil:
	case !a.streams:
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil)
	default:
		go a.stream(w)
	}
	if o.SendInitialEvents == nil || a.streams {
		a.watches <- w
	}
	return w, nil
}

func (a scopedAPI) stream(w *watch.FakeWatcher) {
	for i := range a.size {
		w.Add(a.in(i))
	}
	w.Action(watch.Bookmark, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}})
}

// start fills an Index from an API until all ServiceAccounts are known.
func start(t *testing.T, api *fakeAPI, scopes ...string) *Index {
	t.Helper()
	api.watches = make(chan *watch.FakeWatcher, 100)
	index := New(scopes, nil)
	w := NewWatch(api, scopes, index)
	if w.NeedLeaderElection() {
		t.Error("runs on the leader only")
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- w.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	<-index.Synced()
	return index
}

func TestWatch_ListsInPagesWhereTheAPIServerCannotStream(t *testing.T) {
	api := &fakeAPI{size: 2*filteredwatch.PageSize + 1, item: func(i int) *metav1.PartialObjectMetadata {
		return account(fmt.Sprint("sa-", i), strconv.Itoa(i), []string{"app", ""}[i%2])
	}}
	index := start(t, api, "")
	if index.Len() != filteredwatch.PageSize+1 {
		t.Errorf("%d ask for something", index.Len())
	}
	if api.resource != (schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}) {
		t.Errorf("watches %s", api.resource)
	}
	api.lock.Lock()
	defer api.lock.Unlock()
	if len(api.lists) != 3 {
		t.Errorf("%d requests", len(api.lists))
	}
	for i, o := range api.lists {
		if o.Limit != filteredwatch.PageSize || o.ResourceVersion != "" {
			t.Errorf("request %d asks for %v", i, o)
		}
	}
}

func TestWatch_ListsEveryScope(t *testing.T) {
	api := &fakeAPI{size: 1, item: func(int) *metav1.PartialObjectMetadata { return account("a", "1", "app") }}
	index := start(t, api, "n", "m")
	for _, namespace := range []string{"n", "m"} {
		if _, ok := index.Get(types.NamespacedName{Namespace: namespace, Name: "a"}); !ok {
			t.Errorf("the one of namespace %s is missing", namespace)
		}
	}
}

func TestWatch_FollowsChanges(t *testing.T) {
	api := &fakeAPI{size: 1, item: func(int) *metav1.PartialObjectMetadata { return account("a", "1", "app") }}
	index := start(t, api, "")
	secrets := make(chan string)
	go index.Subscribe(func(s types.NamespacedName) { secrets <- s.Name })
	if got := <-secrets; got != "aws-iam.a" {
		t.Fatal(got)
	}
	events := <-api.watches
	if events == nil {
		t.Fatal("no watch")
	}
	for _, step := range []struct {
		what string
		do   func()
		want string // the Secret that is reported
		asks int
	}{
		{"one that asks is added", func() { events.Add(account("b", "2", "app")) }, "aws-iam.b", 2},
		{"one that asks for nothing is added and changed, and the role changes", func() {
			events.Add(account("c", "3", ""))
			events.Modify(account("c", "3", ""))
			events.Delete(account("c", "3", ""))
			events.Modify(account("b", "2", "other"))
		}, "aws-iam.b", 2},
		{"the annotation is removed", func() { events.Modify(account("a", "1", "")) }, "aws-iam.a", 1},
		{"it is added", func() { events.Modify(account("a", "1", "app")) }, "aws-iam.a", 2},
		{"one is deleted", func() { events.Delete(account("b", "2", "other")) }, "aws-iam.b", 1},
		{"a bookmark, and a successor", func() {
			events.Action(watch.Bookmark, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "9"}})
			events.Modify(account("a", "4", "app"))
		}, "aws-iam.a", 1},
	} {
		step.do()
		if got := <-secrets; got != step.want {
			t.Errorf("%s: reports %s", step.what, got)
		}
		if got := index.Len(); got != step.asks {
			t.Errorf("%s: %d ask for something", step.what, got)
		}
	}
	if found, ok := index.Get(named("a")); !ok || found.UID != "4" {
		t.Errorf("%+v, %t", found, ok)
	}
}

// Those that ask for nothing take no memory, and those that ask little.
func TestWatch_Memory(t *testing.T) {
	const size = 50_000
	for _, c := range []struct {
		name       string
		streams    bool
		role       string
		asks, most int64
	}{
		{"none asks, in pages", false, "", 0, 100},
		{"none asks, streamed", true, "", 0, 100},
		{"all ask, in pages", false, "arn:aws:iam::123456789012:role/Stack-OrdersRole-1AB2C3", size, 1024},
		{"all ask, streamed", true, "arn:aws:iam::123456789012:role/Stack-OrdersRole-1AB2C3", size, 1024},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := &fakeAPI{size: size, streams: c.streams, item: func(i int) *metav1.PartialObjectMetadata {
				sa := account(fmt.Sprintf("serviceaccount-%d", i), fmt.Sprintf("%08d-0000-4000-8000-000000000000", i), strings.Clone(c.role))
				sa.Namespace = fmt.Sprint("namespace-", i%500)
				sa.Annotations[request.DurationAnnotation] = "3600"
				sa.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = strings.Repeat("x", 500)
				sa.Labels = map[string]string{"app.kubernetes.io/name": sa.Name}
				sa.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", FieldsV1: metav1.NewFieldsV1(strings.Repeat("x", 200))}}
				return sa
			}}
			before := env.LiveHeap()
			index := start(t, api, "")
			grown := int64(env.LiveHeap()) - int64(before) //nolint:gosec // a heap is smaller
			t.Logf("%d ServiceAccounts, of which %d ask: %d KiB, %d bytes each", size, index.Len(), grown>>10, grown/size)
			if int64(index.Len()) != c.asks || grown/size > c.most || c.asks == 0 && grown > 8<<20 {
				t.Errorf("%d ask; %d bytes", index.Len(), grown)
			}
			runtime.KeepAlive(api)
		})
	}
}
