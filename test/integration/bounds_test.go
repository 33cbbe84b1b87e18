package integration_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/test/env"
)

// The status is written with what the cache has, which lacks most of the metadata: nothing of
// that must be lost.
func TestAWSIAMRole_StatusWriteKeepsMetadata(t *testing.T) {
	w := newTestEnv(t)
	created := []*v1.AWSIAMRole{w.awsIAMRole("few", "app", large(3, 100_000)), w.awsIAMRole("many", "app", large(300, 100_000))}
	w.start(serving(w))
	w.wait("few")
	w.condition("few", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	w.condition("many", v1.ConditionReady, metav1.ConditionFalse, v1.ReasonInvalidRole, "labels", "4096")
	for _, before := range created {
		var after v1.AWSIAMRole
		w.must(w.Get(t.Context(), client.ObjectKeyFromObject(before), &after))
		if !maps.Equal(after.Labels, before.Labels) || !maps.Equal(after.Annotations, before.Annotations) || !slices.Equal(after.Finalizers, before.Finalizers) {
			t.Errorf("%s: %d labels, %d annotations, finalizers %q", before.Name, len(after.Labels), len(after.Annotations), after.Finalizers)
		}
		w.patch(before, withoutFinalizers)
	}
}

func TestAWSIAMRole_ManyLabelsAreRejected(t *testing.T) {
	w := newTestEnv(t)
	r := w.awsIAMRole("r", "app", large(1000, 0))
	w.start(serving(w))
	w.event("Warning InvalidRole r:", "labels", "4096")
	w.condition("r", v1.ConditionReady, metav1.ConditionFalse, v1.ReasonInvalidRole)
	if w.secret("r") != nil {
		t.Error("there is a Secret")
	}
	w.patch(r, `{"metadata":{"labels":null}}`)
	w.wait("r")
	w.condition("r", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	w.patch(r, withoutFinalizers)
}

func TestAWSIAMRole_TakesLittleMemory(t *testing.T) {
	const n = 8
	w := newTestEnv(t)
	w.start(serving(w))
	w.awsIAMRole("first", "app")
	w.wait("first")
	before := env.LiveHeap()
	for i := range n {
		w.awsIAMRole(fmt.Sprint("r", i), "app", large(3000, 250_000))
	}
	for i := range n {
		w.condition(fmt.Sprint("r", i), v1.ConditionReady, metav1.ConditionFalse, v1.ReasonInvalidRole)
	}
	grown := int64(env.LiveHeap()) - int64(before) //nolint:gosec // a heap is smaller
	t.Logf("%d AWSIAMRoles with 3,000 labels and 250 KB of annotations take %d KiB", n, grown>>10)
	if grown > 5<<20 { // as they come, they take some 20 MiB
		t.Errorf("%d bytes", grown)
	}
	for i := range n {
		w.patch(newAWSIAMRole(w.namespace, fmt.Sprint("r", i), ""), withoutFinalizers)
	}
}

// A status that others wrote is replaced.
func TestAWSIAMRole_LongStatusIsReplaced(t *testing.T) {
	w := newTestEnv(t)
	w.start(serving(w))
	r := w.awsIAMRole("r", "app")
	w.condition("r", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	w.read(r)
	r.Status.RoleARN = strings.Repeat("x", 100_000)
	r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{
		Type: "Other", Status: metav1.ConditionTrue, Reason: "Other", Message: strings.Repeat("x", 30_000), LastTransitionTime: metav1.Time{Time: time.Now()},
	})
	w.must(w.Status().Update(t.Context(), r))
	w.patch(r, `{"spec":{"roleReference":"other"}}`) // a status alone is no cause to look
	w.eventually("the status is the controller's", func() bool {
		now := newAWSIAMRole(w.namespace, "r", "")
		w.read(now)
		return strings.HasSuffix(now.Status.RoleARN, ":role/other") && len(now.Status.Conditions) == 3
	})
}

// A binding whose name is not kept takes effect at once all the same: when it comes, after a
// restart, and when it goes.
func TestRBAC_BindingsWithLongNamesAreSeen(t *testing.T) {
	w := newTestEnv(t)
	bind := func(roleName string) *rbacv1.RoleBinding {
		role, binding := newRole(w.namespace, roleName+strings.Repeat("x", 10_000), assume(roleName), serviceAccount(w.namespace, "shop"))
		w.create(role, binding)
		return binding
	}
	stop := w.start(serving(w), modes(authorization.ModeRBAC))
	w.pod("a", role("a"), as("shop"))
	w.event("Warning RoleForbidden a:")
	first := bind("a")
	w.wait("aws-iam-a")
	stop()
	w.start(serving(w), modes(authorization.ModeRBAC))
	w.pod("b", role("b"), as("shop"))
	w.event("Warning RoleForbidden b:")
	bind("b")
	w.wait("aws-iam-b")
	w.must(w.Delete(t.Context(), first))
	w.waitGone("aws-iam-a")
}
