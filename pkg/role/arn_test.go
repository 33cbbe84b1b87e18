package role_test

import (
	"strings"
	"testing"

	"kube-aws-iam-controller/pkg/role"
)

func TestParseARN(t *testing.T) {
	long := strings.Repeat("r", 64)
	longPath := strings.Repeat("p", 510)
	for _, c := range []struct {
		name, arn                    string
		partition, account, roleName string
	}{
		{"commercial", "arn:aws:iam::123456789012:role/app", "aws", "123456789012", "app"},
		{"China", "arn:aws-cn:iam::123456789012:role/app", "aws-cn", "123456789012", "app"},
		{"GovCloud", "arn:aws-us-gov:iam::123456789012:role/app", "aws-us-gov", "123456789012", "app"},
		{"isolated", "arn:aws-iso:iam::123456789012:role/app", "aws-iso", "123456789012", "app"},
		{"isolated, secret", "arn:aws-iso-b:iam::123456789012:role/app", "aws-iso-b", "123456789012", "app"},
		{"isolated, Europe", "arn:aws-iso-e:iam::123456789012:role/app", "aws-iso-e", "123456789012", "app"},
		{"isolated, F", "arn:aws-iso-f:iam::123456789012:role/app", "aws-iso-f", "123456789012", "app"},
		{"European sovereign cloud", "arn:aws-eusc:iam::123456789012:role/app", "aws-eusc", "123456789012", "app"},
		{"account with leading zeros", "arn:aws:iam::000000000001:role/app", "aws", "000000000001", "app"},
		{"path", "arn:aws:iam::123456789012:role/team/app", "aws", "123456789012", "app"},
		{"deep path", "arn:aws:iam::123456789012:role/a/b/c/app", "aws", "123456789012", "app"},
		{"colon in the path", "arn:aws:iam::123456789012:role/a:b/app", "aws", "123456789012", "app"},
		{"service-linked role", "arn:aws:iam::123456789012:role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS", "aws", "123456789012", "AWSServiceRoleForAmazonEKS"},
		{"every character of a name", "arn:aws:iam::123456789012:role/aZ0_+=,.@-", "aws", "123456789012", "aZ0_+=,.@-"},
		{"longest name", "arn:aws:iam::123456789012:role/" + long, "aws", "123456789012", long},
		{"longest path", "arn:aws:iam::123456789012:role/" + longPath + "/app", "aws", "123456789012", "app"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := role.ParseARN(c.arn)
			if err != nil {
				t.Fatal(err)
			}
			if a.Partition() != c.partition || a.Account() != c.account || a.Name() != c.roleName {
				t.Errorf("got partition %q, account %q, name %q", a.Partition(), a.Account(), a.Name())
			}
			if a.String() != c.arn {
				t.Errorf("prints as %q, want %q", a, c.arn)
			}
			if a.IsZero() {
				t.Error("names no role")
			}
		})
	}
}

