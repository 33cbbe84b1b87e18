package role_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"kube-aws-iam-controller/pkg/role"
)

// sessionName is the pattern of STS. Source: the API reference of AssumeRole, RoleSessionName.
var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

func TestSessionName(t *testing.T) {
	for _, c := range []struct{ name, cluster, namespace, secret, want string }{
		{"plain", "prod", "payments", "aws-iam-app", "prod.payments.aws-iam-app"},
		{"dots of the cluster become hyphens", "prod.example.org", "payments", "aws-iam-app", "prod-example-org.payments.aws-iam-app"},
		{"dots of the Secret stay", "prod", "payments", "aws-iam-a.b", "prod.payments.aws-iam-a.b"},
		{"what STS refuses becomes a hyphen", "aws:1/eu west", "payments", "aws-iam-app", "aws-1-eu-west.payments.aws-iam-app"},
		{"one hyphen for one character", "größe", "payments", "aws-iam-app", "gr--e.payments.aws-iam-app"},
		{"a line feed", "prod\n", "payments", "aws-iam-app", "prod-.payments.aws-iam-app"},
		{"what STS accepts stays", "a_b+c=d,e@f-g", "payments", "aws-iam-app", "a_b+c=d,e@f-g.payments.aws-iam-app"},
		{"63 characters are not cut", "prod", "payments", strings.Repeat("s", 49), "prod.payments." + strings.Repeat("s", 49)},
		{"65 characters are cut, with a hash", "prod", "payments", strings.Repeat("s", 51), "prod.payments." + strings.Repeat("s", 29) + "-ac56f776b5d2f39f166c"},
		{"nothing at all", "", "", "", ".."},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := role.SessionName(c.cluster, c.namespace, c.secret)
			if got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if !sessionName.MatchString(got) {
				t.Errorf("%q is not a session name", got)
			}
		})
	}
}

// A trust policy for "prod.payments.*" must not match another namespace.
func TestSessionName_KeepsNamespacesApart(t *testing.T) {
	for _, c := range []struct{ name, cluster, namespace, secret string }{
		{"a cluster whose name ends in a namespace", "prod.payments", "evil", "aws-iam-app"},
		{"a cluster whose name looks like a whole session name", "prod.payments.aws-iam-app", "evil", "aws-iam-app"},
		{"a namespace that begins alike", "prod", "payments-evil", "aws-iam-app"},
		{"a Secret named like a namespace", "prod", "evil", "payments.aws-iam-app"},
		{"a long Secret", "prod", "evil", strings.Repeat("payments.", 20)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := role.SessionName(c.cluster, c.namespace, c.secret); strings.HasPrefix(got, "prod.payments.") {
				t.Errorf("%q is taken for one of the namespace payments", got)
			}
		})
	}
}

func TestSessionName_DiffersBySecret(t *testing.T) {
	seen := map[string]string{}
	long := strings.Repeat("n", 60)
	for _, namespace := range []string{"a", "a-b", "a-b-c", long, long + "x"} {
		for n := range 2000 {
			for _, form := range []string{"aws-iam-%d", "b.aws-iam-%d", "aws-iam-a-role-with-a-name-that-is-much-too-long-to-be-kept-as-it-is-%d"} {
				secret := fmt.Sprintf(form, n)
				got := role.SessionName("prod", namespace, secret)
				if other, ok := seen[got]; ok {
					t.Fatalf("%s/%s and %s are both %q", namespace, secret, other, got)
				}
				seen[got] = namespace + "/" + secret
			}
		}
	}
}

// The author of a Secret's name must not get the session name of another Secret that is cut.
func TestSessionName_NoNameEqualsACutOne(t *testing.T) {
	const cluster, namespace = "a-cluster-with-a-long-name", "payments"
	cut := role.SessionName(cluster, namespace, "aws-iam.orders-invoices-worker-of-the-shop")
	chosen := strings.TrimPrefix(cut, cluster+"."+namespace+".")
	if got := role.SessionName(cluster, namespace, chosen); got == cut {
		t.Errorf("Secret %q has the session name %q of another", chosen, got)
	}
}

// Truncated names can have the same prefix: only the hash distinguishes them.
func TestSessionName_CutKeeps80BitsOfHash(t *testing.T) {
	got := role.SessionName("prod", "payments", strings.Repeat("s", 200))
	if !regexp.MustCompile(`^prod\.payments\.s{29}-[0-9a-f]{20}$`).MatchString(got) {
		t.Errorf("got %q", got)
	}
}

func TestControllerSessionName(t *testing.T) {
	for _, c := range []struct{ name, cluster, want string }{
		{"plain", "prod", "prod._controller.kube-aws-iam-controller"},
		{"dots of the cluster become hyphens", "prod.example.org", "prod-example-org._controller.kube-aws-iam-controller"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := role.ControllerSessionName(c.cluster, "kube-aws-iam-controller")
			if got != c.want || !sessionName.MatchString(got) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if long := role.ControllerSessionName(strings.Repeat("c", 200), "kube-aws-iam-controller"); !sessionName.MatchString(long) {
		t.Errorf("%q is not a session name", long)
	}
	namespace := strings.Split(role.ControllerSessionName("prod", "kube-aws-iam-controller"), ".")[1]
	if problems := validation.IsDNS1123Label(namespace); len(problems) == 0 {
		t.Errorf("a namespace can be called %q", namespace)
	}
}

func FuzzSessionName(f *testing.F) {
	f.Add("prod", "payments", "aws-iam-app")
	f.Add("", "", "")
	f.Add("a.b", strings.Repeat("n", 63), strings.Repeat("s", 253))
	f.Add("\xff\x00\n", "ß", "一")
	f.Add("x", strings.Repeat("日", 30), "\xe6\x97")
	f.Fuzz(func(t *testing.T, cluster, namespace, secret string) {
		got := role.SessionName(cluster, namespace, secret)
		if !sessionName.MatchString(got) {
			t.Fatalf("%q is not a session name", got)
		}
		if again := role.SessionName(cluster, namespace, secret); again != got {
			t.Fatalf("%q and then %q", got, again)
		}
	})
}
