package podindex

import (
	"cmp"
	"context"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"kube-aws-iam-controller/pkg/request"
)

// Injection is how an Index finds pods that should have the Secret of their ServiceAccount by
// injection and have not. With the zero value it finds only those that ask for it by a label.
type Injection struct {
	// Injects reports whether the pods of a ServiceAccount get its Secret by injection.
	Injects func(account types.NamespacedName) bool
	// Known is closed when Injects knows all ServiceAccounts. Pods are listed after that.
	Known <-chan struct{}
	// Pods calls each for the pods of a ServiceAccount; see PodsOf.
	Pods func(ctx context.Context, account types.NamespacedName, each func(*corev1.Pod)) error
}

// appliesTo reports whether a pod should be injected because of its ServiceAccount.
func (i *Injection) appliesTo(pod *corev1.Pod) bool {
	return i.Injects != nil && i.Injects(types.NamespacedName{Namespace: pod.Namespace, Name: request.ServiceAccountName(pod)})
}

// A list for one ServiceAccount has at most maxPages of pageSize pods. Users write pods of more
// than a megabyte, so only a few are in memory at a time.
const pageSize, maxPages = 10, 50

// PodsOf returns a function that lists the first 500 unfinished pods of a ServiceAccount.
func PodsOf(c typedcorev1.PodsGetter) func(context.Context, types.NamespacedName, func(*corev1.Pod)) error {
	return func(ctx context.Context, account types.NamespacedName, each func(*corev1.Pod)) error {
		selector := fields.AndSelectors(unfinished, fields.OneTermEqualSelector("spec.serviceAccountName", account.Name)).String()
		options := metav1.ListOptions{FieldSelector: selector, Limit: pageSize}
		for range maxPages {
			list, err := c.Pods(account.Namespace).List(ctx, options)
			if err != nil {
				return err
			}
			for i := range list.Items {
				each(&list.Items[i])
			}
			if options.Continue = list.Continue; options.Continue == "" {
				break
			}
		}
		return nil
	}
}

// Refreshes of one namespace per second, and at once. Each lists pods twice, and every user who can
// change a ServiceAccount can cause it.
const refreshRate, refreshBurst = 1, 50

// maxIdleNamespaces is how many namespaces are remembered that had a refresh.
const maxIdleNamespaces = 1000

// mayRefresh reports whether a namespace can have a refresh now, and counts it.
func (x *Index) mayRefresh(namespace string) bool {
	known, ok := x.refreshes.Get(namespace)
	limiter, _ := known.(*rate.Limiter)
	if !ok {
		limiter = rate.NewLimiter(refreshRate, refreshBurst)
		x.refreshes.Add(namespace, limiter)
	}
	return limiter.AllowN(x.clock.Now(), 1)
}

// Refresh adds the pods of a ServiceAccount that came to inject after they were created: the watch
// dropped them, and delivers them again only when they change. It reports false if it did nothing,
// because another one is under way or the namespace had too many lately. A pod can be deleted
// between the list and its addition, in which case the watch has nothing more to say about it; so
// those that a second list does not have are removed.
func (x *Index) Refresh(ctx context.Context, account types.NamespacedName) (done bool, err error) {
	if !x.refreshing.TryLock() {
		return false, nil
	}
	defer x.refreshing.Unlock()
	if !x.mayRefresh(account.Namespace) {
		return false, nil
	}
	added := sets.New[types.NamespacedName]()
	err = x.injection.Pods(ctx, account, func(pod *corev1.Pod) {
		if name := nameOf(pod); !x.has(name) && x.reduce(pod) {
			x.Put(pod)
			added.Insert(name)
		}
	})
	if err == nil && len(added) == 0 {
		return true, nil
	}
	remaining := sets.New[types.NamespacedName]()
	again := x.injection.Pods(ctx, account, func(pod *corev1.Pod) { remaining.Insert(nameOf(pod)) })
	for name := range added.Difference(remaining) {
		x.Delete(name)
	}
	err = cmp.Or(err, again)
	return err == nil, err
}

func nameOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

func (x *Index) has(pod types.NamespacedName) bool {
	x.lock.RLock()
	defer x.lock.RUnlock()
	return x.byName[pod] != nil
}
