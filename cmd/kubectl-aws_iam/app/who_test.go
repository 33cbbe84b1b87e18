package app

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keyOf returns the access key ID of a Secret.
func keyOf(s *metav1.PartialObjectMetadata) string {
	return s.Annotations["iam.amazonaws.com/access-key-id"]
}

func (n *namespace) who(args ...string) (k keyUsage) {
	n.Helper()
	got := n.run(append([]string{"who", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(got.out), &k); err != nil || got.code != 0 {
		n.Fatalf("exit code %d, %v: %s%s", got.code, err, got.out, got.err)
	}
	return k
}

func TestWho(t *testing.T) {
	n := newRoles(t)
	first := n.awaitSecret("aws-iam-orders")
	k := n.who(keyOf(first))
	if !k.Current || k.Namespace != n.name || k.Secret != "aws-iam-orders" || k.Role != "arn:aws:iam::123456789012:role/orders" ||
		k.Session != "test."+n.name+".aws-iam-orders" || strings.Join(k.Pods, " ") != "orders-1 orders-2" || k.Expires.Sub(k.Issued.Time) != time.Hour {
		t.Errorf("the current key: %+v", k)
	}

	n.must(suite.Cluster.Delete(n.Context(), &corev1.Secret{ObjectMeta: first.ObjectMeta}))
	var second *metav1.PartialObjectMetadata
	n.await("another key", func() (bool, error) {
		second = n.awaitSecret("aws-iam-orders")
		return keyOf(second) != keyOf(first), nil
	})
	if got := n.run("who", keyOf(first)); got.code != 1 || !strings.Contains(got.err, "--log") {
		t.Errorf("an earlier key without the log: exit code %d, %s%s", got.code, got.out, got.err)
	}
	n.await("the line in the log", func() (bool, error) {
		text, err := os.ReadFile(suite.controller.Log)
		return strings.Contains(string(text), keyOf(second)), err
	})
	k = n.who(keyOf(first), "--log", suite.controller.Log)
	if k.Current || k.Namespace != n.name || k.Secret != "aws-iam-orders" || k.Replaced == nil || k.PodsThen == nil || strings.Join(k.Pods, " ") != "orders-1 orders-2" {
		t.Errorf("an earlier key: %+v", k)
	}
	log, err := os.Open(suite.controller.Log)
	n.must(err)
	defer func() { _ = log.Close() }()
	got := n.runWith(n.Context(), log, "who", keyOf(first), "--log", "-")
	for _, want := range []string{keyOf(first) + " (an earlier key)\n", n.name + "/aws-iam-orders\n", "Replaced:", "Pods now:       orders-1, orders-2\n"} {
		if got.code != 0 || !strings.Contains(got.out, want) {
			t.Errorf("it lacks %q: exit code %d\n%s%s", want, got.code, got.out, got.err)
		}
	}
}

func TestWho_Errors(t *testing.T) {
	n := newNamespace(t)
	for want, args := range map[string][]string{
		"not the ID of an access key":       {"who", "orders"},
		"controller's log names it (--log)": {"who", "ASIAOTHER00000000000"},
		"is a key of an IAM user":           {"who", "AKIAOTHER00000000000"},
		"the log does not name it":          {"who", "ASIAOTHER00000000000", "--log", suite.controller.Log},
		"no such file":                      {"who", "ASIAOTHER00000000000", "--log", "/nonexistent"},
	} {
		if got := n.run(args...); got.code != 1 || got.out != "" || !strings.Contains(got.err, want) {
			t.Errorf("%q: exit code %d, %s%s", args, got.code, got.out, got.err)
		}
	}
}

// A user who may not list Secrets of all namespaces finds those of the current one.
func TestWho_OneNamespace(t *testing.T) {
	n := newRoles(t)
	u := n.as("reader", "system:authenticated")
	n.grant("reader", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: n.name + "-reader"}, may("list", "", "secrets"))
	id := keyOf(n.awaitSecret("aws-iam-orders"))
	var got result
	n.await("the right", func() (bool, error) {
		got = u.run("who", id)
		return got.code == 0, nil
	})
	if !strings.Contains(got.err, "may not list the Secrets of all") || !strings.Contains(got.out, n.name+"/aws-iam-orders") || !strings.Contains(got.err, "cannot list resource \"pods\"") {
		t.Errorf("%s%s", got.out, got.err)
	}
}
