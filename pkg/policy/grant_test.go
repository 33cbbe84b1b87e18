package policy_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"

	"kube-aws-iam-controller/pkg/policy"
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
		if got := policy.GrantName(policy.Subject{Namespace: "shop", ServiceAccount: test.serviceAccount}, test.role); got != test.name {
			t.Errorf("%q and %q: %q and not %q", test.serviceAccount, test.role, got, test.name)
		}
	}
}

// FuzzGrantName checks that no two requests have the same name, and that RBAC takes it.
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
		name1 := policy.GrantName(policy.Subject{ServiceAccount: account1}, role1)
		name2 := policy.GrantName(policy.Subject{ServiceAccount: account2}, role2)
		if same := account1 == account2 && role1 == role2; (name1 == name2) != same {
			t.Errorf("(%q, %q) is %q, and (%q, %q) is %q", account1, role1, name1, account2, role2, name2)
		}
		if problems := content.IsPathSegmentName(name1); len(problems) > 0 {
			t.Errorf("%q: %v", name1, problems)
		}
	})
}

func refused(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
	return authorizationv1.SubjectAccessReviewStatus{}, nil
}

// commandOf returns what a refusal suggests to type.
func commandOf(t *testing.T, v policy.Verdict) string {
	t.Helper()
	_, command, ok := strings.Cut(v.Reason, "To allow it: ")
	if !ok || v.Allowed {
		t.Fatalf("%+v", v)
	}
	return command
}

// TestRefusal_HostileNamesStayNames has a real shell run what is suggested, with a kubectl that
// writes down its arguments.
func TestRefusal_HostileNamesStayNames(t *testing.T) {
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
			v, err := policy.RBAC(refused)(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			name := policy.GrantName(r.Subject, reference)
			runShell(t, folder, commandOf(t, v))
			want := []string{
				"create", "role", "-n", "shop", name, "--verb=assume", "--resource=awsiamroles.zalando.org", "--resource-name=" + reference, "end",
				"create", "rolebinding", "-n", "shop", name, "--role=" + name, "--serviceaccount=shop:app", "end", "",
			}
			if got := called(t, calls); got != strings.Join(want, "\n") {
				t.Errorf("a shell reads %q", got)
			}

			annotate := policy.Namespace(func(context.Context, string) (map[string]string, error) {
				return map[string]string{policy.AllowedRolesAnnotation: `["it's there"]`}, nil
			})
			v, _ = annotate(t.Context(), r)
			runShell(t, folder, commandOf(t, v))
			list, _ := json.Marshal([]string{"it's there", reference})
			want = []string{"annotate", "namespace", "shop", "--overwrite", policy.AllowedRolesAnnotation + "=" + string(list), "end", ""}
			if got := called(t, calls); got != strings.Join(want, "\n") {
				t.Errorf("a shell reads %q", got)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(folder, "pwned")); err == nil {
		t.Error("a name was run")
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

// called returns the arguments of all calls since it was last asked, one a line.
func called(t *testing.T, calls string) string {
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

// TestRefusal_FitsIntoAnEvent checks that commands are whole, or not there: an event holds 1,024
// characters, "Dry run, nobody is refused yet: " included.
func TestRefusal_FitsIntoAnEvent(t *testing.T) {
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
		{"names as people have them", 30, 40, "payments/Orders-Reader_prod", true},
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
			subject := policy.Subject{Namespace: strings.Repeat("n", test.namespace), ServiceAccount: strings.Repeat("s", test.account)}
			for name, authorize := range map[string]policy.Authorizer{
				"RBAC":      policy.RBAC(refused),
				"Namespace": policy.Namespace(func(context.Context, string) (map[string]string, error) { return nil, nil }),
			} {
				v, err := authorize(t.Context(), policy.Request{Subject: subject, Role: arn, Base: base})
				if err != nil || len(v.Reason) > 1024-len("Dry run, nobody is refused yet: ") {
					t.Errorf("%s: %d characters, %v:\n%s", name, len(v.Reason), err, v.Reason)
				}
				has := slices.Contains([]bool{strings.Contains(v.Reason, "kubectl create rolebinding"), strings.Contains(v.Reason, "kubectl annotate")}, true)
				if name == "RBAC" && has != test.commands {
					t.Errorf("%d characters:\n%s", len(v.Reason), v.Reason)
				}
			}
		})
	}
}
