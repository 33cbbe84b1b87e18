package authorization_test

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

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/role"
)

// request returns a Request for a role under the base arn:aws:iam::123456789012:role/, unless
// reference is an ARN.
func request(tb testing.TB, reference string) authorization.Request {
	tb.Helper()
	base, err := role.ParseBase("arn:aws:iam::123456789012:role/")
	if err != nil {
		tb.Fatal(err)
	}
	arn, err := base.Resolve(reference)
	if err != nil {
		tb.Fatal(err)
	}
	return authorization.Request{Subject: authorization.Subject{Namespace: "shop", ServiceAccount: "app"}, Role: arn, Base: base}
}

func TestDecision_ZeroValueDenies(t *testing.T) {
	if (authorization.Decision{}).Allowed {
		t.Error("it allows")
	}
	if d, err := authorization.Union()(t.Context(), request(t, "orders")); d.Allowed || err != nil {
		t.Errorf("without modes: %+v, %v", d, err)
	}
}

func TestSubject(t *testing.T) {
	for _, test := range []struct {
		subject    authorization.Subject
		user, name string
	}{
		{authorization.Subject{Namespace: "shop", ServiceAccount: "app"}, "system:serviceaccount:shop:app", "ServiceAccount shop/app"},
		{authorization.Subject{Namespace: "shop"}, "", "group system:serviceaccounts:shop"},
	} {
		if test.subject.User() != test.user || test.subject.String() != test.name || !slices.Contains(test.subject.Groups(), "system:serviceaccounts:shop") {
			t.Errorf("%q %q %v", test.subject.User(), test.subject, test.subject.Groups())
		}
	}
}

