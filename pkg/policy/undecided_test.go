package policy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kube-aws-iam-controller/pkg/policy"
)

const (
	ordersARN = "arn:aws:iam::123456789012:role/orders"
	webhook   = "webhook: context deadline exceeded"
)

// answer is what the API server says about one name of a role.
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

func TestRBAC_NotKnowingIsNeitherPermissionNorRefusal(t *testing.T) {
	for _, test := range []struct {
		name          string
		byName, byARN answer
		allowed       bool
		undecided     string
		asked         []string
	}{
		{"an error beside a permission", yesBut, no, true, "", []string{"orders"}},
		{"two refusals", no, no, false, "", []string{"orders", ordersARN}},
		{"the name not known, the ARN allowed", noBut, yes, true, "", []string{"orders", ordersARN}},
		{"the name not known, the ARN refused", noBut, no, false, webhook, []string{"orders", ordersARN}},
		{"the name refused, the ARN not known", no, noBut, false, webhook, []string{"orders", ordersARN}},
		{"denied, but another authorizer failed", deniedBut, no, false, webhook, []string{"orders", ordersARN}},
		{"too many requests", throttled, yes, false, "too many requests", []string{"orders"}},
		{"an API server without etcd", unavailable, yes, false, "etcd is away", []string{"orders"}},
		{"a time-out", no, timedOut, false, "deadline exceeded", []string{"orders", ordersARN}},
		{"an error with a permission in the body", answer{yes.status, throttled.err}, no, false, "too many requests", []string{"orders"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			authorize := policy.RBAC(func(_ context.Context, s authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
				asked = append(asked, s.ResourceAttributes.Name)
				if s.ResourceAttributes.Name == "orders" {
					return test.byName.status, test.byName.err
				}
				return test.byARN.status, test.byARN.err
			})
			v, err := authorize(t.Context(), request(t, "orders"))
			if v.Allowed != test.allowed || !slices.Equal(asked, test.asked) {
				t.Errorf("%+v, asked for %q", v, asked)
			}
			known, undecided := errors.AsType[*policy.UndecidedError](err)
			if undecided != (test.undecided != "") || (err != nil) != undecided {
				t.Fatalf("the error is %v", err)
			}
			if undecided && (!strings.Contains(err.Error(), test.undecided) || !strings.Contains(err.Error(), "ServiceAccount shop/app") ||
				known.Role != ordersARN || v != (policy.Verdict{})) {
				t.Errorf("%+v: %v", v, err)
			}
		})
	}
}

func TestUnion_SaysOnceWhatIsNotKnown(t *testing.T) {
	unreadable := policy.Namespace(func(context.Context, string) (map[string]string, error) { return nil, errors.New("not synced") })
	failing := policy.RBAC(func(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		return authorizationv1.SubjectAccessReviewStatus{}, throttled.err
	})
	_, err := policy.Union(failing, unreadable)(t.Context(), request(t, "orders"))
	for _, part := range []string{"it is not known whether", "too many requests", "not synced"} {
		if err == nil || strings.Count(err.Error(), part) != 1 {
			t.Errorf("%q is not once in %v", part, err)
		}
	}
	if !apierrors.IsTooManyRequests(err) {
		t.Error("the API server's own error cannot be seen any more")
	}
}
