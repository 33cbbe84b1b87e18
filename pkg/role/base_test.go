package role_test

import (
	"strings"
	"testing"

	"kube-aws-iam-controller/pkg/role"
)

func TestParseBase(t *testing.T) {
	for _, c := range []struct{ name, arn, want string }{
		{"root", "arn:aws:iam::123456789012:role/", "arn:aws:iam::123456789012:role/"},
		{"root without its slash", "arn:aws:iam::123456789012:role", "arn:aws:iam::123456789012:role/"},
		{"path", "arn:aws:iam::123456789012:role/team/", "arn:aws:iam::123456789012:role/team/"},
		{"path without its slash", "arn:aws:iam::123456789012:role/team", "arn:aws:iam::123456789012:role/team/"},
		{"deep path", "arn:aws-us-gov:iam::123456789012:role/a/b/", "arn:aws-us-gov:iam::123456789012:role/a/b/"},
		{"China", "arn:aws-cn:iam::123456789012:role/", "arn:aws-cn:iam::123456789012:role/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := role.ParseBase(c.arn)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != c.want || b.IsZero() {
				t.Errorf("got %q, want %q", b, c.want)
			}
		})
	}
}

func TestParseBase_Rejects(t *testing.T) {
	for _, c := range []struct{ name, arn, because string }{
		{"nothing", "", "is not an ARN"},
		{"an account alone", "123456789012", "is not an ARN"},
		{"a session", "arn:aws:sts::123456789012:assumed-role/node/i-0", "is not an ARN of IAM"},
		{"a user", "arn:aws:iam::123456789012:user/", "is not a base role ARN"},
		{"roles", "arn:aws:iam::123456789012:roles/", "is not a base role ARN"},
		{"no account", "arn:aws:iam:::role/", "twelve digits"},
		{"an empty path", "arn:aws:iam::123456789012:role//", "role path"},
		{"white space in the path", "arn:aws:iam::123456789012:role/my team/", "role path"},
		{"a line feed in the path", "arn:aws:iam::123456789012:role/team\n/", "role path"},
		{"a path that is too long", "arn:aws:iam::123456789012:role/" + strings.Repeat("p", 511) + "/", "role path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := role.ParseBase(c.arn)
			if err == nil {
				t.Fatalf("accepted as %q", b)
			}
			if !b.IsZero() {
				t.Errorf("an error, and yet the base %q", b)
			}
			wantLine(t, err, c.because)
		})
	}
}

func TestBaseOf(t *testing.T) {
	for _, c := range []struct{ name, identity, want string }{
		{"a session", "arn:aws:sts::123456789012:assumed-role/node/i-0", "arn:aws:iam::123456789012:role/"},
		{"a session in China", "arn:aws-cn:sts::123456789012:assumed-role/node/i-0", "arn:aws-cn:iam::123456789012:role/"},
		{"a session in GovCloud", "arn:aws-us-gov:sts::123456789012:assumed-role/node/i-0", "arn:aws-us-gov:iam::123456789012:role/"},
		{"a user", "arn:aws:iam::123456789012:user/team/alice", "arn:aws:iam::123456789012:role/"},
		{"the root user", "arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:role/"},
		{"a federated user", "arn:aws:sts::123456789012:federated-user/alice", "arn:aws:iam::123456789012:role/"},
		{"an instance profile with a path", "arn:aws-iso:iam::123456789012:instance-profile/team/node", "arn:aws-iso:iam::123456789012:role/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := role.BaseOf(c.identity)
			if err != nil || b.String() != c.want {
				t.Errorf("got %q, %v, want %q", b, err, c.want)
			}
		})
	}
	for _, c := range []struct{ name, identity string }{
		{"nothing", ""},
		{"a user ID", "AIDACKCEVSQ6C2EXAMPLE"},
		{"no account", "arn:aws:iam:::instance-profile/node"},
		{"an ARN of AWS itself", "arn:aws:iam::aws:policy/ReadOnlyAccess"},
		{"no AWS partition", "arn:minio:iam::123456789012:user/alice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := role.BaseOf(c.identity)
			if err == nil || !b.IsZero() {
				t.Fatalf("accepted as %q", b)
			}
			wantLine(t, err, "is not an ARN that names an account")
		})
	}
}

