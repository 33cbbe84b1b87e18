package podindex

import (
	"context"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/request"
)

// Injection is how an Index finds pods that should have the Secret of their ServiceAccount by
// injection and have not. With the zero value it finds only those that ask for it by a label.
type Injection struct {
	// Injects reports whether the pods of a ServiceAccount get its Secret by injection.
	Injects func(account types.NamespacedName) bool
	// Known is closed when Injects knows all ServiceAccounts. Pods are listed after that.
	Known <-chan struct{}
	// Pods lists the pods of a ServiceAccount; see PodsOf.
	Pods func(ctx context.Context, account types.NamespacedName) ([]corev1.Pod, error)
}

// appliesTo reports whether a pod should be injected because of its ServiceAccount.
func (i *Injection) appliesTo(pod *corev1.Pod) bool {
	return i.Injects != nil && i.Injects(types.NamespacedName{Namespace: pod.Namespace, Name: request.ServiceAccountName(pod)})
}

// PodsOf returns a function that lists the unfinished pods of a ServiceAccount.
func PodsOf(c typedcorev1.PodsGetter) func(context.Context, types.NamespacedName) ([]corev1.Pod, error) {
	return func(ctx context.Context, account types.NamespacedName) ([]corev1.Pod, error) {
		selector := fields.AndSelectors(unfinished, fields.OneTermEqualSelector("spec.serviceAccountName", account.Name)).String()
		list, err := c.Pods(account.Namespace).List(ctx, metav1.ListOptions{FieldSelector: selector, Limit: filteredwatch.PageSize})
		if err != nil {
			return nil, err
		}
		return list.Items, nil
	}
}

// Refreshes of one namespace per second, and at once. Each lists up to a page of whole pods twice,
// and every user who can change a ServiceAccount can cause it.
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
// dropped them, and delivers them again only when they change. It adds no more than one page of
// them, and reports false if the namespace had too many refreshes lately. A pod can be deleted
// between the list and its addition, in which case the watch has nothing more to say about it; so
// those that a second list does not have are removed.
func (x *Index) Refresh(ctx context.Context, account types.NamespacedName) (done bool, err error) {
	if !x.mayRefresh(account.Namespace) {
		return false, nil
	}
	listed, err := x.injection.Pods(ctx, account)
	if err != nil {
		return false, err
	}
	added := sets.New[types.NamespacedName]()
	for i := range listed {
		name := types.NamespacedName{Namespace: listed[i].Namespace, Name: listed[i].Name}
		if !x.has(name) && x.reduce(&listed[i]) {
			x.Put(&listed[i])
			added.Insert(name)
		}
	}
	if len(added) == 0 {
		return true, nil
	}
	remaining, err := x.injection.Pods(ctx, account)
	for i := range remaining {
		added.Delete(types.NamespacedName{Namespace: remaining[i].Namespace, Name: remaining[i].Name})
	}
	for name := range added {
		x.Delete(name)
	}
	return err == nil, err
}

func (x *Index) has(pod types.NamespacedName) bool {
	x.lock.RLock()
	defer x.lock.RUnlock()
	return x.byName[pod] != nil
}
