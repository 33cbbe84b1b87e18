package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
)

// request asks for a role under the base arn:aws:iam::123456789012:role/, unless reference is an ARN.
func request(tb testing.TB, reference string) policy.Request {
	tb.Helper()
	base, err := role.ParseBase("arn:aws:iam::123456789012:role/")
	if err != nil {
		tb.Fatal(err)
	}
	arn, err := base.Resolve(reference)
	if err != nil {
		tb.Fatal(err)
	}
	return policy.Request{Subject: policy.Subject{Namespace: "shop", ServiceAccount: "app"}, Role: arn, Base: base}
}

func TestTheZeroVerdictIsARefusal(t *testing.T) {
	if (policy.Verdict{}).Allowed {
		t.Error("it allows")
	}
	if v, err := policy.Union()(t.Context(), request(t, "orders")); v.Allowed || err != nil {
		t.Errorf("no mode at all: %+v, %v", v, err)
	}
}

func TestSubjects(t *testing.T) {
	for _, test := range []struct {
		subject    policy.Subject
		user, name string
	}{
		{policy.Subject{Namespace: "shop", ServiceAccount: "app"}, "system:serviceaccount:shop:app", "ServiceAccount shop/app"},
		{policy.Subject{Namespace: "shop"}, "", "group system:serviceaccounts:shop"},
	} {
		if test.subject.User() != test.user || test.subject.String() != test.name || !slices.Contains(test.subject.Groups(), "system:serviceaccounts:shop") {
			t.Errorf("%q %q %v", test.subject.User(), test.subject, test.subject.Groups())
		}
	}
}

func TestUnion(t *testing.T) {
	yes := policy.AlwaysAllow
	no := func(reason string) policy.Authorizer {
		return func(context.Context, policy.Request) (policy.Verdict, error) {
			return policy.Verdict{Reason: reason}, nil
		}
	}
	broken := func(context.Context, policy.Request) (policy.Verdict, error) {
		return policy.Verdict{}, errors.New("broken")
	}
	for _, test := range []struct {
		name    string
		modes   []policy.Authorizer
		allowed bool
		reason  string
		err     bool
	}{
		{"one that allows", []policy.Authorizer{yes}, true, "AlwaysAllow", false},
		{"one that refuses", []policy.Authorizer{no("a")}, false, "a", false},
		{"the second allows", []policy.Authorizer{no("a"), yes}, true, "AlwaysAllow", false},
		{"the refusals are told together", []policy.Authorizer{no("a"), no("b")}, false, "a\nOr: b", false},
		{"an error does not keep another from allowing", []policy.Authorizer{broken, yes}, true, "AlwaysAllow", false},
		{"an error is no refusal, and no permission", []policy.Authorizer{broken, no("a")}, false, "", true},
		{"a refusal does not hide a later error", []policy.Authorizer{no("a"), broken}, false, "", true},
		{"reasons that an event cannot hold are not joined", []policy.Authorizer{no("a"), no(strings.Repeat("b", 980))}, false, "a", false},
	} {
		v, err := policy.Union(test.modes...)(t.Context(), request(t, "orders"))
		_, undecided := errors.AsType[*policy.UndecidedError](err)
		if v.Allowed != test.allowed || !strings.Contains(v.Reason, test.reason) || len(v.Reason) > 980 || (err != nil) != test.err || undecided != test.err {
			t.Errorf("%s: %+v, %v", test.name, v, err)
		}
	}
}

func TestRBAC(t *testing.T) {
	var asked []string
	allow := func(names ...string) policy.Authorizer {
		asked = nil
		return policy.RBAC(func(_ context.Context, s authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
			a := s.ResourceAttributes
			asked = append(asked, a.Name)
			if a.Verb != "assume" || a.Group != "zalando.org" || a.Resource != "awsiamroles" || a.Namespace != "shop" {
				t.Errorf("asked for %+v", a)
			}
			return authorizationv1.SubjectAccessReviewStatus{Allowed: slices.Contains(names, a.Name)}, nil
		})
	}
	const arn, foreign = "arn:aws:iam::123456789012:role/team/Orders", "arn:aws:iam::210987654321:role/Orders"
	for _, test := range []struct {
		name, reference string
		granted, asked  []string
		allowed         bool
	}{
		{"by name", "team/Orders", []string{"team/Orders"}, []string{"team/Orders"}, true},
		{"by ARN", "team/Orders", []string{arn}, []string{"team/Orders", arn}, true},
		{"a role of another account has no name", foreign, []string{"Orders"}, []string{foreign}, false},
		{"but an ARN", foreign, []string{foreign}, []string{foreign}, true},
		{"nothing granted", "team/Orders", nil, []string{"team/Orders", arn}, false},
	} {
		v, err := allow(test.granted...)(t.Context(), request(t, test.reference))
		if err != nil || v.Allowed != test.allowed || !slices.Equal(asked, test.asked) {
			t.Errorf("%s: %+v, %v, asked for %v", test.name, v, err, asked)
		}
		if !v.Allowed && !strings.Contains(v.Reason, "kubectl create rolebinding") {
			t.Errorf("%s: %s", test.name, v.Reason)
		}
	}
}

