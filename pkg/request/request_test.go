package request_test

import (
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name, role, want string // want is a part of the error; if it is empty, the name is valid
	}{
		{"a name", "app", ""},
		{"dots and hyphens", "team-a.app", ""},
		{"a leading hyphen", "-app", ""},
		{"no role", "", "names no role: write aws-iam-<role>"},
		{"upper case", "App", "AWSIAMRole"},
		{"underscore", "my_app", "AWSIAMRole"},
		{"plus", "a+b", "AWSIAMRole"},
		{"equals sign", "a=b", "AWSIAMRole"},
		{"comma", "a,b", "AWSIAMRole"},
		{"at sign", "a@b", "AWSIAMRole"},
		{"a path", "team/app", "AWSIAMRole"},
		{"an ARN", "arn:aws:iam::123456789012:role/app", "AWSIAMRole"},
		{"a trailing hyphen", "app-", "no Secret can be called"},
		{"a leading dot", ".app", "no Secret can be called"},
		{"two dots", "a..b", "no Secret can be called"},
		{"a line feed", "app\n", "no Secret can be called"},
		{"too long", strings.Repeat("a", 246), "no Secret can be called"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request.Request{Secret: request.SecretPrefix + c.role, Role: c.role}
			err := r.Validate()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("rejected: %v", err)
			case c.want == "":
			case err == nil:
				t.Error("accepted")
			case !strings.Contains(err.Error(), c.want):
				t.Errorf("error is %q, want it to contain %q", err, c.want)
			case strings.Contains(err.Error(), "\n"):
				t.Errorf("error is more than one line: %q", err)
			}
		})
	}
}

// The names that the API server accepts for a Secret, and IAM for a role, independent of the code
// under test. Source: "Object Names and IDs" in the Kubernetes documentation and the API reference
// of IAM CreateRole.
var (
	secretName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	roleName   = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
)

// A Secret name that passes Validate, and whose role passes Resolve, is one that both the API
// server and IAM accept, and the role is under the base role ARN.
func FuzzFromPod_SecretName(f *testing.F) {
	for _, seed := range []string{
		"aws-iam-app", "aws-iam-", "aws-iam-App", "aws-iam-a/../b", "aws-iam-arn:aws:iam::210987654321:role/app", "aws-iam-a\n", "aws-iam-.a", "aws-iam-a..b",
		"aws-iam.app", "aws-iam.", "aws-iam.App", "aws-iam.-", "aws-iam.a.b", "aws-iam." + strings.Repeat("a", 245), "aws-iam." + strings.Repeat("a", 246),
		"aws-iam-" + strings.Repeat("a", 64), "aws-iam-" + strings.Repeat("a", 65), "aws-iam-" + strings.Repeat("a.", 122) + "a", "aws-iam-" + strings.Repeat("a", 1000), "aws-iam-" + strings.Repeat("\x80", 1000), "tls", "aws-iam", "",
	} {
		f.Add(seed)
	}
	const root = "arn:aws:iam::123456789012:role/"
	base, err := role.ParseBase(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		account, ofAccount := strings.CutPrefix(name, "aws-iam.")
		p := pod(volume("v", name), as(account))
		requests := request.FromPod(p, mountPath)
		rest, ofRole := strings.CutPrefix(name, "aws-iam-")
		ours := ofRole || ofAccount
		if request.HasRequests(p) != ours || (len(requests) == 1) != ours {
			t.Fatalf("%q: HasRequests returns %t, FromPod %v", name, request.HasRequests(p), requests)
		}
		if !ours {
			return
		}
		r := requests[0]
		if len(name) > 253 { // cutting it must not make it valid
			if len(r.Secret) > 253 || r.Validate() == nil {
				t.Fatalf("%q becomes Secret %q, which is %v", name, r.Secret, r.Validate())
			}
			return
		}
		if ofAccount {
			rest = ""
		}
		if r.Secret != name || r.Role != rest || r.ServiceAccount() != account && ofAccount || r.ServiceAccount() != "" && ofRole {
			t.Fatalf("%q becomes Secret %q, role %q, ServiceAccount %q", name, r.Secret, r.Role, r.ServiceAccount())
		}
		valid := rest+account != "" && len(name) <= 253 && secretName.MatchString(name)
		if err := r.Validate(); (err == nil) != valid {
			t.Fatalf("%q: Validate returns %v, and it is valid: %t", name, err, valid)
		}
		if !valid || ofAccount {
			return
		}
		arn, err := base.Resolve(r.Role)
		if (err == nil) != roleName.MatchString(rest) {
			t.Fatalf("%q: Resolve returns %v", rest, err)
		}
		if err == nil && arn.String() != root+rest {
			t.Fatalf("%q resolves to %q", rest, arn)
		}
	})
}

// HasRequests and FromPod agree for every pod, and FromPod returns each Secret once.
func FuzzHasRequests_AgreesWithFromPod(f *testing.F) {
	f.Add(uint64(0), "aws-iam-app", "tls")
	f.Add(uint64(0xffff), "aws-iam-app", "aws-iam-")
	f.Add(uint64(0x5a5a), "x", "aws-iam")
	f.Add(uint64(0xffff), "aws-iam.app", "aws-iam-app")
	f.Fuzz(func(t *testing.T, shape uint64, a, b string) {
		p := &corev1.Pod{}
		for i, option := range []podOption{
			volume("a", a), volume("b", b), projected("c", a, b), container("e", mount("a", "/x"), env(a)),
			container("f", subPath("b", "/y"), envFrom(b)), initContainer("g", env(b)), ephemeralContainer("h", envFrom(a)),
		} {
			if shape>>i&1 == 1 {
				option(p)
			}
		}
		requests := request.FromPod(p, mountPath)
		if request.HasRequests(p) != (len(requests) > 0) {
			t.Fatalf("HasRequests returns %t, FromPod %v", request.HasRequests(p), requests)
		}
		for i, r := range requests {
			if i > 0 && requests[i-1].Secret >= r.Secret {
				t.Fatalf("%q comes before %q", requests[i-1].Secret, r.Secret)
			}
		}
	})
}
