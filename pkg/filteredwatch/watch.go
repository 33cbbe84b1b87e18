// Package filteredwatch watches objects of which few matter, and drops the others as they come in:
// its memory follows what is kept, not the size of the cluster.
package filteredwatch

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
)

// PageSize bounds the number of whole objects in memory while they are listed, where the API server
// cannot stream the list.
const PageSize = 500

// Object is an object of the API.
type Object interface {
	runtime.Object
	metav1.Object
}

// Source is where objects come from.
type Source[O Object] struct {
	// Name is what the objects are, for logs, such as "pods".
	Name string
	// After is closed when the objects can be listed; nil for at once.
	After <-chan struct{}
	// FieldSelector selects the objects; if it is empty, all are.
	FieldSelector string
	// List lists one page of a namespace, or with "" of all. It removes what Keep drops.
	List func(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error)
	// Watch watches a namespace, or with "" all.
	Watch func(ctx context.Context, namespace string, o metav1.ListOptions) (watch.Interface, error)
	// Keep reduces an object, and reports whether to keep it.
	Keep func(O) bool
}

// Index is what a Watch fills.
type Index[O Object] interface {
	// Put adds or replaces an object.
	Put(O)
	// Delete removes an object if it is there.
	Delete(types.NamespacedName)
	// Names returns the names of the objects that are in it.
	Names() []types.NamespacedName
	// MarkListed records that a scope has been listed.
	MarkListed(scope string)
	// Synced returns a channel that is closed once all scopes have been listed.
	Synced() <-chan struct{}
}

// Replace makes the given objects those of a scope in an Index.
func Replace[O Object](x Index[O], scope string, objects []O) {
	listed := sets.New[types.NamespacedName]()
	for _, object := range objects {
		listed.Insert(nameOf(object))
		x.Put(object)
	}
	for _, name := range x.Names() {
		if (scope == "" || scope == name.Namespace) && !listed.Has(name) {
			x.Delete(name)
		}
	}
	x.MarkListed(scope)
}

// Watch fills an Index with the objects of some scopes. It runs on every replica, so that a new
// leader knows all at once.
type Watch[O Object] struct {
	source Source[O]
	scopes []string
	index  Index[O]
}

// New returns a Watch of the scopes, each a namespace or "" for all, that the Index was made for.
func New[O Object](source Source[O], scopes []string, x Index[O]) *Watch[O] {
	return &Watch[O]{source, scopes, x}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (w *Watch[O]) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it watches until the context is done.
func (w *Watch[O]) Start(ctx context.Context) error {
	if !w.awaitTurn(ctx) {
		return nil
	}
	var expected O
	var running sync.WaitGroup
	running.Go(func() { w.freeMemory(ctx) })
	for _, scope := range w.scopes {
		reflector := cache.NewReflectorWithOptions(w.listerWatcher(scope), expected, store[O]{w.index, scope}, cache.ReflectorOptions{Name: w.source.Name})
		running.Go(func() { reflector.RunWithContext(ctx) })
	}
	running.Wait()
	return nil
}

// awaitTurn waits until the objects can be listed. It returns false if the context ends before.
func (w *Watch[O]) awaitTurn(ctx context.Context) bool {
	if w.source.After == nil {
		return true
	}
	select {
	case <-w.source.After:
		return true
	case <-ctx.Done():
		return false
	}
}

// freeMemory returns the memory of the objects that were dropped to the operating system once all
// have been listed. Go itself does so minutes later.
func (w *Watch[O]) freeMemory(ctx context.Context) {
	select {
	case <-w.index.Synced():
		debug.FreeOSMemory()
	case <-ctx.Done():
	}
}

func (w *Watch[O]) listerWatcher(namespace string) cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return w.listPages(ctx, namespace, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = w.source.FieldSelector
			events, err := w.source.Watch(ctx, namespace, o)
			if err != nil {
				return nil, err
			}
			return watch.Filter(events, w.filter), nil
		},
	}
}

// filter drops an event about an object that is not kept. One that was kept before, perhaps, is
// deleted from the Index.
func (w *Watch[O]) filter(e watch.Event) (watch.Event, bool) {
	object, ok := e.Object.(O)
	if !ok || e.Type == watch.Bookmark || w.source.Keep(object) {
		return e, true
	}
	if e.Type == watch.Modified {
		e.Type = watch.Deleted
	}
	return e, e.Type == watch.Deleted
}

// listPages lists the objects that are kept, page by page, where the API server cannot stream them.
// It does so itself, as a reflector does not page: the API server ignores a limit where
// resourceVersion is "0", and the reflector asks for all at once where a page comes too late. An
// unset resourceVersion is a consistent read, which older API servers pass on to etcd: pages bound
// their memory, too.
func (w *Watch[O]) listPages(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
	if o.ResourceVersion == "0" {
		o.ResourceVersion = ""
	}
	o.FieldSelector, o.Limit = w.source.FieldSelector, PageSize
	pages := pager.ListPager{PageFn: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return w.source.List(ctx, namespace, o)
	}}
	list, _, err := pages.List(ctx, o)
	return list, err
}

// Kept returns the items of a page that are kept, in a slice of their own, so that the page is not
// kept.
func Kept[T any](page []T, keep func(*T) bool) []T {
	var kept []T
	for i := range page {
		if keep(&page[i]) {
			kept = append(kept, page[i])
		}
	}
	return kept
}

// store is what a reflector writes the objects of its scope to.
type store[O Object] struct {
	index Index[O]
	scope string
}

// Add implements cache.ReflectorStore.
func (s store[O]) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s store[O]) Update(obj any) error {
	object, err := typed[O](obj)
	if err != nil {
		return err
	}
	s.index.Put(object)
	return nil
}

// Delete implements cache.ReflectorStore.
func (s store[O]) Delete(obj any) error {
	object, err := typed[O](obj)
	if err != nil {
		return err
	}
	s.index.Delete(nameOf(object))
	return nil
}

// Replace implements cache.ReflectorStore.
func (s store[O]) Replace(list []any, _ string) error {
	objects := make([]O, len(list))
	for i := range list {
		var err error
		if objects[i], err = typed[O](list[i]); err != nil {
			return err
		}
	}
	Replace(s.index, s.scope, objects)
	return nil
}

// Resync implements cache.ReflectorStore.
func (s store[O]) Resync() error { return nil }

func typed[O Object](obj any) (O, error) {
	object, ok := obj.(O)
	if !ok {
		return object, fmt.Errorf("a watch of %T yields a %T", object, obj)
	}
	return object, nil
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