func TestResolve(t *testing.T) {
	const root, team = "arn:aws:iam::123456789012:role/", "arn:aws-cn:iam::123456789012:role/team/"
	for _, c := range []struct{ name, base, reference, want, because string }{
		{name: "a name", base: root, reference: "app", want: root + "app"},
		{name: "a name under a path, in its partition", base: team, reference: "app", want: team + "app"},
		{name: "a path and a name", base: root, reference: "other/app", want: root + "other/app"},
		{name: "a path that begins with a slash", base: team, reference: "/sub/app", want: team + "sub/app"},
		{name: "dots are names like others to IAM", base: team, reference: "../app", want: team + "../app"},
		{name: "an ARN stands for itself", base: team, reference: "arn:aws:iam::210987654321:role/app", want: "arn:aws:iam::210987654321:role/app"},
		{name: "an ARN needs no base", reference: "arn:aws:iam::210987654321:role/x/app", want: "arn:aws:iam::210987654321:role/x/app"},
		{name: "a name without a base", reference: "app", because: "no base role ARN is known"},
		{name: "a broken ARN", base: root, reference: "arn:aws:iam::1:role/app", because: "twelve digits"},
		{name: "an ARN in capitals is no ARN, and no name", base: root, reference: "ARN:aws:iam::123456789012:role/app", want: root + "ARN:aws:iam::123456789012:role/app"},
		{name: "nothing", base: root, because: "name of the role is missing"},
		{name: "a slash", base: root, reference: "/", because: "name of the role is missing"},
		{name: "a path without a name", base: root, reference: "team/", because: "name of the role is missing"},
		{name: "two slashes", base: root, reference: "//app", because: "role path"},
		{name: "white space", base: root, reference: "my app", because: "does not allow"},
		{name: "a line feed", base: root, reference: "app\n", because: "does not allow"},
		{name: "an asterisk", base: root, reference: "app*", because: "does not allow"},
		{name: "an encoded slash", base: root, reference: "..%2fapp", because: "does not allow"},
		{name: "a path that is too long together with the base's", base: team, reference: strings.Repeat("p", 506) + "/app", because: "role path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := base(t, c.base).Resolve(c.reference)
			if c.because != "" {
				if err == nil || !a.IsZero() {
					t.Fatalf("accepted as %q", a)
				}
				wantLine(t, err, c.because)
				return
			}
			if err != nil || a.String() != c.want {
				t.Errorf("got %q, %v, want %q", a, err, c.want)
			}
		})
	}
}

func TestBase_ZeroValue(t *testing.T) {
	var zero role.Base
	if got := base(t, "arn:aws:iam::123456789012:role/team/").Account(); got != "123456789012" || zero.Account() != "" {
		t.Errorf("the accounts are %q and %q", got, zero.Account())
	}
	if !zero.IsZero() || zero.String() != "" {
		t.Errorf("IsZero is %t and it prints %q", zero.IsZero(), zero)
	}
}

// base parses the ARN of a base, or returns the zero value for "".
func base(tb testing.TB, arn string) role.Base {
	tb.Helper()
	if arn == "" {
		return role.Base{}
	}
	b, err := role.ParseBase(arn)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// A name must not resolve to a role of another account, partition or path.
func FuzzResolveStaysUnderItsBase(f *testing.F) {
	for _, seed := range []string{
		"app", "/../app", "../../other/app", "..%2f..%2fapp", "/", "//app", "app\n", " arn:aws:iam::210987654321:role/app", "ARN:aws:iam::210987654321:role/app",
		":role/app", "app\x00", "a/./b", "\\..\\app", "．．/app", "role/app", "::role/x",
	} {
		f.Add(seed)
	}
	bases := []role.Base{base(f, "arn:aws:iam::123456789012:role/"), base(f, "arn:aws-us-gov:iam::123456789012:role/team/")}
	f.Fuzz(func(t *testing.T, reference string) {
		for _, b := range bases {
			a, err := b.Resolve(reference)
			if err != nil {
				wantLine(t, err, "")
				continue
			}
			if strings.HasPrefix(reference, "arn:") {
				if a.String() != reference {
					t.Fatalf("%q resolves to %q", reference, a)
				}
				continue
			}
			if want := b.String() + strings.TrimPrefix(reference, "/"); a.String() != want {
				t.Fatalf("%q resolves to %q, want %q", reference, a, want)
			}
			if a.Account() != "123456789012" || !strings.HasSuffix(reference, a.Name()) {
				t.Fatalf("%q resolves to %q of account %s", reference, a, a.Account())
			}
			if again, err := role.ParseARN(a.String()); err != nil || again != a {
				t.Fatalf("%q is read back as %q, %v", a, again, err)
			}
		}
	})
}

func TestCheckReference(t *testing.T) {
	for _, reference := range []string{"app", "App_+=,.@-1", "team/app", "/team/app", "arn:aws-cn:iam::210987654321:role/team/App"} {
		if err := role.CheckReference(reference); err != nil {
			t.Errorf("%q: %v", reference, err)
		}
	}
	for reference, because := range map[string]string{
		"": "is missing", "team/": "is missing", "my app": "IAM does not allow", strings.Repeat("a", 65): "IAM allows 64",
		"arn:aws:iam::123456789012:user/app": "not the ARN of a role", "arn:aws:iam::1:role/app": "twelve digits",
	} {
		err := role.CheckReference(reference)
		if err == nil {
			t.Errorf("%q is accepted", reference)
			continue
		}
		wantLine(t, err, because)
	}
}
