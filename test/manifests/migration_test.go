package manifests_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionreviewv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/role"
)

// skipWebhook is the label by which EKS's webhook leaves a pod out.
const skipWebhook = "eks.amazonaws.com/skip-pod-identity-webhook"

// TestMigration follows docs/migration.md: it applies what users of kube2iam, kiam and IRSA have,
// and types the commands that the page shows. Pods of the Deployments are made here, as no
// controller of Kubernetes runs.
func TestMigration(t *testing.T) {
	c := start(t)
	m := &migration{cluster: c, doc: readMigration(t), kubeconfig: c.adminKubeconfig(t), deployments: map[string]*appsv1.Deployment{}}
	c.createNamespace(t, optedIn, map[string]string{injectLabel: "true"})
	c.createNamespace(t, unlabeled, nil)
	c.apply(t, render(t, "injection"))
	c.annotateAccounts(t)
	c.awaitInjection(t)
	c.serveWebhook(t, "eks", addRoleARN, &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: skipWebhook, Operator: metav1.LabelSelectorOpDoesNotExist}},
	})
	for _, tool := range []string{"kube2iam", "kiam", "IAM roles for service accounts (IRSA)"} {
		m.applyShown(t, tool)
	}
	eventually(t, "the webhook is called", func() bool { return m.becomes(t, "cart").Spec.Containers[0].Env != nil })

	t.Run("kube2iam", m.testKube2iam)
	t.Run("kiam", m.testKiam)
	t.Run("IRSA", m.testIRSA)
	t.Run("rights of the namespaces", m.testShownRights)
}

// migration is the page and what was applied of it.
type migration struct {
	*cluster

	doc         string
	kubeconfig  string
	deployments map[string]*appsv1.Deployment
	namespaces  []*corev1.Namespace
}

