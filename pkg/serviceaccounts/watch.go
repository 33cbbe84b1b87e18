package serviceaccounts

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
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

// CurrentUID returns a function that asks the API server for the UID of a ServiceAccount; "" if
// there is none. It lists by name, which needs no other right than the Watch.
func CurrentUID(c metadata.Interface) func(context.Context, types.NamespacedName) (types.UID, error) {
	return func(ctx context.Context, account types.NamespacedName) (types.UID, error) {
		byName := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, account.Name).String()}
		list, err := c.Resource(resource).Namespace(account.Namespace).List(ctx, byName)
		if err != nil || len(list.Items) == 0 {
			return "", err
		}
		return list.Items[0].UID, nil
	}
}
