package demand_test

import (
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/demand"
	"kube-aws-iam-controller/pkg/role"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		says, role, because string // because empty: a Secret can have this name
	}{
		{"a name", "app", ""},
		{"dots and hyphens", "team-a.app", ""},
		{"a hyphen in front", "-app", ""},
		{"no role", "", "names no role: write aws-iam-<role>"},
		{"upper case", "App", "AWSIAMRole"},
		{"underscore", "my_app", "AWSIAMRole"},
		{"plus", "a+b", "AWSIAMRole"},
		{"equals sign", "a=b", "AWSIAMRole"},
		{"comma", "a,b", "AWSIAMRole"},
		{"at sign", "a@b", "AWSIAMRole"},
		{"a path", "team/app", "AWSIAMRole"},
		{"an ARN", "arn:aws:iam::123456789012:role/app", "AWSIAMRole"},
		{"a hyphen at the end", "app-", "no Secret can be called"},
		{"a dot in front", ".app", "no Secret can be called"},
		{"two dots", "a..b", "no Secret can be called"},
		{"a line feed", "app\n", "no Secret can be called"},
		{"too long", strings.Repeat("a", 246), "no Secret can be called"},
	} {
		t.Run(c.says, func(t *testing.T) {
			d := demand.Demand{Secret: demand.SecretPrefix + c.role, Role: c.role}
			err := d.Check()
			switch {
			case c.because == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.because == "":
			case err == nil:
				t.Error("accepted")
			case !strings.Contains(err.Error(), c.because):
				t.Errorf("error is %q, want it to say %q", err, c.because)
			case strings.Contains(err.Error(), "\n"):
				t.Errorf("error is more than one line: %q", err)
			}
		})
	}
}

// What the API server accepts as a Secret's name, and IAM as a role's: written down anew, from "Object Names and IDs" in the Kubernetes
// documentation and the API reference of IAM CreateRole.
var (
	secretName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	roleName   = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
)

// From a Secret's name to a role: what passes Check and Resolve is a name that both the API server and IAM accept, under the base.
func FuzzSecretName(f *testing.F) {
	for _, seed := range []string{
		"aws-iam-app", "aws-iam-", "aws-iam-App", "aws-iam-a/../b", "aws-iam-arn:aws:iam::210987654321:role/app", "aws-iam-a\n", "aws-iam-.a", "aws-iam-a..b",
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
		p := pod(volume("v", name))
		demands := demand.FromPod(p, mountPath)
		rest, ours := strings.CutPrefix(name, "aws-iam-")
		if demand.Wants(p) != ours || (len(demands) == 1) != ours {
			t.Fatalf("%q: Wants says %t, FromPod %v", name, demand.Wants(p), demands)
		}
		if !ours {
			return
		}
		d := demands[0]
		if len(name) > 253 { // no Secret can have it: it is cut, and must not become a name by that
			if len(d.Secret) > 253 || d.Check() == nil {
				t.Fatalf("%q becomes Secret %q, which is %v", name, d.Secret, d.Check())
			}
			return
		}
		if d.Secret != name || d.Role != rest {
			t.Fatalf("%q becomes Secret %q, role %q", name, d.Secret, d.Role)
		}
		valid := rest != "" && len(name) <= 253 && secretName.MatchString(name)
		if err := d.Check(); (err == nil) != valid {
			t.Fatalf("%q: Check says %v, and it is a name: %t", name, err, valid)
		}
		if !valid {
			return
		}
		arn, err := base.Resolve(d.Role)
		if (err == nil) != roleName.MatchString(rest) {
			t.Fatalf("%q: Resolve says %v", rest, err)
		}
		if err == nil && arn.String() != root+rest {
			t.Fatalf("%q resolves to %q", rest, arn)
		}
	})
}

// Whatever a pod looks like, Wants and FromPod agree on whether it wants anything, and each Secret is there once.
func FuzzWantsAgreesWithFromPod(f *testing.F) {
	f.Add(uint64(0), "aws-iam-app", "tls")
	f.Add(uint64(0xffff), "aws-iam-app", "aws-iam-")
	f.Add(uint64(0x5a5a), "x", "aws-iam")
	f.Fuzz(func(t *testing.T, shape uint64, a, b string) {
		p := &corev1.Pod{}
		for i, part := range []build{
			volume("a", a), volume("b", b), projected("c", a, b), container("e", mount("a", "/x"), env(a)),
			container("f", subPath("b", "/y"), envFrom(b)), initContainer("g", env(b)), ephemeralContainer("h", envFrom(a)),
		} {
			if shape>>i&1 == 1 {
				part(p)
			}
		}
		demands := demand.FromPod(p, mountPath)
		if demand.Wants(p) != (len(demands) > 0) {
			t.Fatalf("Wants says %t, FromPod %v", demand.Wants(p), demands)
		}
		for i, d := range demands {
			if i > 0 && demands[i-1].Secret >= d.Secret {
				t.Fatalf("%q comes before %q", demands[i-1].Secret, d.Secret)
			}
		}
	})
}