func readMigration(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns the text below a heading, up to the next one.
func (m *migration) section(t *testing.T, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(m.doc, "# "+heading+"\n")
	if !found {
		t.Fatalf("docs/migration.md has no heading %q", heading)
	}
	if end := regexp.MustCompile(`(?m)^#+ `).FindStringIndex(text); end != nil {
		text = text[:end[0]]
	}
	return text
}

// blocks returns what a section shows between fences of a language.
func (m *migration) blocks(t *testing.T, heading, language string) []string {
	t.Helper()
	var blocks []string
	for _, match := range regexp.MustCompile("(?ms)^( *)```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(m.section(t, heading), -1) {
		blocks = append(blocks, regexp.MustCompile("(?m)^"+match[1]).ReplaceAllString(match[2], ""))
	}
	if len(blocks) == 0 {
		t.Fatalf("section %q shows no %s", heading, language)
	}
	return blocks
}

// command returns the one command of a section that begins so, with the lines it continues on. It
// is for the namespace payments, and is returned for another one.
func (m *migration) command(t *testing.T, heading, begins, namespace string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ {4,}`+regexp.QuoteMeta(begins)+`(.*[|\\]\n)*.*$`).FindAllString(m.section(t, heading), -1)
	if len(found) != 1 {
		t.Fatalf("section %q shows %d commands %q, want one", heading, len(found), begins)
	}
	return strings.ReplaceAll(found[0], "payments", namespace)
}

// run has a shell run a command that the page shows, and returns what it prints.
func (m *migration) run(t *testing.T, command string) string {
	t.Helper()
	return m.shell(t, m.kubeconfig, command)
}

// applyShown applies the manifests that a section shows first, and remembers them.
func (m *migration) applyShown(t *testing.T, heading string) {
	t.Helper()
	for _, object := range decode(t, m.blocks(t, heading, "yaml")[0]) {
		if object.GetKind() == "Namespace" {
			m.namespaces = append(m.namespaces, convert[corev1.Namespace](t, object))
		}
		if object.GetKind() == "Deployment" {
			m.deployments[object.GetName()] = convert[appsv1.Deployment](t, object)
		}
		m.applyOnceKnown(t, object)
	}
}

func decode(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(text, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatalf("%v:\n%s", err, document)
		}
		objects = append(objects, object)
	}
	return objects
}

func convert[T any](t *testing.T, object *unstructured.Unstructured) *T {
	t.Helper()
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err != nil {
		t.Fatal(err)
	}
	return typed
}

// becomes returns what a pod of a Deployment of the page would be.
func (m *migration) becomes(t *testing.T, deployment string, changes ...podChange) *corev1.Pod {
	t.Helper()
	d := m.deployments[deployment].DeepCopy()
	pod := podOf(d.Namespace, d.Spec.Template)
	for _, change := range changes {
		change(pod)
	}
	m.admit(t, pod)
	return pod
}

// opt types the commands that move a namespace to this controller.
func (m *migration) opt(t *testing.T, namespace string) {
	t.Helper()
	const section = "Namespace by namespace, without touching workloads"
	m.run(t, m.command(t, section, "kubectl label namespace", namespace))
	m.run(t, m.command(t, section, "kubectl label serviceaccounts", namespace))
}

// back types the commands of the way back. No controller acts on the restart.
func (m *migration) back(t *testing.T, namespace string) {
	t.Helper()
	m.run(t, m.command(t, "The way back", "kubectl label namespace", namespace))
	m.run(t, m.command(t, "The way back", "kubectl rollout restart", namespace))
}

// awaitSecret waits until pods of a Deployment get a Secret, or none.
func (m *migration) awaitSecret(t *testing.T, deployment, secret string, changes ...podChange) {
	t.Helper()
	eventually(t, fmt.Sprintf("pods of %s have Secret %q", deployment, secret), func() bool {
		return secretOf(m.becomes(t, deployment, changes...)) == secret
	})
}

// testKube2iam moves the namespace of kube2iam there and back, with a default role.
func (m *migration) testKube2iam(t *testing.T) {
	const payments, section = "payments", "Namespace by namespace, without touching workloads"
	noAnnotation := func(p *corev1.Pod) { p.Annotations = nil }
	running, before := m.pod("orders", "running"), m.becomes(t, "orders")
	if err := m.Create(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	m.createAccount(t, payments, "default", nil) // as a controller of Kubernetes does
	if secret := secretOf(before); secret != "" {
		t.Fatalf("without the label a pod has Secret %s", secret)
	}
	m.opt(t, payments)
	m.awaitSecret(t, "orders", "aws-iam-orders")
	m.awaitSecret(t, "orders", "", noAnnotation)
	m.run(t, m.command(t, "A default role", "kubectl annotate serviceaccount", payments))
	m.awaitSecret(t, "orders", "aws-iam.default", noAnnotation)
	m.awaitSecret(t, "orders", "aws-iam-orders")
	for deployment, secret := range map[string]string{"reports": "", "cart": ""} {
		m.awaitSecret(t, deployment, secret)
	}

	m.testLook(t)
	mailer := m.pod("orders", "mailer")
	mailer.Annotations = nil
	for _, pod := range []*corev1.Pod{m.pod("orders", "orders"), mailer} {
		if err := m.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	pods := m.run(t, m.command(t, section, "kubectl get pods --namespace payments --output 'custom-columns", payments))
	if want := m.blocks(t, section, "")[0]; pods != want {
		t.Errorf("the page shows\n%s\nand kubectl prints\n%s", want, pods)
	}
	m.back(t, payments)
	m.awaitSecret(t, "orders", "")
	m.awaitSecret(t, "orders", "", noAnnotation)
	if after := m.becomes(t, "orders"); !slices.Equal(envOf(after)["orders"], envOf(before)["orders"]) {
		t.Errorf("after the way back it has %v, before %v", envOf(after), envOf(before))
	}
}

// testLook types the command that shows what a pod would be.
func (m *migration) testLook(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Logf("without jq the command is not tried: %v", err)
		return
	}
	look := m.command(t, "Namespace by namespace, without touching workloads", "kubectl get deployment orders", "payments")
	if got := m.run(t, look); got != "aws-iam-orders" {
		t.Errorf("%s prints %q", look, got)
	}
}

// pod returns a pod of a Deployment with a name of its own.
func (m *migration) pod(deployment, name string) *corev1.Pod {
	d := m.deployments[deployment].DeepCopy()
	pod := podOf(d.Namespace, d.Spec.Template)
	pod.GenerateName, pod.Name = "", name
	return pod
}

// testKiam moves the namespace of kiam, whose role no plain name can hold.
func (m *migration) testKiam(t *testing.T) {
	const escaped = "aws-role.0reports---reader0"
	if !strings.Contains(m.section(t, "kiam"), "`"+escaped+"`") {
		t.Errorf("the page does not name %s", escaped)
	}
	m.awaitSecret(t, "reports", "")
	m.opt(t, "reporting")
	m.awaitSecret(t, "reports", escaped)
	m.back(t, "reporting")
	m.awaitSecret(t, "reports", "")
}

// testIRSA moves the namespace of IRSA: of the webhook and the policies only one acts on a pod.
func (m *migration) testIRSA(t *testing.T) {
	const shop, irsa = "shop", "IAM roles for service accounts (IRSA)"
	hasARN := func(p *corev1.Pod) bool {
		return slices.ContainsFunc(envOf(p)["cart"], func(e string) bool { return strings.HasPrefix(e, "AWS_ROLE_ARN=") })
	}
	byWebhook := func() bool { p := m.becomes(t, "cart"); return secretOf(p) == "" && hasARN(p) }
	m.apply(t, decode(t, m.blocks(t, irsa, "yaml")[1]))
	if !byWebhook() {
		t.Error("before, the webhook does not act")
	}
	m.opt(t, shop)
	eventually(t, "only the policies act", func() bool { p := m.becomes(t, "cart"); return secretOf(p) == "aws-iam.cart" && !hasARN(p) })
	if p := m.becomes(t, "cart", labeled("false")); secretOf(p) != "" || !hasARN(p) {
		t.Errorf("a pod that stays with the webhook has Secret %q and variables %v", secretOf(p), envOf(p))
	}
	m.back(t, shop)
	eventually(t, "only the webhook acts", byWebhook)
}

// addRoleARN is a webhook that does what EKS's does, for every pod that it sees.
func addRoleARN(w http.ResponseWriter, r *http.Request) {
	var review admissionreviewv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var pod corev1.Pod
	response := &admissionreviewv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err == nil && pod.Spec.ServiceAccountName == "cart" && pod.Spec.Containers[0].Env == nil {
		response.PatchType = new(admissionreviewv1.PatchTypeJSONPatch)
		response.Patch = []byte(`[{"op":"add","path":"/spec/containers/0/env","value":[{"name":"AWS_ROLE_ARN","value":"x"}]}]`)
	}
	review.Response, review.Request = response, nil
	if err := json.NewEncoder(w).Encode(review); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// testShownRights asks in the mode Namespace for the roles that the page's Deployments have.
func (m *migration) testShownRights(t *testing.T) {
	under, err := role.ParseBase(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range m.namespaces {
		authorize := authorization.Namespace(func(context.Context, string) (map[string]string, error) { return namespace.Annotations, nil })
		for reference, want := range map[string]map[string]bool{
			"orders": {"payments": true}, "fallback": {"payments": true}, "team/a": {"payments": true}, "reports-Reader": {"reporting": true}, "other": nil,
		} {
			arn, err := under.Resolve(reference)
			if err != nil {
				t.Fatal(err)
			}
			decision, err := authorize(t.Context(), authorization.Request{Subject: authorization.Subject{Namespace: namespace.Name, ServiceAccount: "default"}, Role: arn, Base: under})
			if err != nil || decision.Allowed != want[namespace.Name] {
				t.Errorf("role %s in namespace %s: %+v, %v", reference, namespace.Name, decision, err)
			}
		}
	}
}
