package serviceaccounts

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"

	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/request"
)

var resource = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}

// NewWatch returns a Watch of the ServiceAccounts of the scopes, each a namespace or "" for all,
// that the Index was made for. It needs the rights to list and watch serviceaccounts there.
func NewWatch(c metadata.Interface, scopes []string, x *Index) *filteredwatch.Watch[*metav1.PartialObjectMetadata] {
	accounts := c.Resource(resource)
	return filteredwatch.New(filteredwatch.Source[*metav1.PartialObjectMetadata]{
		Name: "serviceaccounts",
		List: func(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
			list, err := accounts.Namespace(namespace).List(ctx, o)
			if err != nil {
				return nil, err
			}
			list.Items = filteredwatch.Kept(list.Items, request.ReduceServiceAccount)
			return list, nil
		},
		Watch: func(ctx context.Context, namespace string, o metav1.ListOptions) (watch.Interface, error) {
			return accounts.Namespace(namespace).Watch(ctx, o)
		},
		Keep: request.ReduceServiceAccount,
	}, scopes, x)
}
