package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/secret"
)

// An upgrade and a change of --secret-annotation write each Secret once, with the credentials that
// it holds.
func TestTools_AnnotationsReachExistingSecrets(t *testing.T) {
	w := newTestEnv(t)
	with := func(annotations map[string]string) func(*app.Options) {
		return func(o *app.Options) { noRenewal(o); o.SecretAnnotations = annotations }
	}
	stop := w.start(with(nil))
	w.pod("app", role("orders"))
	w.awsIAMRole("reports", "reports")
	for _, name := range []string{"aws-iam-orders", "reports"} {
		if s := w.wait(name); s.Annotations[secret.ReloaderAnnotation] != "true" {
			t.Errorf("%s has the annotations %v", name, s.Annotations)
		}
	}
	stop()
	s := w.secret("aws-iam-orders") // as an earlier version wrote it
	w.patch(s, fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, secret.ReloaderAnnotation))

	calls := assumed(w.sts, "*")
	stop = w.start(with(map[string]string{"example.org/skip": "a, b"}))
	for _, name := range []string{"aws-iam-orders", "reports"} {
		w.eventually("the annotations of "+name, func() bool {
			s := w.secret(name)
			return w.isGood(s) && s.Annotations["example.org/skip"] == "a, b" && s.Annotations[secret.ReloaderAnnotation] == "true"
		})
	}
	stop()
	before := w.secret("aws-iam-orders")
	stop = w.start(with(map[string]string{"example.org/skip": "a, b"}))
	w.pod("other", role("other"))
	w.wait("aws-iam-other")
	w.checkUnchanged(before)
	stop()
	if n := assumed(w.sts, "*"); n != calls+1 {
		t.Errorf("%d calls of STS for one new Secret", n-calls)
	}
}

// manifests are what is applied with pruning: the Secret makes kubectl look for Secrets to delete.
const manifests = `
apiVersion: zalando.org/v1
kind: AWSIAMRole
metadata: {name: orders, labels: {team: shop}}
spec: {roleReference: orders}
---
apiVersion: v1
kind: Secret
metadata: {name: other}
`

// The labels by which kubectl finds what it applied are not copied, so it does not delete the
// Secret, and leave the Secrets of an earlier version.
func TestTools_ApplySetLeavesTheSecretAlone(t *testing.T) {
	w := newTestEnv(t)
	kubectl := newKubectl(t)
	w.start(noRenewal)
	apply := []string{"apply", "--prune", "--applyset=set", "--namespace", w.namespace, "--filename=-"}
	kubectl(manifests, apply...)
	before := w.wait("orders")

	r := newAWSIAMRole(w.namespace, "orders", "")
	w.read(r)
	const label = "applyset.kubernetes.io/part-of"
	if r.Labels[label] == "" || before.Labels[label] != "" || before.Labels["team"] != "shop" {
		t.Fatalf("labels of the AWSIAMRole %v, of the Secret %v", r.Labels, before.Labels)
	}
	w.patch(before, fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, label, r.Labels[label])) // as an earlier version copied it
	w.eventually("the label gone", func() bool { s := w.secret("orders"); return w.isGood(s) && s.Labels[label] == "" })

	kubectl(manifests, apply...)
	if now := w.secret("orders"); now == nil || now.UID != before.UID || accessKey(now) != accessKey(before) {
		t.Error("kubectl deleted the Secret")
	}
	if w.secret("other") == nil {
		t.Error("kubectl deleted what it applied")
	}
	if n := assumed(w.sts, "*"); n != 1 {
		t.Errorf("%d calls of STS", n)
	}
	kubectl(`{apiVersion: v1, kind: Secret, metadata: {name: last}}`, apply...)
	w.waitGone("orders") // with its AWSIAMRole, which is no longer applied
	w.waitGone("other")
}

// newKubectl returns a function that runs kubectl as the cluster's administrator, with a manifest
// as its input.
func newKubectl(t *testing.T) func(input string, args ...string) {
	t.Helper()
	program := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("there is no kubectl: make test builds it; on your own: export KUBEBUILDER_ASSETS=$(hack/localapi/build.sh kubectl): %v", err)
	}
	home := t.TempDir()
	kubeconfig := filepath.Join(home, "kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: admin.Host, CertificateAuthorityData: admin.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: admin.CertData, ClientKeyData: admin.KeyData}},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "c",
	}, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return func(input string, args ...string) {
		t.Helper()
		run := exec.CommandContext(t.Context(), program, args...) //nolint:gosec // built for this
		run.Env = []string{"HOME=" + home, "KUBECONFIG=" + kubeconfig, "KUBECTL_APPLYSET=true"}
		run.Stdin = strings.NewReader(input)
		if out, err := run.CombinedOutput(); err != nil {
			t.Fatalf("kubectl %q: %v\n%s", args, err, out)
		}
	}
}
