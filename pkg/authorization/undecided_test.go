package authorization_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kube-aws-iam-controller/pkg/authorization"
)

const (
	ordersARN = "arn:aws:iam::123456789012:role/orders"
	webhook   = "webhook: context deadline exceeded"
)

// answer is the API server's answer to the review of one name of a role.
type answer struct {
	status authorizationv1.SubjectAccessReviewStatus
	err    error
}

var (
	yes         = answer{status: authorizationv1.SubjectAccessReviewStatus{Allowed: true}}
	yesBut      = answer{status: authorizationv1.SubjectAccessReviewStatus{Allowed: true, EvaluationError: webhook}}
	no          = answer{status: authorizationv1.SubjectAccessReviewStatus{Reason: `RBAC: role.rbac.authorization.k8s.io "r" not found`}}
	noBut       = answer{status: authorizationv1.SubjectAccessReviewStatus{EvaluationError: webhook}}
	deniedBut   = answer{status: authorizationv1.SubjectAccessReviewStatus{Denied: true, EvaluationError: webhook}}
	throttled   = answer{err: apierrors.NewTooManyRequests("too many requests", 1)}
	unavailable = answer{err: apierrors.NewServiceUnavailable("etcd is away")}
	timedOut    = answer{err: context.DeadlineExceeded}
)

func TestRBAC_Undecided(t *testing.T) {
	for _, test := range []struct {
		name          string
		byName, byARN answer
		allowed       bool
		undecided     string
		asked         []string
	}{
		{"allowed with an evaluation error", yesBut, no, true, "", []string{"orders"}},
		{"both names denied", no, no, false, "", []string{"orders", ordersARN}},
		{"the name undecided, the ARN allowed", noBut, yes, true, "", []string{"orders", ordersARN}},
		{"the name undecided, the ARN denied", noBut, no, false, webhook, []string{"orders", ordersARN}},
		{"the name denied, the ARN undecided", no, noBut, false, webhook, []string{"orders", ordersARN}},
		{"denied with an evaluation error", deniedBut, no, false, webhook, []string{"orders", ordersARN}},
		{"too many requests", throttled, yes, false, "too many requests", []string{"orders"}},
		{"an API server without etcd", unavailable, yes, false, "etcd is away", []string{"orders"}},
		{"a timeout", no, timedOut, false, "deadline exceeded", []string{"orders", ordersARN}},
		{"an error with an allowing status", answer{yes.status, throttled.err}, no, false, "too many requests", []string{"orders"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			authorize := authorization.RBAC(func(_ context.Context, s authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
				asked = append(asked, s.ResourceAttributes.Name)
				if s.ResourceAttributes.Name == "orders" {
					return test.byName.status, test.byName.err
				}
				return test.byARN.status, test.byARN.err
			})
			d, err := authorize(t.Context(), request(t, "orders"))
			if d.Allowed != test.allowed || !slices.Equal(asked, test.asked) {
				t.Errorf("%+v, asked for %q", d, asked)
			}
			known, undecided := errors.AsType[*authorization.UndecidedError](err)
			if undecided != (test.undecided != "") || (err != nil) != undecided {
				t.Fatalf("the error is %v", err)
			}
			if undecided && (!strings.Contains(err.Error(), test.undecided) || !strings.Contains(err.Error(), "ServiceAccount shop/app") ||
				known.Role != ordersARN || d != (authorization.Decision{})) {
				t.Errorf("%+v: %v", d, err)
			}
		})
	}
}

func TestUnion_JoinsErrorsOnce(t *testing.T) {
	unreadable := authorization.Namespace(func(context.Context, string) (map[string]string, error) { return nil, errors.New("not synced") })
	failing := authorization.RBAC(func(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		return authorizationv1.SubjectAccessReviewStatus{}, throttled.err
	})
	_, err := authorization.Union(failing, unreadable)(t.Context(), request(t, "orders"))
	for _, part := range []string{"it is not known whether", "too many requests", "not synced"} {
		if err == nil || strings.Count(err.Error(), part) != 1 {
			t.Errorf("%q is not once in %v", part, err)
		}
	}
	if !apierrors.IsTooManyRequests(err) {
		t.Error("the API server's error is not wrapped")
	}
}
