package app

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

func TestGrant(t *testing.T) {
	for _, c := range []struct {
		name, secret string
		create       func(n *namespace)
		args         []string
		want         []string // names of Roles
	}{
		{"a pod", "aws-iam-orders", func(n *namespace) { n.create(n.pod("web", "web", "aws-iam-orders")) }, []string{"pod", "web"}, []string{"assume:web:orders"}},
		{"a ServiceAccount", "aws-iam.web", func(n *namespace) { n.create(n.pod("web", "web", "aws-iam.web")) }, []string{"serviceaccount", "web"}, []string{"assume:web:metrics"}},
		{"a role that is given", "aws-iam-orders", func(n *namespace) { n.create(n.pod("web", "web", "aws-iam-orders")) }, []string{"sa", "web", "--role", "orders"}, []string{"assume:web:orders"}},
		{
			"an ARN with a path", "aws-iam.web", func(n *namespace) { n.create(n.pod("web", "web", "aws-iam.web")) },
			[]string{"sa", "web", "--role", "arn:aws:iam::210987654321:role/team/metrics"},
			[]string{"assume:web:arn:aws:iam::210987654321:role~1team~1metrics"},
		},
		{"a pod with the Secret of an AWSIAMRole", "aws-iam-reports", func(n *namespace) {
			n.create(n.awsIAMRole("aws-iam-reports", "Reports"), n.pod("web", "web", "aws-iam-reports"))
		}, []string{"pod", "web"}, []string{"assume::Reports", "use:web:aws-iam-reports"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNamespace(t)
			n.create(n.account("web", "metrics"))
			c.create(n)
			args := append([]string{"grant"}, c.args...)
			got := n.run(args...)
			var roles []string
			for document := range strings.SplitSeq(got.out, "---\n") {
				var role rbacv1.Role
				n.must(yaml.Unmarshal([]byte(document), &role))
				if role.Kind == "Role" {
					roles = append(roles, role.Name)
				}
			}
			if strings.Join(roles, " ") != strings.Join(c.want, " ") || got.code != 0 || got.err != "" {
				t.Fatalf("%+v", got)
			}
			if applied := n.run(append(args, "--apply")...); applied.code != 0 || applied.out != "" || !strings.Contains(applied.err, c.want[0]+" applied") {
				t.Fatalf("%+v", applied)
			}
			if !strings.Contains(c.name, "ARN") {
				n.awaitSecret(c.secret)
			}
			n.await("the right", func() (bool, error) {
				again := n.run(args...)
				return again.code == 0 && again.out == "" && strings.HasSuffix(again.err, " already.\n"), nil
			})
		})
	}
}

func TestGrant_PrintedIsAccepted(t *testing.T) {
	n := newNamespace(t)
	n.create(n.account("web", ""), n.pod("web", "web", "aws-iam-orders"))
	n.shell("kubectl aws-iam grant pod web | kubectl apply --filename -")
	n.awaitSecret("aws-iam-orders")
	if got := n.run("explain", "pod", "web"); got.code != 0 {
		t.Error(got.out)
	}
}

func TestGrant_Errors(t *testing.T) {
	n := newNamespace(t)
	n.create(n.account("web", ""))
	for want, args := range map[string][]string{
		"error: it asks for no role: give one with --role": {"grant", "serviceaccount", "web"},
		`error: serviceaccounts "none" not found`:          {"grant", "serviceaccount", "none"},
		"error: role name \"a b\"":                         {"grant", "serviceaccount", "web", "--role", "a b"},
		"error: --output=x is unknown":                     {"grant", "serviceaccount", "web", "-o", "x"},
	} {
		if got := n.run(args...); got.code != 1 || got.out != "" || !strings.HasPrefix(got.err, want) {
			t.Errorf("%q: %+v", args, got)
		}
	}
}