func TestParseARN_Rejects(t *testing.T) {
	for _, c := range []struct{ name, arn, because string }{
		{"nothing", "", "is not an ARN"},
		{"a bare name", "app", "is not an ARN"},
		{"too few parts", "arn:aws:iam::123456789012", "is not an ARN"},
		{"no partition", "arn::iam::123456789012:role/app", "names no AWS partition"},
		{"a foreign partition", "arn:minio:iam::123456789012:role/app", "names no AWS partition"},
		{"a partition with white space", "arn:aws cn:iam::123456789012:role/app", "names no AWS partition"},
		{"a partition and a line feed", "arn:aws\n:iam::123456789012:role/app", "names no AWS partition"},
		{"a session", "arn:aws:sts::123456789012:assumed-role/app/me", "is not an ARN of IAM"},
		{"a bucket", "arn:aws:s3:::bucket", "is not an ARN of IAM"},
		{"a Region", "arn:aws:iam:eu-central-1:123456789012:role/app", "is not an ARN of IAM"},
		{"no account", "arn:aws:iam:::role/app", "twelve digits"},
		{"eleven digits", "arn:aws:iam::12345678901:role/app", "twelve digits"},
		{"thirteen digits", "arn:aws:iam::1234567890123:role/app", "twelve digits"},
		{"the account aws", "arn:aws:iam::aws:role/app", "twelve digits"},
		{"digits of another script", "arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/app", "twelve digits"},
		{"a user", "arn:aws:iam::123456789012:user/app", "is not the ARN of a role"},
		{"a policy", "arn:aws:iam::123456789012:policy/app", "is not the ARN of a role"},
		{"an instance profile", "arn:aws:iam::123456789012:instance-profile/app", "is not the ARN of a role"},
		{"Role with a capital", "arn:aws:iam::123456789012:Role/app", "is not the ARN of a role"},
		{"only role", "arn:aws:iam::123456789012:role", "is not the ARN of a role"},
		{"no name", "arn:aws:iam::123456789012:role/", "name of the role is missing"},
		{"a path without a name", "arn:aws:iam::123456789012:role/team/", "name of the role is missing"},
		{"an empty path", "arn:aws:iam::123456789012:role//app", "role path"},
		{"white space in the path", "arn:aws:iam::123456789012:role/my team/app", "role path"},
		{"an umlaut in the path", "arn:aws:iam::123456789012:role/tüm/app", "role path"},
		{"a path that is too long", "arn:aws:iam::123456789012:role/" + strings.Repeat("p", 511) + "/app", "role path"},
		{"a name that is too long", "arn:aws:iam::123456789012:role/" + strings.Repeat("r", 65), "has 65 characters: IAM allows 64"},
		{"an asterisk", "arn:aws:iam::123456789012:role/*", "does not allow"},
		{"white space around", "arn:aws:iam::123456789012:role/app ", "does not allow"},
		{"a line feed at the end", "arn:aws:iam::123456789012:role/app\n", "does not allow"},
		{"a NUL", "arn:aws:iam::123456789012:role/app\x00", "does not allow"},
		{"an encoded slash", "arn:aws:iam::123456789012:role/team%2Fapp", "does not allow"},
		{"a letter that is not ASCII", "arn:aws:iam::123456789012:role/äpp", "does not allow"},
		{"broken UTF-8", "arn:aws:iam::123456789012:role/\xff", "does not allow"},
		{"white space in front", " arn:aws:iam::123456789012:role/app", "is not an ARN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := role.ParseARN(c.arn)
			if err == nil {
				t.Fatalf("accepted as %q", a)
			}
			if !a.IsZero() {
				t.Errorf("an error, and yet the role %q", a)
			}
			wantLine(t, err, c.because)
		})
	}
}

func TestARN_ZeroValue(t *testing.T) {
	var zero role.ARN
	if !zero.IsZero() || zero.String() != "" {
		t.Errorf("IsZero is %t and it prints %q", zero.IsZero(), zero)
	}
}

// wantLine checks that an error is one line and contains because.
func wantLine(t *testing.T, err error, because string) {
	t.Helper()
	if !strings.Contains(err.Error(), because) {
		t.Errorf("error is %q, want it to say %q", err, because)
	}
	if strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("error is more than one line: %q", err)
	}
}

func FuzzParseARN(f *testing.F) {
	for _, seed := range []string{
		"arn:aws:iam::123456789012:role/app", "arn:aws-cn:iam::123456789012:role/a/b/app", "arn:aws:iam::123456789012:role//app",
		"arn:aws:iam::123456789012:role/../app", "arn:aws:iam::123456789012:role/a:b/c", "arn:aws:iam::123456789012:role/app\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := role.ParseARN(s)
		if err != nil {
			if !a.IsZero() {
				t.Fatalf("an error, and yet the role %q", a)
			}
			wantLine(t, err, "")
			return
		}
		if a.String() != s {
			t.Fatalf("%q prints as %q", s, a)
		}
		if again, err := role.ParseARN(a.String()); err != nil || again != a {
			t.Fatalf("%q is read back as %q, %v", a, again, err)
		}
	})
}
