package podindex

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/request"
)

// unfinished makes the API server leave out the pods whose containers have all ended for good.
var unfinished = fields.AndSelectors(
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
)

// NewWatch returns a Watch of the pods of the scopes, each a namespace or "" for all, that the
// Index was made for.
func NewWatch(c typedcorev1.PodsGetter, scopes []string, x *Index) *filteredwatch.Watch[*corev1.Pod] {
	return filteredwatch.New(filteredwatch.Source[*corev1.Pod]{
		Name:          "pods",
		FieldSelector: unfinished.String(),
		After:         x.injection.Known,
		List: func(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
			list, err := c.Pods(namespace).List(ctx, o)
			if err != nil {
				return nil, err
			}
			list.Items = filteredwatch.Kept(list.Items, x.reduce)
			return list, nil
		},
		Watch: func(ctx context.Context, namespace string, o metav1.ListOptions) (watch.Interface, error) {
			return c.Pods(namespace).Watch(ctx, o)
		},
		Keep: x.reduce,
	}, scopes, x)
}

// reduce reduces a pod to what it asks for, and reports whether it asks for anything, or should.
func (x *Index) reduce(pod *corev1.Pod) bool {
	if x.injection.appliesTo(pod) {
		request.MarkInjected(pod)
	}
	if !request.HasRequests(pod) {
		return false
	}
	request.ReducePod(pod)
	return true
}
