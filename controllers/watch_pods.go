package controllers

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"

	"kube-aws-iam-controller/pkg/demand"
)

// unfinished leaves out, in the API server, the pods that have no running containers and never will again.
var unfinished = fields.AndSelectors(
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
).String()

// listPageSize bounds how many whole pods are held at once while they are listed, where the API server cannot stream the list.
const listPageSize = 500

// podWatch fills Pods. It runs on every replica, leader or not, so that a new leader knows all pods at once.
type podWatch struct {
	client typedcorev1.PodsGetter
	scopes []string
	pods   *podStore
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (w *podWatch) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it watches until the context is done.
func (w *podWatch) Start(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { w.giveBack(ctx) })
	for _, scope := range w.scopes {
		reflector := cache.NewReflectorWithOptions(w.listerWatcher(scope), &corev1.Pod{}, scopedStore{w.pods, scope}, cache.ReflectorOptions{Name: "pods"})
		running.Go(func() { reflector.RunWithContext(ctx) })
	}
	running.Wait()
	return nil
}

// giveBack returns to the operating system, as soon as all pods have been listed, what those took that want nothing. By itself Go would do so minutes later.
func (w *podWatch) giveBack(ctx context.Context) {
	select {
	case <-w.pods.synced:
		debug.FreeOSMemory()
	case <-ctx.Done():
	}
}

// listerWatcher lists and watches the unfinished pods of a namespace. Those that want nothing are
// dropped as they come in, and the others reduced.
func (w *podWatch) listerWatcher(namespace string) cache.ListerWatcher {
	pods := w.client.Pods(namespace)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return listPages(ctx, pods, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = unfinished
			events, err := pods.Watch(ctx, o)
			if err != nil {
				return nil, err
			}
			return watch.Filter(events, func(e watch.Event) (watch.Event, bool) {
				pod, isPod := e.Object.(*corev1.Pod)
				if !isPod || e.Type == watch.Bookmark {
					return e, true
				}
				return e, keepWanting(pod)
			}), nil
		},
	}
}

// listPages lists the unfinished pods that want something, page by page, where the API server
// cannot stream them. It pages by itself, as a reflector's own pages are none: the API server
// ignores a limit where resourceVersion is "0", and the reflector asks for all at once where a
// page comes too late. An unset resourceVersion is a consistent read, which older API servers
// pass on to etcd: pages bound their memory, too.
func listPages(ctx context.Context, pods typedcorev1.PodInterface, o metav1.ListOptions) (runtime.Object, error) {
	if o.ResourceVersion == "0" {
		o.ResourceVersion = ""
	}
	o.FieldSelector, o.Limit = unfinished, listPageSize
	pages := pager.ListPager{PageFn: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		list, err := pods.List(ctx, o)
		if err != nil {
			return nil, err
		}
		var wanting []corev1.Pod // of its own, so that the page is not kept
		for i := range list.Items {
			if keepWanting(&list.Items[i]) {
				wanting = append(wanting, list.Items[i])
			}
		}
		list.Items = wanting
		return list, nil
	}}
	list, _, err := pages.List(ctx, o)
	return list, err
}

// keepWanting reports whether a pod wants anything, and reduces it to that.
func keepWanting(pod *corev1.Pod) bool {
	if !demand.Wants(pod) {
		return false
	}
	demand.ReducePod(pod)
	return true
}

// scopedStore is what a reflector writes the pods of its scope to.
type scopedStore struct {
	pods  *podStore
	scope string
}

// Add implements cache.ReflectorStore.
func (s scopedStore) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s scopedStore) Update(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return notAPod(obj)
	}
	s.pods.put(pod)
	return nil
}

// Delete implements cache.ReflectorStore.
func (s scopedStore) Delete(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return notAPod(obj)
	}
	s.pods.drop(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	return nil
}

// Replace implements cache.ReflectorStore.
func (s scopedStore) Replace(list []any, _ string) error {
	pods := make([]*corev1.Pod, len(list))
	for i := range list {
		var ok bool
		if pods[i], ok = list[i].(*corev1.Pod); !ok {
			return notAPod(list[i])
		}
	}
	s.pods.replace(s.scope, pods)
	return nil
}

// Resync implements cache.ReflectorStore.
func (s scopedStore) Resync() error { return nil }

func notAPod(obj any) error { return fmt.Errorf("the watch of pods yields a %T", obj) }
