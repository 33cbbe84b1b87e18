// Package chart_test compares the Helm chart with config/, which is the source, and tries its
// values.
package chart_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	chartcommon "helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	name = "kube-aws-iam-controller"
	// folder is the chart's.
	folder = "../../charts/" + name
	// home is the namespace of config/, and elsewhere one that only the chart can be installed
	// into.
	home      = "kube-system"
	elsewhere = "elsewhere"
)

// identities are what aws.identity takes beside none: the folders of config/overlays.
func identities(t *testing.T) []string {
	t.Helper()
	folders, err := os.ReadDir("../../config/overlays")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, folder := range folders {
		names = append(names, folder.Name())
	}
	return names
}

// values reads a file of values.
func values(t *testing.T, file string) map[string]any {
	t.Helper()
	v, err := chartcommon.ReadValuesFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ci is the file of values for an identity.
func ci(identity string) string { return folder + "/ci/" + identity + "-values.yaml" }

// capabilities are those of Kubernetes 1.36.
func capabilities() *chartcommon.Capabilities {
	c := chartcommon.DefaultCapabilities.Copy()
	c.APIVersions = append(slices.Clone(c.APIVersions), "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")
	return c
}

// template is helm template: the text of each file in templates/. The error is what a user sees of
// wrong values.
func template(t *testing.T, namespace string, values map[string]any) (map[string]string, error) {
	t.Helper()
	chart, err := loader.LoadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	release := chartcommon.ReleaseOptions{Name: "release", Namespace: namespace, Revision: 1, IsInstall: true}
	merged, err := util.ToRenderValues(chart, values, release, capabilities())
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, merged)
	if err != nil {
		return nil, err
	}
	templates := map[string]string{}
	for file, text := range files {
		templates[path.Base(file)] = text
	}
	return templates, nil
}

// helm are the objects of the chart.
func helm(t *testing.T, namespace string, values map[string]any) []*unstructured.Unstructured {
	t.Helper()
	files, err := template(t, namespace, values)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for file, text := range files {
		if strings.HasSuffix(file, ".yaml") {
			objects = append(objects, decode(t, []byte(text))...)
		}
	}
	return objects
}

// kustomize are the objects of a folder, relative to the repository.
func kustomize(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	return decode(t, goRun(t, "-C", "../../hack/tools", "tool", "kustomize", "build", "../../"+folder))
}

// decode reads the objects of a stream of YAML.
func decode(t *testing.T, text []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(&object.Object); {
		case errors.Is(err, io.EOF):
			return objects
		case err != nil:
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// goRun runs the go command and returns what it prints.
func goRun(t *testing.T, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...) //nolint:gosec // all arguments are in these files
	var problem bytes.Buffer
	command.Stderr = &problem
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, &problem)
	}
	return out
}

func TestLint(t *testing.T) {
	for _, identity := range identities(t) {
		for _, message := range lint.RunAll(folder, values(t, ci(identity)), home).Messages {
			if message.Severity > support.InfoSev {
				t.Errorf("%s: %s", identity, message)
			}
		}
	}
}

// TestNotes checks that the notes say what is left to do.
func TestNotes(t *testing.T) {
	says := map[string]string{
		"instance-role":  "must allow pod security\nlevel privileged",
		"pod-identity":   "create-pod-identity-association --cluster-name <cluster> --namespace elsewhere --service-account " + name,
		"seed":           "scripts/bootstrap.sh --namespace elsewhere <role-arn>",
		"roles-anywhere": "Secret elsewhere/kube-aws-iam-controller-certificate\nof type kubernetes.io/tls",
		"user-keys":      "kubectl --namespace elsewhere create secret generic kube-aws-iam-controller-user-keys --from-file credentials",
		"web-identity":   "system:serviceaccount:elsewhere:" + name,
	}
	for _, identity := range identities(t) {
		files, err := template(t, elsewhere, values(t, ci(identity)))
		if err != nil {
			t.Fatal(err)
		}
		if notes := files["NOTES.txt"]; says[identity] == "" || !strings.Contains(notes, says[identity]) || strings.Contains(notes, home) {
			t.Errorf("%s: the notes do not say %q:\n%s", identity, says[identity], notes)
		}
	}
}

// TestNotes_GiveAServiceAccountARole checks what the notes say about the rights that the values ask
// for.
func TestNotes_GiveAServiceAccountARole(t *testing.T) {
	const annotate = "kubectl annotate serviceaccount --namespace <namespace> <serviceaccount> iam.amazonaws.com/role=<role-arn>\n"
	const role = "kubectl create role --namespace <namespace> assume-<serviceaccount> --verb=assume --resource=awsiamroles.zalando.org --resource-name=<role-arn>\n"
	const binding = "kubectl create rolebinding --namespace <namespace> assume-<serviceaccount> --role=assume-<serviceaccount> --serviceaccount=<namespace>:<serviceaccount>\n"
	const byNamespace, findsNone, noIdentity = "allowed-roles='[\"<role-arn>\"]'\n", "If it finds none, set aws.identity", "needs no AWS identity"
	const trust = "audience\nsts.amazonaws.com and subject system:serviceaccount:<namespace>:<serviceaccount>.\n"
	for _, c := range []struct {
		values        string
		says, saysNot []string
	}{
		{"", []string{annotate, role, binding, findsNone}, []string{byNamespace, noIdentity, "AssumeRoleWithWebIdentity"}},
		{"aws: {identity: seed}", []string{annotate, role, binding}, []string{findsNone}},
		{"flags: {authorization-mode: [Namespace, RBAC]}", []string{role, binding}, []string{byNamespace}},
		{"flags: {authorization-mode: [Namespace]}", []string{annotate, byNamespace}, []string{role, binding}},
		{"flags: {authorization-mode: [RBAC, AlwaysAllow]}", []string{annotate}, []string{role, binding, byNamespace}},
		{"flags: {mount-path: /meta/aws}", []string{"at /meta/aws and", "AWS_SHARED_CREDENTIALS_FILE=/meta/aws/credentials.process"}, []string{"aws-iam/"}},
		{"serviceAccountIdentity: web-identity", []string{annotate, trust, noIdentity, "set aws.region"}, []string{role, binding, byNamespace, findsNone}},
		{"{serviceAccountIdentity: web-identity, webIdentityAudiences: [b, a]}", []string{"audience\nb and subject"}, nil},
		{"{serviceAccountIdentity: web-identity, aws: {identity: seed}}", []string{annotate, trust, "scripts/bootstrap.sh"}, []string{role, binding, noIdentity}},
		{"{serviceAccountIdentity: web-identity, flags: {authorization-mode: [Namespace]}}", []string{annotate}, []string{byNamespace}},
	} {
		t.Run(c.values, func(t *testing.T) {
			files, err := template(t, elsewhere, read(t, c.values))
			if err != nil {
				t.Fatal(err)
			}
			notes := files["NOTES.txt"]
			for _, text := range append(c.says, "Pods of the ServiceAccount, and no others, mount the Secret aws-iam.<serviceaccount>") {
				if !strings.Contains(notes, text) {
					t.Errorf("the notes do not say %q:\n%s", text, notes)
				}
			}
			for _, text := range c.saysNot {
				if strings.Contains(notes, text) {
					t.Errorf("the notes say %q:\n%s", text, notes)
				}
			}
		})
	}
}
