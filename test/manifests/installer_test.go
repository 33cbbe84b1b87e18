package manifests_test

import (
	"os"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testInstaller applies everything as a user with the rights that docs/installation.md names.
// Kubernetes' own ClusterRole admin is aggregated by a controller that does not run here, so the
// user gets a role with its rights in the namespace.
func (c *cluster) testInstaller(t *testing.T) {
	text, err := os.ReadFile("../docs/installation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "### Who can install it")
	_, block, foundBlock := strings.Cut(after, "```yaml\n")
	block, _, foundEnd := strings.Cut(block, "```")
	if !found || !foundBlock || !foundEnd {
		t.Fatal("docs/installation.md has no such ClusterRole")
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(block), &role); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), &role); err != nil {
		t.Fatal(err)
	}
	const user = "installer"
	subject := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: []rbacv1.Subject{subject},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
	}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: user}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"", "apps", "policy"}, Resources: []string{"*"}, Verbs: []string{"*"}}}},
		&rbacv1.RoleBinding{ObjectMeta: meta, Subjects: binding.Subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user}},
	} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	objects := append(render(t, "default"), render(t, "injection")...)
	installer := &cluster{Client: c.impersonate(t, user), env: c.env, warnings: c.warnings}
	const escalate = "escalate clusterroles.rbac.authorization.k8s.io"
	if may(t, installer, escalate) {
		t.Fatal("every user has the rights")
	}
	if err := c.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rights are known", func() bool { return may(t, installer, escalate) })
	installer.apply(t, objects)
}
