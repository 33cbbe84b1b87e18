package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// template returns the template of pods of a workload.
func (n *namespace) template(account string, annotations map[string]string, secrets ...string) corev1.PodTemplateSpec {
	labels := map[string]string{"app": "x"}
	spec := n.pod("x", account, secrets...).Spec
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations}, Spec: spec}
}

// workloads creates one workload of each kind and tool.
func (n *namespace) workloads() {
	n.Helper()
	role := func(r string) map[string]string { return map[string]string{"iam.amazonaws.com/role": r} }
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: n.name, Name: name} }
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
	cart := n.account("cart", "")
	cart.Annotations = map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/Cart"}
	external := role("orders")
	external["iam.amazonaws.com/external-id"] = "x"
	once := n.template("cart", nil)
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	bare := n.pod("bare", "web")
	bare.Annotations = role("bare")
	owned := n.pod("owned", "web")
	owned.Annotations = role("owned")
	owned.Labels = map[string]string{"pod-template-hash": "1"}
	controls := true
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "x", UID: "1", Controller: &controls}}
	n.create(cart, n.account("web", ""), bare, owned,
		&appsv1.Deployment{ObjectMeta: meta("orders"), Spec: appsv1.DeploymentSpec{Selector: selector, Template: n.template("web", external)}},
		&appsv1.StatefulSet{ObjectMeta: meta("bad"), Spec: appsv1.StatefulSetSpec{Selector: selector, Template: n.template("web", role("a b"))}},
		&appsv1.DaemonSet{ObjectMeta: meta("upper"), Spec: appsv1.DaemonSetSpec{Selector: selector, Template: n.template("web", role("Upper"))}},
		&batchv1.CronJob{ObjectMeta: meta("nightly"), Spec: batchv1.CronJobSpec{Schedule: "0 0 * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: once}}}},
		&batchv1.Job{ObjectMeta: meta("once"), Spec: batchv1.JobSpec{Template: once}},
		&appsv1.Deployment{ObjectMeta: meta("mounts"), Spec: appsv1.DeploymentSpec{Selector: selector, Template: n.template("web", nil, "aws-iam-reports")}},
		n.awsIAMRole("named", "Named"),
	)
}

func TestMigrate(t *testing.T) {
	n := newNamespace(t)
	n.workloads()
	got := n.run("migrate")
	if got.code != 0 || !strings.HasPrefix(got.err, "Before a namespace with IRSA gets its label") {
		t.Fatalf("%+v", got)
	}
	var rows []string
	for _, row := range fields(got.out) {
		if row[0] == "#" {
			rows = append(rows, strings.Join(row[2:], " "))
		}
	}
	const all = "trust in the controller; right; label; restart"
	for _, want := range []string{
		"awsiamrole/named upstream Named named right",
		"cronjob/nightly irsa arn:aws:iam::123456789012:role/Cart aws-iam.cart " + all,
		"daemonset/upper kube2iam Upper aws-role.0-upper0 " + all,
		"deployment/mounts upstream reports aws-iam-reports right",
		"deployment/orders kube2iam orders aws-iam-orders " + all + "; the annotation iam.amazonaws.com/external-id is not honored",
		"job/once irsa arn:aws:iam::123456789012:role/Cart aws-iam.cart " + all,
		"pod/bare kube2iam bare aws-iam-bare " + all,
	} {
		found := false
		for _, row := range rows {
			found = found || row == want
		}
		if !found {
			t.Errorf("it lacks %q:\n%s", want, strings.Join(rows, "\n"))
		}
	}
	if !strings.Contains(got.out, "statefulset/bad") || !strings.Contains(got.out, "the pod will be rejected") || strings.Contains(got.out, "owned") {
		t.Error(got.out)
	}

	// What it prints is all that is missing.
	n.shell("kubectl aws-iam migrate 2>/dev/null | kubectl apply --server-side --filename -")
	var ns corev1.Namespace
	n.must(suite.Cluster.Get(t.Context(), client.ObjectKey{Name: n.name}, &ns))
	var cart corev1.ServiceAccount
	n.must(suite.Cluster.Get(t.Context(), client.ObjectKey{Namespace: n.name, Name: "cart"}, &cart))
	if ns.Labels["iam.amazonaws.com/inject"] != "true" || cart.Labels["iam.amazonaws.com/role-annotated"] != "true" || cart.Annotations["eks.amazonaws.com/role-arn"] == "" {
		t.Errorf("labels are %v and %v", ns.Labels, cart.Labels)
	}
	n.await("all that is missing", func() (bool, error) { return !strings.Contains(n.run("migrate").out, "---"), nil })
	if got := n.run("migrate", "upstream"); !strings.Contains(got.out, "nothing\n") || strings.Contains(got.out, "kube2iam") {
		t.Errorf("%+v", got)
	}
}

// TestMigrate_ChangesNothing compares all that the namespace has.
func TestMigrate_ChangesNothing(t *testing.T) {
	n := newNamespace(t)
	n.workloads()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.name}}
	n.must(suite.Cluster.Patch(t.Context(), ns, client.RawPatch(client.Merge.Type(), []byte(`{"metadata":{"annotations":{"iam.amazonaws.com/permitted":".*"}}}`))))
	before := ns.ResourceVersion
	dir := filepath.Join(t.TempDir(), "manifests")
	got := n.run("migrate", "kiam", "--output-dir", dir)
	if got.code != 0 || !strings.Contains(got.out, "kiam") || strings.Contains(got.out, "irsa") || strings.Contains(got.out, "kind:") {
		t.Errorf("%+v", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, n.name+".yaml")) //nolint:gosec // the test's own
	if err != nil || !strings.Contains(string(text), "name: assume:web:orders\n") || strings.Contains(string(text), "Cart") {
		t.Errorf("%v: %s", err, text)
	}
	n.must(suite.Cluster.Get(t.Context(), client.ObjectKeyFromObject(ns), ns))
	if ns.ResourceVersion != before {
		t.Errorf("the Namespace has changed: %v", ns.Labels)
	}
	if got := n.shell("kubectl get roles,rolebindings --namespace " + n.name); !strings.Contains(got, "No resources found") {
		t.Error(got)
	}
	for want, args := range map[string][]string{`error: invalid argument "x"`: {"x"}, "error: accepts at most 1 arg(s)": {"kiam", "irsa"}} {
		if got := n.run(append([]string{"migrate"}, args...)...); got.code != 1 || !strings.HasPrefix(got.err, want) {
			t.Errorf("%q: %+v", args, got)
		}
	}
}
