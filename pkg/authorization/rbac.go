package authorization

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// The permission that RBAC checks: the verb "assume" on the resource awsiamroles.zalando.org whose
// name is the role's name or ARN. The resource does not have to exist.
const (
	Verb     = "assume"
	Group    = "zalando.org"
	Resource = "awsiamroles"
)

// maxReviewText limits what is kept of the texts in the status of a review, in bytes. They contain
// the names of bindings, which can be very long.
const maxReviewText = 300

// cut returns a text cut to maxReviewText bytes.
func cut(s string) string {
	if len(s) <= maxReviewText {
		return s
	}
	return strings.ToValidUTF8(s[:maxReviewText], "") + "…"
}

// SubjectAccessReview creates a SubjectAccessReview in the API server and returns its status.
type SubjectAccessReview func(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error)

// RBAC returns an Authorizer that asks the API server, and so its own authorizers, whether the
// Subject has the verb "assume" on the role: by its name if it is under the base role ARN, and by
// its ARN. If neither is allowed and the API server could not evaluate one of them, the error is an
// *UndecidedError.
func RBAC(review SubjectAccessReview) Authorizer {
	return func(ctx context.Context, r Request) (Decision, error) {
		names := r.Base.Names(r.Role)
		var errs []error
		for _, name := range names {
			status, err := review(ctx, authorizationv1.SubjectAccessReviewSpec{
				User:   r.Subject.User(),
				Groups: r.Subject.Groups(),
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: r.Subject.Namespace, Verb: Verb, Group: Group, Resource: Resource, Name: name,
				},
			})
			switch {
			case err != nil: // the second name would fail, too
				return Decision{}, undecided(r, fmt.Errorf("the access review failed: %w", err))
			case status.Allowed:
				return Decision{Allowed: true, Reason: cut(status.Reason)}, nil
			case status.EvaluationError != "": // the authorizer that failed might have allowed it
				errs = append(errs, fmt.Errorf("the API server could not evaluate the access review: %s", cut(status.EvaluationError)))
			}
		}
		if len(errs) > 0 {
			return Decision{}, undecided(r, errs...)
		}
		return deniedByRBAC(r.Subject, names[0]), nil
	}
}