func TestNamespace(t *testing.T) {
	many := []string{"orders"}
	for i := range 1300 {
		many = append(many, fmt.Sprintf("arn:aws:iam::123456789012:role/team-%d/*", i))
	}
	slices.Reverse(many)
	thousands, _ := json.Marshal(many) //nolint:errchkjson // strings only
	for _, test := range []struct {
		name           string
		roles, pattern string
		allowed        bool
		says           string
	}{
		{"nothing", "", "", false, "kubectl annotate namespace shop"},
		{"a name", `["orders"]`, "", true, ""},
		{"an ARN", `["arn:aws:iam::123456789012:role/orders"]`, "", true, ""},
		{"an ARN of another account", `["arn:aws:iam::210987654321:role/orders"]`, "", false, ""},
		{"a glob", `["ord*"]`, "", true, ""},
		{"a glob over the whole ARN", `["arn:aws:iam::*:role/o*s"]`, "", true, ""},
		{"a star is not for other accounts", `["*"]`, "", true, ""},
		{"a part is not enough", `["order", "rders"]`, "", false, ""},
		{"a dot is a dot", `["order."]`, "", false, ""},
		{"many", string(thousands), "", true, ""},
		{"not JSON", `orders`, "", false, "is not a JSON array"},
		{"not an array of strings", `[1]`, "", false, "is not a JSON array"},
		{"an empty list", `[]`, "", false, ""},
		{"an expression on the ARN", "", "arn:aws:iam::123456789012:role/ord.*", true, ""},
		{"an expression on the name", "", "ord.*", true, ""},
		{"an expression is anchored", "", "rder", false, ""},
		{"each of its alternatives, too", "", "^x|order", false, ""},
		{"and cannot break out of that", "", "a)|(ord.*", false, "is not a regular expression"},
		{"not an expression", "", "(", false, "is not a regular expression"},
		{"a repetition too large", "", "(((a{1000}){1000}){1000}", false, "is not a regular expression"},
		{"one that is catastrophic elsewhere", "", "(((((o+)+)+)+)+)x", false, ""},
		{"one that takes much memory", "", strings.Repeat("a{1000}", 1000), false, "is too large"},
		{"one is malformed, the other allows", `[`, "orders", true, ""},
		{"a list that is too long", `["orders"` + strings.Repeat(" ", 64<<10) + "]", "", false, "allowed-roles is longer than 65536 bytes"},
		{"an expression that is too long", "", "orders|" + strings.Repeat("x", 64<<10), false, "permitted is longer than 65536 bytes"},
		{"one is too long, the other allows", strings.Repeat(" ", 64<<10+1), "orders", true, ""},
		{"both are malformed", `[`, "(", false, "allowed-roles is not a JSON array"},
	} {
		annotations := map[string]string{"other": "x"}
		if test.roles != "" {
			annotations[policy.AllowedRolesAnnotation] = test.roles
		}
		if test.pattern != "" {
			annotations[policy.PermittedAnnotation] = test.pattern
		}
		authorize := policy.Namespace(func(context.Context, string) (map[string]string, error) { return annotations, nil })
		v, err := authorize(t.Context(), request(t, "orders"))
		if err != nil || v.Allowed != test.allowed || !strings.Contains(v.Reason, test.says) {
			t.Errorf("%s: %+v, %v", test.name, v, err)
		}
	}

	if long := policy.Bounded("orders|" + strings.Repeat("x", 64<<10)); len(long) > 100 || strings.Contains(long, "orders") {
		t.Errorf("what is too long is kept as %q", long)
	}

	stars := policy.Namespace(func(context.Context, string) (map[string]string, error) {
		return map[string]string{policy.AllowedRolesAnnotation: `["*", "*-admin"]`}, nil
	})
	if v, err := stars(t.Context(), request(t, "arn:aws:iam::210987654321:role/x-admin")); v.Allowed || err != nil {
		t.Errorf("a star stands for a role of another account: %+v, %v", v, err)
	}

	unreadable := policy.Namespace(func(context.Context, string) (map[string]string, error) {
		return nil, apierrors.NewNotFound(corev1.Resource("namespaces"), "shop")
	})
	v, err := unreadable(t.Context(), request(t, "orders"))
	if _, undecided := errors.AsType[*policy.UndecidedError](err); v != (policy.Verdict{}) || !undecided || !apierrors.IsNotFound(err) {
		t.Errorf("%+v, %v", v, err)
	}
}
