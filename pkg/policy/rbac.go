package policy

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// What a Subject must be allowed: the verb "assume" on the resource awsiamroles.zalando.org that
// is called as the role is, by its name or its ARN. No such object has to exist.
const (
	Verb     = "assume"
	Group    = "zalando.org"
	Resource = "awsiamroles"
)

// maxAnswer is how many bytes of what the API server says of a review are kept: it names bindings,
// whose names can be very long.
const maxAnswer = 300

// cut returns a copy of a text, cut to what is kept of an answer.
func cut(s string) string {
	if len(s) <= maxAnswer {
		return s
	}
	return strings.ToValidUTF8(s[:maxAnswer], "") + "…"
}

// Review asks the API server a SubjectAccessReview.
type Review func(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error)

// RBAC asks the API server, and so whatever authorizes there, whether the Subject has the verb
// "assume" on the role: by its name where it lies under the base role ARN, and by its ARN. If
// neither is allowed and one of the answers is not known, the error is an *UndecidedError.
func RBAC(review Review) Authorizer {
	return func(ctx context.Context, r Request) (Verdict, error) {
		names := r.Base.Names(r.Role)
		var unknown []error
		for _, name := range names {
			status, err := review(ctx, authorizationv1.SubjectAccessReviewSpec{
				User:   r.Subject.User(),
				Groups: r.Subject.Groups(),
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: r.Subject.Namespace, Verb: Verb, Group: Group, Resource: Resource, Name: name,
				},
			})
			switch {
			case err != nil: // an API server that does not answer is not asked twice in a row
				return Verdict{}, undecided(r, fmt.Errorf("the access review failed: %w", err))
			case status.Allowed:
				return Verdict{Allowed: true, Reason: cut(status.Reason)}, nil
			case status.EvaluationError != "": // an authorizer that failed might have allowed it
				unknown = append(unknown, fmt.Errorf("the API server could not evaluate the access review: %s", cut(status.EvaluationError)))
			}
		}
		if len(unknown) > 0 {
			return Verdict{}, undecided(r, unknown...)
		}
		return Verdict{Reason: refusal(r.Subject, names[0])}, nil
	}
}
