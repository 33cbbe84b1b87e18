package serviceaccounts

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/test/env"
)

// mayWatch returns a user with the rights to list and watch ServiceAccounts, and no other.
func mayWatch(t *testing.T, api *envtest.Environment, clientset kubernetes.Interface) *envtest.AuthenticatedUser {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "watch-serviceaccounts"}
	if _, err := clientset.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"list", "watch"}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := clientset.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "watcher"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	user, err := api.AddUser(envtest.User{Name: "watcher"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func TestWatch_RealAPIServer(t *testing.T) {
	env.RequireAPIServer(t)
	api := &envtest.Environment{}
	admin, err := api.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Stop(); err != nil {
			t.Error(err)
		}
	})
	clientset, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	accounts := clientset.CoreV1().ServiceAccounts("default")
	create := func(name, role string) {
		t.Helper()
		sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if role != "" {
			sa.Annotations = map[string]string{request.RoleAnnotation: role}
		}
		if _, err := accounts.Create(t.Context(), sa, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("asks", "App")
	create("silent", "")

	watching, err := metadata.NewForConfig(mayWatch(t, api, clientset).Config())
	if err != nil {
		t.Fatal(err)
	}
	index := New([]string{""}, CurrentUID(watching))
	go func() { _ = NewWatch(watching, []string{""}, index).Start(t.Context()) }()
	await := func(what, name, role string) (uid types.UID) {
		t.Helper()
		if err := env.Await(t.Context(), what, func() (bool, error) {
			found, ok := index.Get(types.NamespacedName{Namespace: "default", Name: name})
			uid = found.UID
			return ok == (role != "") && found.Request.Role == role, nil
		}); err != nil {
			t.Fatal(err)
		}
		return uid
	}
	patch := func(name, annotations string) {
		t.Helper()
		if _, err := accounts.Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"annotations":`+annotations+`}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	<-index.Synced()
	first := await("the list", "asks", "App")
	if index.Len() != 1 {
		t.Errorf("%d ask", index.Len())
	}
	patch("silent", `{"eks.amazonaws.com/role-arn":"arn:aws:iam::123456789012:role/x"}`)
	await("an annotation that is added", "silent", "arn:aws:iam::123456789012:role/x")
	patch("silent", `null`)
	await("an annotation that is removed", "silent", "")
	if err := accounts.Delete(t.Context(), "asks", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await("the deletion", "asks", "")
	create("asks", "App")
	again := await("the successor", "asks", "App")
	if again == first || again == "" {
		t.Errorf("uid %q after %q", again, first)
	}
	name := types.NamespacedName{Namespace: "default", Name: "asks"}
	for _, c := range []struct {
		account ServiceAccount
		want    bool
	}{
		{ServiceAccount{Name: name, UID: again}, true},
		{ServiceAccount{Name: name, UID: first}, false},
		{ServiceAccount{Name: types.NamespacedName{Namespace: "default", Name: "ask"}, UID: again}, false},
		{ServiceAccount{Name: types.NamespacedName{Namespace: "kube-system", Name: "asks"}, UID: again}, false},
	} {
		if got, err := index.IsCurrent(t.Context(), &c.account); got != c.want || err != nil {
			t.Errorf("%+v is current: %t, %v", c.account, got, err)
		}
	}
}
