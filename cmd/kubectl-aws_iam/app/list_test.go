package app

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// newRoles returns a namespace in which one Secret of each kind is written, and one waits.
func newRoles(t *testing.T) *namespace {
	t.Helper()
	n := newNamespace(t)
	n.grantAll("orders", "reports", "metrics")
	n.create(
		n.account("web", ""), n.account("metrics", "metrics"),
		n.pod("orders-1", "web", "aws-iam-orders"), n.pod("orders-2", "web", "aws-iam-orders"),
		n.pod("metrics", "metrics", "aws-iam.metrics"),
		n.pod("denied", "web", "aws-iam-billing"),
		n.awsIAMRole("reports-reader", "reports"),
	)
	for _, name := range []string{"aws-iam-orders", "aws-iam.metrics", "reports-reader"} {
		n.awaitSecret(name)
	}
	return n
}

// fields returns the fields of the lines of a table.
func fields(table string) (lines [][]string) {
	for line := range strings.Lines(table) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

func TestList(t *testing.T) {
	n := newRoles(t)
	got := n.run("list")
	if got.code != 0 || got.err != "" {
		t.Fatalf("exit code %d: %s", got.code, got.err)
	}
	want := `
SECRET           ROLE                                      KIND             PODS   EXPIRES   AGE   STATE
aws-iam-billing  billing                                   Pod              1      <none>    <none> Waiting
aws-iam-orders   arn:aws:iam::123456789012:role/orders     Pod              2      in        *  *  Ready
aws-iam.metrics  arn:aws:iam::123456789012:role/metrics    ServiceAccount   1      in        *  *  Ready
reports-reader   arn:aws:iam::123456789012:role/reports    AWSIAMRole       0      in        *  *  Ready
`
	wantTable(t, got.out, want)
}

// wantTable compares the fields of two tables; a star stands for any field.
func wantTable(t *testing.T, got, want string) {
	t.Helper()
	if !slices.EqualFunc(fields(got), fields(strings.TrimPrefix(want, "\n")), match) {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

// match reports whether a line has these fields; a star stands for any.
func match(line, want []string) bool {
	return slices.EqualFunc(line, want, func(g, w string) bool { return w == "*" || g == w })
}

func TestList_Selects(t *testing.T) {
	n := newRoles(t)
	later := *n
	later.now = func() time.Time { return time.Now().Add(50 * time.Minute) }
	for _, c := range []struct {
		name string
		n    *namespace
		args []string
		want []string
	}{
		{"the name of a role", n, []string{"--role", "orders"}, []string{"secret/aws-iam-orders"}},
		{"the ARN of a role", n, []string{"--role", "arn:aws:iam::123456789012:role/metrics"}, []string{"secret/aws-iam.metrics"}},
		{"what waits", n, []string{"--role", "billing"}, []string{"secret/aws-iam-billing"}},
		{"none that expires", n, []string{"--expiring", "20m"}, nil},
		{"what expires", &later, []string{"--expiring", "20m"}, []string{"secret/aws-iam-orders", "secret/aws-iam.metrics", "secret/reports-reader"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.n.run(append([]string{"list", "-o", "name"}, c.args...)...)
			if lines := strings.Fields(got.out); got.code != 0 || strings.Join(lines, " ") != strings.Join(c.want, " ") {
				t.Errorf("exit code %d, %q, %s", got.code, lines, got.err)
			}
		})
	}
}

func TestList_Objects(t *testing.T) {
	n := newRoles(t)
	for format, unmarshal := range map[string]func([]byte, any) error{
		"json": json.Unmarshal, "yaml": func(text []byte, into any) error { return yaml.Unmarshal(text, into) },
	} {
		var list struct {
			Kind  string
			Items []struct {
				Kind, Secret, Role, State, AccessKeyID string
				Pods                                   []string
			}
		}
		got := n.run("list", "-o", format)
		if err := unmarshal([]byte(got.out), &list); err != nil || got.code != 0 {
			t.Fatalf("%s: %v, %s", format, err, got.err)
		}
		orders := list.Items[1]
		if list.Kind != "RoleUsageList" || len(list.Items) != 4 || orders.Secret != "aws-iam-orders" || strings.Join(orders.Pods, " ") != "orders-1 orders-2" ||
			!strings.HasPrefix(orders.AccessKeyID, "ASIA") {
			t.Errorf("%s: %+v", format, list)
		}
	}
}

// A user who may not read Secrets sees what asks for roles.
func TestList_WithoutSecrets(t *testing.T) {
	n := newRoles(t)
	u := n.as("reader", "system:authenticated")
	n.grant("reader", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: n.name + "-reader"}, may("list", "", "pods"), may("list", "zalando.org", "awsiamroles"))
	var got result
	n.await("the right", func() (bool, error) {
		got = u.run("list")
		return got.code == 0 && !strings.Contains(got.err, "pods"), nil
	})
	wantTable(t, got.out, `
SECRET           ROLE      KIND             PODS   EXPIRES   AGE     STATE
aws-iam-billing  billing   Pod              1      <none>    <none>  Unknown
aws-iam-orders   orders    Pod              2      <none>    <none>  Unknown
aws-iam.metrics  <none>    ServiceAccount   1      <none>    <none>  Unknown
reports-reader   arn:aws:iam::123456789012:role/reports AWSIAMRole 0 in * <none> Ready
`)
	if !strings.Contains(got.err, "warning: secrets is forbidden") {
		t.Errorf("it does not say what is missing: %s", got.err)
	}
}

func TestList_AllNamespaces(t *testing.T) {
	one, two := newRoles(t), newRoles(t)
	got := one.run("list", "-A", "--role", "orders")
	for _, n := range []*namespace{one, two} {
		if got.code != 0 || !slices.ContainsFunc(fields(got.out), func(line []string) bool {
			return match(line, []string{n.name, "aws-iam-orders", "*", "Pod", "2", "in", "*", "*", "Ready"})
		}) {
			t.Errorf("it lacks %s:\n%s%s", n.name, got.out, got.err)
		}
	}
}

func TestList_None(t *testing.T) {
	n := newNamespace(t)
	if got := n.run("list"); got.code != 0 || got.out != "" || got.err != "No roles found in "+n.name+" namespace.\n" {
		t.Errorf("exit code %d, %q, %q", got.code, got.out, got.err)
	}
	if got := n.run("list", "-o", "json"); got.code != 0 || !strings.Contains(got.out, `"items": []`) {
		t.Errorf("exit code %d, %s", got.code, got.out)
	}
}
