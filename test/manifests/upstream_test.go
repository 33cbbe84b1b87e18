package manifests_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
)

const (
	// upstreamApp is the namespace of the applications of upstream's documents.
	upstreamApp = "upstream-app"
	inApp       = "--namespace=" + upstreamApp + " "
)

// upstream is a cluster in which upstream's documents were applied, as its users type it.
type upstream struct {
	*cluster

	kubeconfig, documents string
}

// TestUpstream applies what upstream's documents show, installs this controller over it, and gives
// the rights that upstream does not know.
func TestUpstream(t *testing.T) {
	c := start(t)
	c.createNamespace(t, upstreamApp, nil)
	documents, err := filepath.Abs("../test/manifests/testdata/upstream")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{cluster: c, kubeconfig: c.adminKubeconfig(t), documents: documents}
	u.kubectl(t, "apply", "crd.yaml", "controller.yaml")
	u.kubectl(t, "wait --for=condition=Established --timeout=1m", "crd.yaml")
	u.kubectl(t, inApp+"apply", "example-app.yaml")

	t.Run("its Deployment becomes ours", u.testDeployment)
	var d appsv1.Deployment
	c.get(t, &d, namespace, name)
	controller := c.run(t, slices.Concat(d.Spec.Template.Spec.Containers[0].Args, // with the flags that its users have
		[]string{"--debug", "--interval=10s", "--refresh-limit=15m", "--metrics-bind-address=0", "--health-probe-bind-address=0"}))
	t.Run("its example", func(t *testing.T) { u.testExample(t, controller) })
	t.Run("its end-to-end test", func(t *testing.T) { u.testEndToEnd(t, controller) })
	controller.stop(t)
}

// kubectl runs a command of kubectl with files of the documents.
func (u *upstream) kubectl(t *testing.T, command string, files ...string) {
	t.Helper()
	words := []string{"kubectl", command}
	for _, file := range files {
		words = append(words, "--filename", filepath.Join(u.documents, file))
	}
	u.shell(t, u.kubeconfig, strings.Join(words, " "))
}

// testDeployment installs config/default over upstream's controller: nothing of that is left.
func (u *upstream) testDeployment(t *testing.T) {
	config, err := filepath.Abs("default") // tests run in config/
	if err != nil {
		t.Fatal(err)
	}
	u.shell(t, u.kubeconfig, "kubectl apply --kustomize "+config)
	var got, want appsv1.Deployment
	u.get(t, &got, namespace, name)
	for _, object := range render(t, "default") {
		switch object.GetKind() {
		case "Deployment":
			want = *u.asNew(t, object)
		case "ClusterRole":
			var role rbacv1.ClusterRole
			u.get(t, &role, "", object.GetName())
			if rules := convert[rbacv1.ClusterRole](t, object).Rules; !equality.Semantic.DeepEqual(role.Rules, rules) {
				t.Errorf("ClusterRole %s: %s", object.GetName(), indented(t, role.Rules))
			}
		}
	}
	if !equality.Semantic.DeepEqual(got.Spec, want.Spec) {
		t.Errorf("the Deployment is %s\nand a new one %s", indented(t, got.Spec), indented(t, want.Spec))
	}
}

