package manifests_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"kube-aws-iam-controller/test/env"
)

// TestInjectionByKyverno creates the pods of TestInjection where the API server has no
// MutatingAdmissionPolicies and Kyverno has config/injection-kyverno. KYVERNO is the folder that
// hack/kyverno/build.sh prints.
func TestInjectionByKyverno(t *testing.T) {
	folder := os.Getenv("KYVERNO")
	if folder == "" {
		t.Skip("needs Kyverno: run make kyverno")
	}
	settings := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join(folder, "crds")}}
	settings.ControlPlane.GetAPIServer().Configure().Append("feature-gates", "MutatingAdmissionPolicy=false").
		Append("runtime-config", "admissionregistration.k8s.io/v1/mutatingadmissionpolicies=false")
	c := startAs(t, settings)
	c.injection = "injection-kyverno"
	c.startKyverno(t, filepath.Join(folder, "kyverno"))
	c.createNamespace(t, optedIn, map[string]string{injectLabel: "true"})
	c.createNamespace(t, unlabeled, nil)
	c.apply(t, render(t, c.injection))
	eventually(t, "Kyverno answers", func() bool {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: optedIn, Name: "probe", Annotations: map[string]string{roleAnnotation: "orders"}}}
		return c.Create(t.Context(), account, client.DryRunAll) == nil && account.Labels[annotatedLabel] == "true"
	})
	c.annotateAccounts(t)
	c.awaitInjection(t)

	t.Run("ServiceAccount and pod at once", func(t *testing.T) {
		for i := range 50 {
			account := fmt.Sprintf("at-once-%d", i)
			c.createAccount(t, optedIn, account, map[string]string{roleAnnotation: "orders"})
			pod := appPod(optedIn, account)
			if c.admit(t, pod); secretOf(pod) != "aws-iam."+account {
				t.Errorf("pod %d is not injected", i)
			}
		}
	})
	t.Run("which Secret", c.testInjectedSecret)
	t.Run("what is added", c.testInjectedParts)
	t.Run("the endpoint", c.testInjectedEndpoint)
	t.Run("the endpoint and pod security", c.testEndpointPodSecurity)
	t.Run("what is rejected", c.testNotInjected)
	t.Run("containers of a webhook", c.testInjectedReinvocation)
	t.Run("large pods", c.testInjectedLargePod)
	t.Run("labels of ServiceAccounts", c.testAccountLabels)
	t.Run("settings", c.testInjectionSettings)
	t.Run("role references", c.testRoleReferences)
}

// startKyverno runs Kyverno beside the API server, outside of the cluster.
func (c *cluster) startKyverno(t *testing.T, program string) {
	t.Helper()
	const kyverno = "kyverno"
	c.createNamespace(t, kyverno, nil)
	for _, name := range []string{kyverno, "metrics"} {
		if err := c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: kyverno, Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	address, err := env.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, c.env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, "--kubeconfig="+kubeconfig, "--serverIP="+address, "--webhookServerHost=127.0.0.1", //nolint:gosec // the developer's own
		"--webhookServerPort="+address[len("127.0.0.1:"):], "--caSecretName=ca", "--tlsSecretName=tls", "--disableMetrics", "--admissionReports=false", "--controllerRuntimeMetricsAddress=0")
	command.Stdout, command.Stderr = log, log
	command.Env = os.Environ()
	for _, name := range []string{"NAMESPACE", "SERVICEACCOUNT_NAME", "ROLE_NAME", "DEPLOYMENT", "SVC", "POD_NAME"} {
		command.Env = append(command.Env, "KYVERNO_"+name+"="+kyverno)
	}
	command.Env = append(command.Env, "INIT_CONFIG="+kyverno, "METRICS_CONFIG=metrics")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("Kyverno says:\n%s", text[max(0, len(text)-10_000):])
		}
	})
}
