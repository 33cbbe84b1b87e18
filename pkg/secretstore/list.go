package secretstore

import (
	"cmp"
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
)

// GetAWSIAMRole returns the AWSIAMRole of a name, or nil. One that is being deleted asks for
// nothing any more.
func (s *Store) GetAWSIAMRole(ctx context.Context, name types.NamespacedName) (*v1.AWSIAMRole, error) {
	if !s.ServesAWSIAMRoles {
		return nil, nil
	}
	var resource v1.AWSIAMRole
	if err := s.Cached.Get(ctx, name, &resource); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if !resource.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	return &resource, nil
}

// Names returns the Secrets of a namespace, or with "" of all, that a cache has, and those that an
// AWSIAMRole asks for, in order.
func (s *Store) Names(ctx context.Context, cached client.Reader, namespace string) []types.NamespacedName {
	names := sets.New[types.NamespacedName]()
	var secrets corev1.SecretList
	if err := cached.List(ctx, &secrets, client.InNamespace(namespace)); err == nil {
		for i := range secrets.Items {
			names.Insert(client.ObjectKeyFromObject(&secrets.Items[i]))
		}
	}
	if !s.ServesAWSIAMRoles {
		return Sorted(names)
	}
	var roles v1.AWSIAMRoleList
	if err := cached.List(ctx, &roles, client.InNamespace(namespace)); err == nil {
		for i := range roles.Items {
			names.Insert(client.ObjectKeyFromObject(&roles.Items[i]))
		}
	}
	return Sorted(names)
}

// Sorted returns names in order, so that the same change has the same effects.
func Sorted(names sets.Set[types.NamespacedName]) []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(names), func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// Count returns how many Secrets a cache has; 0 until it is synced.
func Count(cached client.Reader) int {
	var all corev1.SecretList
	if err := cached.List(context.Background(), &all); err != nil {
		return 0
	}
	return len(all.Items)
}