// asNew returns what the API server makes of a Deployment that did not exist before.
func (u *upstream) asNew(t *testing.T, object *unstructured.Unstructured) *appsv1.Deployment {
	t.Helper()
	d := convert[appsv1.Deployment](t, object)
	d.Name = "new"
	if err := u.Create(t.Context(), d, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	return d
}

// testExample gives the namespace the right to the role of its AWSIAMRole.
func (u *upstream) testExample(t *testing.T, controller *process) {
	t.Helper()
	resource := func() *v1.AWSIAMRole { return u.awsIAMRole(t, "my-app-iam-role") }
	controller.eventually(t, "the AWSIAMRole says that the right is missing", func() bool {
		return slices.ContainsFunc(resource().Status.Conditions, func(c metav1.Condition) bool {
			return c.Type == v1.ConditionAuthorized && c.Status == metav1.ConditionFalse
		})
	})
	u.kubectl(t, inApp+"create role roles --verb=assume --resource=awsiamroles.zalando.org --resource-name=my-app --resource-name=cluster-e2e")
	u.kubectl(t, inApp+"create rolebinding roles --role=roles --group=system:serviceaccounts:"+upstreamApp)
	controller.eventually(t, "it has credentials", func() bool { return resource().Status.RoleARN != "" })
	got := resource()
	if got.Status.RoleARN != "arn:aws:iam::123456789012:role/my-app" || got.Status.Expiration == nil || got.Status.ObservedGeneration == nil || *got.Status.ObservedGeneration != got.Generation {
		t.Errorf("status is %+v", got.Status)
	}
	u.checkSecret(t, got)
}

// testEndToEnd creates the pod first. Its Secret has the name of a role, so the pod needs a right
// that names the AWSIAMRole, which the refusal says.
func (u *upstream) testEndToEnd(t *testing.T, controller *process) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(u.documents, "e2e-pod.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	pod := decode(t, string(text))[0]
	pod.SetNamespace(upstreamApp)
	u.shell(t, u.kubeconfig, suggested(t, refusal(t, u.Create(t.Context(), pod.DeepCopy())))[1])
	eventually(t, "the pod is created", func() bool {
		return refusal(t, client.IgnoreAlreadyExists(u.Create(t.Context(), pod.DeepCopy()))) == ""
	})
	u.kubectl(t, inApp+"apply", "e2e-awsiamrole.yaml")
	controller.eventually(t, "it has credentials", func() bool { return u.awsIAMRole(t, "aws-iam-test").Status.RoleARN != "" })
	u.checkSecret(t, u.awsIAMRole(t, "aws-iam-test"))
	finished := convert[corev1.Pod](t, pod)
	u.get(t, finished, upstreamApp, pod.GetName())
	finished.Status.Phase = corev1.PodSucceeded
	if err := u.Status().Update(t.Context(), finished); err != nil {
		t.Fatal(err)
	}
	u.kubectl(t, inApp+"delete", "e2e-awsiamrole.yaml")
	controller.eventually(t, "the Secret is deleted with the AWSIAMRole", func() bool {
		return apierrors.IsNotFound(u.Get(t.Context(), client.ObjectKey{Namespace: upstreamApp, Name: "aws-iam-test"}, &corev1.Secret{}))
	})
}

// awsIAMRole reads an AWSIAMRole.
func (u *upstream) awsIAMRole(t *testing.T, name string) *v1.AWSIAMRole {
	t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.Kind))
	u.get(t, object, upstreamApp, name)
	return convert[v1.AWSIAMRole](t, object)
}

// checkSecret checks that the Secret of an AWSIAMRole has all that upstream's has.
func (u *upstream) checkSecret(t *testing.T, of *v1.AWSIAMRole) {
	t.Helper()
	var s corev1.Secret
	u.get(t, &s, upstreamApp, of.Name)
	for _, key := range []string{"expire", "role-arn", "credentials", "credentials.process", "credentials.json"} {
		if len(s.Data[key]) == 0 {
			t.Errorf("%s has no %s", s.Name, key)
		}
	}
	if string(s.Data["credentials.process"]) != "[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n" || string(s.Data["role-arn"]) != of.Status.RoleARN {
		t.Errorf("%s: %s, %s", s.Name, s.Data["credentials.process"], s.Data["role-arn"])
	}
	if s.Labels["heritage"] != name || s.Labels["type"] != "awsiamrole" || s.Type != corev1.SecretTypeOpaque ||
		len(s.OwnerReferences) != 1 || s.OwnerReferences[0].UID != of.UID {
		t.Errorf("%s: %+v", s.Name, s.ObjectMeta)
	}
}
