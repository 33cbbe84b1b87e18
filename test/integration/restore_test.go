package integration_test

import (
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kube-aws-iam-controller/pkg/authorization"
)

// A backup program restores Secrets that expired long ago, pods, and the rights of their
// ServiceAccounts, in an order of its own. No dead Secret stays for a pod to start on.
func TestRestore(t *testing.T) {
	w := newTestEnv(t)
	w.start(modes(authorization.ModeRBAC))
	w.grant("orders", serviceAccount(w.namespace, "shop"))

	old := newStraySecret(t, w.namespace, "orders", 48*time.Hour)
	w.create(old)
	w.waitGone("aws-iam-orders") // no pod asks for it yet
	w.pod("orders", role("orders"), as("shop"))
	w.wait("aws-iam-orders")

	// The pod is restored before the Secret.
	w.must(w.Delete(t.Context(), w.secret("aws-iam-orders")))
	if err := w.Create(t.Context(), newStraySecret(t, w.namespace, "orders", 48*time.Hour)); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err) // the controller can be faster
	}
	w.wait("aws-iam-orders")

	// The RoleBinding is the last.
	w.pod("late", role("late"), as("shop"))
	w.event("Warning RoleForbidden late:")
	w.create(newStraySecret(t, w.namespace, "late", 48*time.Hour))
	w.waitGone("aws-iam-late")
	w.grant("late", serviceAccount(w.namespace, "shop"))
	w.wait("aws-iam-late")
}

// A pod that was admitted before its ServiceAccount had the right is served when it gets it.
func TestLateRights(t *testing.T) {
	w := newTestEnv(t)
	w.start(modes(authorization.ModeRBAC))
	w.pod("hook", role("orders"), as("shop"))
	w.event("Warning RoleForbidden hook:", "kubectl create rolebinding")
	granted := time.Now()
	w.grant("orders", serviceAccount(w.namespace, "shop"))
	w.wait("aws-iam-orders")
	t.Logf("the Secret was written %v after the right was given", time.Since(granted))
}
