package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/pager"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/request"
)

// tick is how often a watch looks at the clock: credentials expire without a change of any object.
const tick = 10 * time.Second

// WatchRoles calls changed with what there is in a namespace, or in all if it is "": at first,
// after each change, and now and then. It returns when the context ends, without an error, or with
// the error of changed, or of a list or watch that the user has no right to.
func (c *Cluster) WatchRoles(ctx context.Context, namespace string, changed func(*usage.Snapshot) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop(nil)
	w := &watcher{ctx: ctx, stop: stop, namespace: namespace, running: &running, signal: make(chan struct{}, 1)}
	pods, roles := c.Kubernetes.CoreV1().Pods(namespace), c.AWSIAMRoles(namespace)
	secrets, accounts := c.metadataOf(Secrets, namespace), c.metadataOf(ServiceAccounts, namespace)
	all := indexes{
		secrets:  start(w, "", listOf(secrets.List), secrets.Watch, usage.KeepSecret),
		accounts: start(w, "", listOf(accounts.List), accounts.Watch, request.ReduceServiceAccount),
		pods:     start(w, unfinished, listOf(pods.List), pods.Watch, usage.KeepPod),
	}
	if has := c.hasCRD(); has.Err != nil || has.Value {
		all.roles = start(w, "", listOf(roles.List), roles.Watch, always[*v1.AWSIAMRole])
	}
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.err()
		case <-w.signal:
		case <-clock.C:
		}
		if s := all.snapshot(); s != nil {
			if err := changed(s); err != nil {
				return err
			}
		}
	}
}

// indexes are those of all kinds; roles is nil in a cluster without AWSIAMRoles.
type indexes struct {
	secrets, accounts *index[*metav1.PartialObjectMetadata]
	pods              *index[*corev1.Pod]
	roles             *index[*v1.AWSIAMRole]
}

// snapshot returns what there is, or nil before all was listed.
func (x *indexes) snapshot() *usage.Snapshot {
	if !x.secrets.HasSynced() || !x.accounts.HasSynced() || !x.pods.HasSynced() || x.roles != nil && !x.roles.HasSynced() {
		return nil
	}
	s := &usage.Snapshot{Secrets: x.secrets.all(), SecretsKnown: true, Accounts: x.accounts.all(), Pods: x.pods.all()}
	if x.roles != nil {
		s.AWSIAMRoles = x.roles.all()
	}
	return s
}

// watcher is what the watches of all kinds share.
type watcher struct {
	ctx       context.Context //nolint:containedctx // it lives no longer than WatchRoles
	stop      context.CancelCauseFunc
	namespace string
	running   *sync.WaitGroup
	// signal has an element if something changed.
	signal chan struct{}
}

// err returns why the watches ended, or nil if the user ended them.
func (w *watcher) err() error {
	if cause := context.Cause(w.ctx); apierrors.IsForbidden(cause) {
		return cause
	}
	return nil
}

// allow ends all watches with the error of one that the user has no right to.
func (w *watcher) allow(err error) error {
	if apierrors.IsForbidden(err) {
		w.stop(err)
	}
	return err
}

// start starts a watch that fills an index.
func start[O filteredwatch.Object](w *watcher, fields string, list pager.ListPageFunc, watchAll func(context.Context, metav1.ListOptions) (watch.Interface, error), keep func(O) bool) *index[O] {
	x := &index[O]{Scopes: filteredwatch.NewScopes([]string{w.namespace}), keep: keep, signal: w.signal, objects: map[types.NamespacedName]O{}}
	source := filteredwatch.Source[O]{
		FieldSelector: fields,
		List: func(ctx context.Context, _ string, o metav1.ListOptions) (runtime.Object, error) {
			page, err := list(ctx, o)
			return page, w.allow(err)
		},
		Watch: func(ctx context.Context, _ string, o metav1.ListOptions) (watch.Interface, error) {
			events, err := watchAll(ctx, o)
			return events, w.allow(err)
		},
		Keep: keep,
	}
	w.running.Go(func() { _ = filteredwatch.New(source, []string{w.namespace}, x).Start(w.ctx) }) // returns no error
	return x
}

// index has the objects of a kind that are kept. It implements filteredwatch.Index.
type index[O filteredwatch.Object] struct {
	*filteredwatch.Scopes

	keep   func(O) bool
	signal chan<- struct{}

	lock    sync.Mutex
	objects map[types.NamespacedName]O
}

// Put implements filteredwatch.Index.
func (x *index[O]) Put(o O) {
	if !x.keep(o) {
		return
	}
	x.change(func() { x.objects[types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}] = o })
}

// Delete implements filteredwatch.Index.
func (x *index[O]) Delete(name types.NamespacedName) { x.change(func() { delete(x.objects, name) }) }

// MarkListed implements filteredwatch.Index.
func (x *index[O]) MarkListed(scope string) { x.change(func() { x.Scopes.MarkListed(scope) }) }

func (x *index[O]) change(f func()) {
	x.lock.Lock()
	defer x.lock.Unlock()
	f()
	select {
	case x.signal <- struct{}{}:
	default: // the change before was not looked at yet
	}
}

// Names implements filteredwatch.Index.
func (x *index[O]) Names() []types.NamespacedName {
	x.lock.Lock()
	defer x.lock.Unlock()
	return slices.Collect(maps.Keys(x.objects))
}

// all returns the objects.
func (x *index[O]) all() []O {
	x.lock.Lock()
	defer x.lock.Unlock()
	return slices.Collect(maps.Values(x.objects))
}
