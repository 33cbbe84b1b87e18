package controllers_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/policy"
)

// labeled gives an AWSIAMRole n labels, an annotation of a size and a finalizer.
func labeled(n, annotation int) func(*v1.AWSIAMRole) {
	return func(r *v1.AWSIAMRole) {
		r.Labels = map[string]string{}
		for i := range n {
			r.Labels[fmt.Sprint("example.org/label-", i)] = "value"
		}
		r.Annotations = map[string]string{"example.org/annotation": strings.Repeat("a", annotation)}
		r.Finalizers = []string{"example.org/finalizer"}
	}
}

// patch changes the metadata of an AWSIAMRole.
func (w *world) patch(name string, change func(*v1.AWSIAMRole)) {
	w.t.Helper()
	var r v1.AWSIAMRole
	w.must(w.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &r))
	before := client.MergeFrom(r.DeepCopy())
	change(&r)
	w.must(w.Patch(w.t.Context(), &r, before))
}

// release takes the finalizers off, so that the namespace does not keep the AWSIAMRole.
func (w *world) release(name string) {
	w.t.Helper()
	w.patch(name, func(r *v1.AWSIAMRole) { r.Finalizers = nil })
}

// The status is written with what the cache has, which lacks most of the metadata: nothing of
// that must be lost.
func TestAWSIAMRole_KeepsItsMetadataWhenItsStatusIsWritten(t *testing.T) {
	w := newWorld(t)
	created := []*v1.AWSIAMRole{w.awsIAMRole("few", "app", labeled(3, 100_000)), w.awsIAMRole("many", "app", labeled(300, 100_000))}
	w.start(serving(w))
	w.wait("few")
	w.condition("few", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	w.condition("many", v1.ConditionReady, metav1.ConditionFalse, controllers.ReasonInvalidRole, "labels", "4096")
	for _, before := range created {
		var after v1.AWSIAMRole
		w.must(w.Get(t.Context(), client.ObjectKeyFromObject(before), &after))
		if !maps.Equal(after.Labels, before.Labels) || !maps.Equal(after.Annotations, before.Annotations) || !slices.Equal(after.Finalizers, before.Finalizers) {
			t.Errorf("%s: %d labels, %d annotations, finalizers %q", before.Name, len(after.Labels), len(after.Annotations), after.Finalizers)
		}
		w.release(before.Name)
	}
}

func TestAWSIAMRole_ManyLabelsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.awsIAMRole("r", "app", labeled(1000, 0))
	w.start(serving(w))
	w.event("Warning InvalidRole r:", "labels", "4096")
	w.condition("r", v1.ConditionReady, metav1.ConditionFalse, controllers.ReasonInvalidRole)
	if w.secret("r") != nil {
		t.Error("there is a Secret")
	}
	w.patch("r", func(r *v1.AWSIAMRole) { r.Labels = nil })
	w.wait("r")
	w.condition("r", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	w.release("r")
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAWSIAMRole_TakesLittleMemory(t *testing.T) {
	const n = 8
	w := newWorld(t)
	w.start(serving(w))
	w.awsIAMRole("first", "app")
	w.wait("first")
	before := liveHeap()
	for i := range n {
		w.awsIAMRole(fmt.Sprint("r", i), "app", labeled(3000, 250_000))
	}
	for i := range n {
		w.condition(fmt.Sprint("r", i), v1.ConditionReady, metav1.ConditionFalse, controllers.ReasonInvalidRole)
	}
	grown := int64(liveHeap()) - int64(before) //nolint:gosec // a heap is smaller
	t.Logf("%d AWSIAMRoles with 3,000 labels and 250 KB of annotations take %d KiB", n, grown>>10)
	if grown > 5<<20 { // as they come, they take some 20 MiB
		t.Errorf("%d bytes", grown)
	}
	for i := range n {
		w.release(fmt.Sprint("r", i))
	}
}

// What others write into a status is replaced, once.
func TestAWSIAMRole_ALongStatusIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.start(serving(w))
	w.awsIAMRole("r", "app")
	w.condition("r", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	var r v1.AWSIAMRole
	w.must(w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "r"}, &r))
	r.Status.RoleARN = strings.Repeat("x", 100_000)
	r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{
		Type: "Other", Status: metav1.ConditionTrue, Reason: "Other", Message: strings.Repeat("x", 30_000), LastTransitionTime: metav1.Time{Time: time.Now()},
	})
	w.must(w.Status().Update(t.Context(), &r))
	w.patch("r", func(r *v1.AWSIAMRole) { r.Spec.RoleReference = "other" }) // a status alone is no cause to look
	w.eventually("the status is the controller's", func() bool {
		s := w.status("r")
		return strings.HasSuffix(s.RoleARN, ":role/other") && len(s.Conditions) == 3
	})
}

// A binding whose name is not kept takes effect at once all the same: when it comes, after a
// restart, and when it goes.
func TestRBAC_BindingsWithLongNamesAreSeen(t *testing.T) {
	w := newWorld(t)
	bind := func(roleName string) *rbacv1.RoleBinding {
		meta := metav1.ObjectMeta{Namespace: w.namespace, Name: roleName + strings.Repeat("x", 10_000)}
		rules := []rbacv1.PolicyRule{{APIGroups: []string{"zalando.org"}, Resources: []string{"awsiamroles"}, Verbs: []string{"assume"}, ResourceNames: []string{roleName}}}
		w.must(w.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}))
		b := &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{w.serviceAccount("shop")}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name}}
		w.must(w.Create(t.Context(), b))
		return b
	}
	stop := w.start(serving(w), modes(policy.ModeRBAC))
	w.pod("a", role("a"), as("shop"))
	w.event("Warning RoleForbidden a:")
	first := bind("a")
	w.wait("aws-iam-a")
	stop()
	w.start(serving(w), modes(policy.ModeRBAC))
	w.pod("b", role("b"), as("shop"))
	w.event("Warning RoleForbidden b:")
	bind("b")
	w.wait("aws-iam-b")
	w.must(w.Delete(t.Context(), first))
	w.waitGone("aws-iam-a")
}
