package manifests_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
)

// roleReference is a row of the table that pkg/request is tested with, too.
type roleReference struct{ Show, Base, Reference, Secret string }

// role returns the reference as the Secret's name holds it.
func (r *roleReference) role() string {
	return strings.TrimPrefix(strings.TrimPrefix(r.Reference, r.Base), "/")
}

// hasARN reports whether the role is named under the base, and so has an ARN, too.
func (r *roleReference) hasARN() bool { return r.Base != "" && !strings.HasPrefix(r.role(), "arn:") }

// account returns the name of a ServiceAccount of a row; grantReference describes them.
func (*roleReference) account(row int, way string) string { return fmt.Sprintf("%s-%d", way, row) }

// testRoleReferences annotates pods with each role of the table. The policy that injects must give
// the same Secret as pkg/request, and the policies for pods must read the same role from its name.
func (c *cluster) testRoleReferences(t *testing.T) {
	text, err := os.ReadFile("../pkg/request/testdata/role_references.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []roleReference
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	byBase := map[string][]int{}
	for i := range rows {
		byBase[rows[i].Base] = append(byBase[rows[i].Base], i)
		if rows[i].Secret != "" {
			c.grantReference(t, i, rows)
		}
	}
	if len(rows) < 40 || len(byBase) < 3 {
		t.Fatalf("the table has %d rows and %d bases", len(rows), len(byBase))
	}
	for base, numbers := range byBase {
		c.setBase(t, base)
		for _, i := range numbers {
			t.Run(rows[i].Show, func(t *testing.T) { c.testRoleReference(t, &rows[i], i) })
		}
	}
	c.setBase(t, "")
	c.testEscapedSecrets(t)
}

// grantReference gives rights to ServiceAccounts of a row: exact has the role by its own name, arn
// by the ARN that the base makes of it, and others has all other roles of the table.
func (c *cluster) grantReference(t *testing.T, i int, rows []roleReference) {
	t.Helper()
	row := &rows[i]
	grants := map[string][]string{row.account(i, "exact"): {row.role()}}
	if row.hasARN() {
		grants[row.account(i, "arn")] = []string{row.Base + row.role()}
	}
	for j := range rows {
		if other := rows[j].role(); rows[j].Secret != "" && other != row.role() && other != row.Base+row.role() {
			grants[row.account(i, "others")] = append(grants[row.account(i, "others")], other)
		}
	}
	for account, roles := range grants {
		meta := metav1.ObjectMeta{Namespace: optedIn, Name: account}
		rule := rbacv1.PolicyRule{APIGroups: []string{v1.GroupVersion.Group}, Resources: []string{v1.Resource}, Verbs: []string{"assume"}, ResourceNames: roles}
		for _, object := range []client.Object{
			&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{rule}},
			&rbacv1.RoleBinding{
				ObjectMeta: meta, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: account},
				Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: optedIn, Name: account}},
			},
		} {
			if err := c.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// setBase configures all policies with a base role ARN, as both kustomizations show it.
func (c *cluster) setBase(t *testing.T, arn string) {
	t.Helper()
	if arn == "" {
		c.apply(t, render(t, c.injection))
		c.apply(t, render(t, "admission/pods"))
	} else {
		injection := overlay(t, c.injection, 0, strings.NewReplacer("arn:aws:iam::123456789012:role/pods/", arn, "/meta/aws", mountPath))
		c.apply(t, injection)
		c.apply(t, overlay(t, "admission/pods", 0, strings.NewReplacer(base, arn)))
	}
	probe := base + "probe"
	if arn != "" {
		probe = arn + "probe"
	}
	eventually(t, "the policies know the base "+arn, func() bool {
		pod := appPod(optedIn, "bare", annotated(roleAnnotation, probe))
		err := c.Create(t.Context(), pod, client.DryRunAll)
		want := "assume role probe,"
		if arn == "" {
			want = "assume role " + probe + ","
		}
		return err != nil && strings.Contains(err.Error(), podRole) && strings.Contains(err.Error(), want)
	})
	// Under the base this reference fits into a name, and as an ARN it does not.
	eventually(t, "the policy that rejects knows the base "+arn, func() bool {
		err := c.Create(t.Context(), appPod(optedIn, "bare", annotated(roleAnnotation, base+"team/"+strings.Repeat("p", 210)+"/app")), client.DryRunAll)
		return err != nil && (arn == "") == strings.Contains(err.Error(), injectedPolicy)
	})
}

func (c *cluster) testRoleReference(t *testing.T, row *roleReference, i int) {
	t.Helper()
	if row.Secret == "" {
		err := c.Create(t.Context(), appPod(optedIn, "bare", annotated(roleAnnotation, row.Reference)), client.DryRunAll)
		wantRejection(t, err, injectedPolicy, "annotation iam.amazonaws.com/role")
		return
	}
	ways := []string{"exact"}
	if row.hasARN() {
		ways = append(ways, "arn")
	}
	for _, way := range ways {
		pod := appPod(optedIn, row.account(i, way), annotated(roleAnnotation, row.Reference))
		eventually(t, "the right is known", func() bool { return c.Create(t.Context(), pod.DeepCopy(), client.DryRunAll) == nil })
		c.admit(t, pod)
		if got := secretOf(pod); got != row.Secret {
			t.Errorf("the pod has Secret %q, want %q", got, row.Secret)
		}
	}
	others := refusal(t, c.Create(t.Context(), appPod(optedIn, row.account(i, "others"), annotated(roleAnnotation, row.Reference)), client.DryRunAll))
	if !strings.Contains(others, podRole) {
		t.Errorf("with the right to all other roles of the table the pod gets role %q", row.role())
	}
	says := refusal(t, c.Create(t.Context(), appPod(optedIn, "bare", annotated(roleAnnotation, row.Reference)), client.DryRunAll))
	for _, part := range []string{
		"may not assume role " + row.role() + ", and the pod takes it from Secret " + row.Secret + ". Once it may, restart its workload by kubectl rollout restart: a ReplicaSet waits up to 16 minutes before it tries again. To allow it: ",
		"create role -n opted-in 'assume:bare:" + strings.ReplaceAll(row.role(), "/", "~1") + "' ", "--resource-name='" + row.role() + "' ",
	} {
		if !strings.Contains(says, part) {
			t.Errorf("the refusal lacks %q: %s", part, says)
		}
	}
}

// testEscapedSecrets mounts Secrets whose names are no role's, and some that are.
func (c *cluster) testEscapedSecrets(t *testing.T) {
	t.Helper()
	account := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: optedIn, Name: name}
	}
	c.grantRule(t, optedIn, account("all"), rbacv1.PolicyRule{APIGroups: []string{v1.GroupVersion.Group}, Resources: []string{v1.Resource}, Verbs: []string{"assume"}})
	c.grantRule(t, optedIn, account("user"), usage("aws-role.0orders0", "aws-iam-orders"))
	mount := func(account, secret string) func() string {
		return func() string {
			return refusal(t, c.Create(t.Context(), appPod(optedIn, account, withVolume("role", secretSource(secret))), client.DryRunAll))
		}
	}
	eventually(t, "the rights are known", func() bool {
		return mount("all", "aws-role.0orders0")() == "" && mount("user", "aws-iam-orders")() == ""
	})
	for _, secret := range []string{
		"aws-role.", "aws-role.0", "aws-role.00", "aws-role.0-0", "aws-role.0-80", "aws-role.0app-0", "aws-role.0a.b0", "aws-role.0App0", "aws-role.app0",
		"aws-role.0app", "aws-role.0-6app0", "aws-role.1app0", "aws-role.0a\n0", "aws-role.0$(reboot)0", "aws-role.0" + strings.Repeat("a", 243) + "0",
	} {
		t.Run("Secret "+secret, func(t *testing.T) {
			if says := mount("all", secret)(); !strings.Contains(says, "that is the name of no role") || strings.ContainsAny(says, "\n$") {
				t.Errorf("it is not refused as meaningless: %q", says)
			}
		})
	}
	if says := mount("all", "aws-role.0"+strings.Repeat("a", 242)+"0")(); says != "" {
		t.Errorf("the longest name is refused: %s", says)
	}
	if says := mount("user", "aws-role.0orders0")(); !strings.Contains(says, podRole) || strings.Contains(says, "AWSIAMRole called") {
		t.Errorf("the verb use allows the Secret of a role, or is suggested: %q", says)
	}
}
