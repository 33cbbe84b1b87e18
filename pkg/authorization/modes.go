package authorization

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

// New returns the Authorizer of the modes. It asks the API server for access reviews, and
// annotations for those of a Namespace.
func New(modes []string, reviews authorizationclient.SubjectAccessReviewInterface, annotations Annotations) Authorizer {
	review := func(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		answer, err := reviews.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			return authorizationv1.SubjectAccessReviewStatus{}, err
		}
		return answer.Status, nil
	}
	all := map[string]Authorizer{ModeAlwaysAllow: AlwaysAllow, ModeRBAC: RBAC(review), ModeNamespace: Namespace(annotations)}
	var chosen []Authorizer
	for _, mode := range modes {
		chosen = append(chosen, all[mode])
	}
	return Union(chosen...)
}
