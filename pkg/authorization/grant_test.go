package authorization_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/role"
)

func TestGrantName(t *testing.T) {
	for _, test := range []struct{ serviceAccount, role, name string }{
		{"app", "orders", "assume:app:orders"},
		{"", "orders", "assume::orders"},
		{"app", "team/Orders", "assume:app:team~1Orders"},
		{"app", "team~1Orders", "assume:app:team~01Orders"},
		{"app", ordersARN, "assume:app:arn:aws:iam::123456789012:role~1orders"},
		{"app", "50%", "assume:app:50~2"},
		{"app", "~0/%", "assume:app:~00~1~2"},
	} {
		if got := authorization.GrantName(authorization.Subject{Namespace: "shop", ServiceAccount: test.serviceAccount}, test.role); got != test.name {
			t.Errorf("%q and %q: %q and not %q", test.serviceAccount, test.role, got, test.name)
		}
	}
}

// FuzzGrantName tests that different grants have different names, and that RBAC accepts them.
func FuzzGrantName(f *testing.F) {
	f.Add("app", "orders", "app", "Orders")
	f.Add("", "app:orders", "app", "orders")
	f.Add("a", "b/c", "a", "b~1c")
	f.Add("a", "~", "a", "~0")
	f.Add("a", "%2", "a", "/")
	f.Fuzz(func(t *testing.T, account1, role1, account2, role2 string) {
		for _, account := range []string{account1, account2} {
			if strings.Contains(account, ":") || strings.ContainsAny(account, "~/%") {
				t.Skip("not a ServiceAccount")
			}
		}
		name1 := authorization.GrantName(authorization.Subject{ServiceAccount: account1}, role1)
		name2 := authorization.GrantName(authorization.Subject{ServiceAccount: account2}, role2)
		if same := account1 == account2 && role1 == role2; (name1 == name2) != same {
			t.Errorf("(%q, %q) is %q, and (%q, %q) is %q", account1, role1, name1, account2, role2, name2)
		}
		if problems := content.IsPathSegmentName(name1); len(problems) > 0 {
			t.Errorf("%q: %v", name1, problems)
		}
	})
}

func denyAll(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
	return authorizationv1.SubjectAccessReviewStatus{}, nil
}

// TestHint_QuotesHostileNames runs the commands of hints in a real shell, with a kubectl that
// records its arguments.
func TestHint_QuotesHostileNames(t *testing.T) {
	folder := t.TempDir()
	calls := filepath.Join(folder, "calls")
	const script = "#!/bin/sh\nprintf '%s\\n' \"$@\" end >>\"$CALLS\"\n"
	if err := os.WriteFile(filepath.Join(folder, "kubectl"), []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	for _, reference := range []string{
		"Orders", "team/Orders", "a:b/orders", `a'],'verbs':['*'],'apiGroups':['*','/orders`, `a"],"verbs":["*"],"apiGroups":["*","/orders`,
		`x';touch${IFS}pwned;'/orders`, "$(touch${IFS}pwned)/orders", "`touch${IFS}pwned`/orders", `\'"$IFS|&><!*?~#%/orders`,
	} {
		t.Run(reference, func(t *testing.T) {
			r := request(t, reference)
			d, err := authorization.RBAC(denyAll)(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			name := authorization.GrantName(r.Subject, reference)
			runShell(t, folder, d.Hint)
			want := []string{
				"create", "role", "-n", "shop", name, "--verb=assume", "--resource=awsiamroles.zalando.org", "--resource-name=" + reference, "end",
				"create", "rolebinding", "-n", "shop", name, "--role=" + name, "--serviceaccount=shop:app", "end", "",
			}
			if got := readCalls(t, calls); got != strings.Join(want, "\n") {
				t.Errorf("kubectl gets %q", got)
			}

			annotate := authorization.Namespace(func(context.Context, string) (map[string]string, error) {
				return map[string]string{authorization.AllowedRolesAnnotation: `["it's there"]`}, nil
			})
			d, _ = annotate(t.Context(), r)
			runShell(t, folder, d.Hint)
			list, _ := json.Marshal([]string{"it's there", reference})
			want = []string{"annotate", "namespace", "shop", "--overwrite", authorization.AllowedRolesAnnotation + "=" + string(list), "end", ""}
			if got := readCalls(t, calls); got != strings.Join(want, "\n") {
				t.Errorf("kubectl gets %q", got)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(folder, "pwned")); err == nil {
		t.Error("the shell ran a name as a command")
	}
}

func runShell(t *testing.T, folder, command string) {
	t.Helper()
	shell := exec.CommandContext(t.Context(), "sh", "-c", command) //nolint:gosec // that it is harmless is what is tested
	shell.Dir = folder
	shell.Env = []string{"PATH=" + folder + ":" + os.Getenv("PATH"), "CALLS=" + filepath.Join(folder, "calls")}
	if out, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// readCalls returns the arguments of all calls of kubectl since it was last called, one a line.
func readCalls(t *testing.T, calls string) string {
	t.Helper()
	text, err := os.ReadFile(calls) //nolint:gosec // in the test's own folder
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(calls); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestMessage_FitsIntoAnEvent tests that a hint has whole commands or none: an event has at most
// 1,024 characters, including what callers put before the message.
func TestMessage_FitsIntoAnEvent(t *testing.T) {
	base, err := role.ParseBase("arn:aws:iam::123456789012:role/")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name               string
		namespace, account int
		role               string
		commands           bool
	}{
		{"typical names", 30, 40, "payments/Orders-Reader_prod", true},
		{"an ARN", 30, 30, "arn:aws:iam::210987654321:role/orders-reader-production", true},
		{"the longest names", 63, 253, strings.Repeat("r", 64), false},
		{"a long path", 10, 10, strings.Repeat("p", 500) + "/orders", false},
		{"the namespace as a whole", 63, 0, strings.Repeat("r", 64), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			arn, err := base.Resolve(test.role)
			if err != nil {
				t.Fatal(err)
			}
			subject := authorization.Subject{Namespace: strings.Repeat("n", test.namespace), ServiceAccount: strings.Repeat("s", test.account)}
			for name, authorize := range map[string]authorization.Authorizer{
				"RBAC":      authorization.RBAC(denyAll),
				"Namespace": authorization.Namespace(func(context.Context, string) (map[string]string, error) { return nil, nil }),
			} {
				const before = 40 // characters that callers put before the message
				d, err := authorize(t.Context(), authorization.Request{Subject: subject, Role: arn, Base: base})
				if err != nil || len(d.Message()) > 1024-before {
					t.Errorf("%s: %d characters, %v:\n%s", name, len(d.Message()), err, d.Message())
				}
				if name == "RBAC" && strings.Contains(d.Hint, "kubectl create rolebinding") != test.commands {
					t.Errorf("%d characters:\n%s", len(d.Message()), d.Message())
				}
			}
		})
	}
}

// The name of a RoleBinding is in the reason of an access review, and can be long.
func TestRBAC_KeepsLittleOfAReason(t *testing.T) {
	authorize := authorization.RBAC(func(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "RBAC: allowed by RoleBinding " + strings.Repeat("x", 500_000)}, nil
	})
	d, err := authorize(t.Context(), authorization.Request{Subject: authorization.Subject{Namespace: "n", ServiceAccount: "a"}})
	if err != nil || !d.Allowed || len(d.Reason) > 1024 {
		t.Errorf("allowed: %t, %d bytes kept of the reason, error %v", d.Allowed, len(d.Reason), err)
	}
}