func TestUnion(t *testing.T) {
	yes := authorization.AlwaysAllow
	denies := func(d authorization.Decision) authorization.Authorizer {
		return func(context.Context, authorization.Request) (authorization.Decision, error) { return d, nil }
	}
	no := func(reason string) authorization.Authorizer {
		return denies(authorization.Decision{Reason: reason})
	}
	hint := func(reason, hint string) authorization.Authorizer {
		return denies(authorization.Decision{Reason: reason, Hint: hint})
	}
	broken := func(context.Context, authorization.Request) (authorization.Decision, error) {
		return authorization.Decision{}, errors.New("broken")
	}
	for _, test := range []struct {
		name    string
		modes   []authorization.Authorizer
		allowed bool
		message string
		err     bool
	}{
		{"one mode that allows", []authorization.Authorizer{yes}, true, "AlwaysAllow", false},
		{"one mode that denies", []authorization.Authorizer{no("a")}, false, "a", false},
		{"the second allows", []authorization.Authorizer{no("a"), yes}, true, "AlwaysAllow", false},
		{"reasons are joined", []authorization.Authorizer{no("a"), no("b")}, false, "a\nOr: b", false},
		{"hints are joined", []authorization.Authorizer{hint("a", "x"), hint("b", "y")}, false, "a. To allow it: x\nOr: b. To allow it: y", false},
		{"a hint of the second mode only", []authorization.Authorizer{no("a"), hint("b", "y")}, false, "a\nOr: b. To allow it: y", false},
		{"an error and a mode that allows", []authorization.Authorizer{broken, yes}, true, "AlwaysAllow", false},
		{"an error and a mode that denies", []authorization.Authorizer{broken, no("a")}, false, "", true},
		{"a mode that denies and an error", []authorization.Authorizer{no("a"), broken}, false, "", true},
		{"reasons that do not fit into an event", []authorization.Authorizer{no("a"), no(strings.Repeat("b", 980))}, false, "a", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := authorization.Union(test.modes...)(t.Context(), request(t, "orders"))
			_, undecided := errors.AsType[*authorization.UndecidedError](err)
			if d.Allowed != test.allowed || !strings.HasSuffix(d.Message(), test.message) || len(d.Message()) > 980 {
				t.Errorf("got %+v", d)
			}
			if (err != nil) != test.err || undecided != test.err {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestRBAC(t *testing.T) {
	var asked []string
	allow := func(names ...string) authorization.Authorizer {
		asked = nil
		return authorization.RBAC(func(_ context.Context, s authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
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
		{"a role of another account by its name", foreign, []string{"Orders"}, []string{foreign}, false},
		{"a role of another account by its ARN", foreign, []string{foreign}, []string{foreign}, true},
		{"nothing granted", "team/Orders", nil, []string{"team/Orders", arn}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := allow(test.granted...)(t.Context(), request(t, test.reference))
			if err != nil || d.Allowed != test.allowed || !slices.Equal(asked, test.asked) {
				t.Errorf("got %+v, %v, asked for %v", d, err, asked)
			}
			if !d.Allowed && !strings.Contains(d.Hint, "kubectl create rolebinding") {
				t.Errorf("hint is %q", d.Hint)
			}
		})
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
		message        string
	}{
		{"nothing", "", "", false, "kubectl annotate namespace shop"},
		{"a name", `["orders"]`, "", true, ""},
		{"an ARN", `["arn:aws:iam::123456789012:role/orders"]`, "", true, ""},
		{"an ARN of another account", `["arn:aws:iam::210987654321:role/orders"]`, "", false, ""},
		{"a glob", `["ord*"]`, "", true, ""},
		{"a glob over the whole ARN", `["arn:aws:iam::*:role/o*s"]`, "", true, ""},
		{"a star", `["*"]`, "", true, ""},
		{"globs that match a part", `["order", "rders"]`, "", false, ""},
		{"a dot in a glob", `["order."]`, "", false, ""},
		{"many globs", string(thousands), "", true, ""},
		{"not JSON", `orders`, "", false, "is not a JSON array"},
		{"not an array of strings", `[1]`, "", false, "is not a JSON array"},
		{"an empty list", `[]`, "", false, ""},
		{"an expression on the ARN", "", "arn:aws:iam::123456789012:role/ord.*", true, ""},
		{"an expression on the name", "", "ord.*", true, ""},
		{"a part of the name", "", "rder", false, ""},
		{"an alternative that matches a part", "", "^x|order", false, ""},
		{"an expression that escapes from the anchors", "", "a)|(ord.*", false, "is not a regular expression"},
		{"not a regular expression", "", "(", false, "is not a regular expression"},
		{"a repetition too large", "", "(((a{1000}){1000}){1000}", false, "is not a regular expression"},
		{"nested repeats", "", "(((((o+)+)+)+)+)x", false, ""},
		{"large repeats", "", strings.Repeat("a{1000}", 1000), false, "is too large"},
		{"one is malformed, the other allows", `[`, "orders", true, ""},
		{"a list that is too long", `["orders"` + strings.Repeat(" ", 64<<10) + "]", "", false, "allowed-roles is longer than 65536 bytes"},
		{"an expression that is too long", "", "orders|" + strings.Repeat("x", 64<<10), false, "permitted is longer than 65536 bytes"},
		{"one is too long, the other allows", strings.Repeat(" ", 64<<10+1), "orders", true, ""},
		{"both are malformed", `[`, "(", false, "allowed-roles is not a JSON array"},
	} {
		annotations := map[string]string{"other": "x"}
		if test.roles != "" {
			annotations[authorization.AllowedRolesAnnotation] = test.roles
		}
		if test.pattern != "" {
			annotations[authorization.PermittedAnnotation] = test.pattern
		}
		authorize := authorization.Namespace(func(context.Context, string) (map[string]string, error) { return annotations, nil })
		d, err := authorize(t.Context(), request(t, "orders"))
		if err != nil || d.Allowed != test.allowed || !strings.Contains(d.Message(), test.message) {
			t.Errorf("%s: %+v, %v", test.name, d, err)
		}
	}

	if long := authorization.Bounded("orders|" + strings.Repeat("x", 64<<10)); len(long) > 100 || strings.Contains(long, "orders") {
		t.Errorf("a long value is kept as %q", long)
	}

	stars := authorization.Namespace(func(context.Context, string) (map[string]string, error) {
		return map[string]string{authorization.AllowedRolesAnnotation: `["*", "*-admin"]`}, nil
	})
	if d, err := stars(t.Context(), request(t, "arn:aws:iam::210987654321:role/x-admin")); d.Allowed || err != nil {
		t.Errorf("a star matches a role of another account: %+v, %v", d, err)
	}

	unreadable := authorization.Namespace(func(context.Context, string) (map[string]string, error) {
		return nil, apierrors.NewNotFound(corev1.Resource("namespaces"), "shop")
	})
	d, err := unreadable(t.Context(), request(t, "orders"))
	if _, undecided := errors.AsType[*authorization.UndecidedError](err); d != (authorization.Decision{}) || !undecided || !apierrors.IsNotFound(err) {
		t.Errorf("%+v, %v", d, err)
	}
}
