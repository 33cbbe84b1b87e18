// Package manifests_test applies the manifests to a real API server, and runs the controller with
// the rights they give it.
package manifests_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"kube-aws-iam-controller/test/env"
)

const (
	name      = "kube-aws-iam-controller"
	namespace = "kube-system"
	// samples is the namespace of config/samples.
	samples = "demo"
)

// TestManifests goes through what a user does, in this order: apply the manifests, and have the
// controller run from them.
func TestManifests(t *testing.T) {
	c := start(t)
	for _, namespace := range []string{namespace, samples} {
		c.restrict(t, namespace)
	}
	for _, folder := range []string{"default", "samples"} {
		for _, object := range render(t, folder) {
			t.Run(folder+"/"+object.GetKind()+"/"+object.GetName(), func(t *testing.T) {
				c.warnings.t = t
				c.applyOnceKnown(t, object)
			})
		}
	}
	if t.Failed() {
		t.FailNow() // what follows is about what was applied
	}
	c.warnings.t = t
	t.Run("pod security", c.testPodSecurity)
	t.Run("deployment", c.testDeployment)
	t.Run("rights", c.testRights)
	t.Run("overlays", c.testOverlays)
	t.Run("admission", c.testAdmission)
	t.Run("controller", c.testController)
	t.Run("Lease of some namespaces", c.testLease)
	t.Run("components", c.testComponents)
	t.Run("web identity for each ServiceAccount", c.testWebIdentity)
	t.Run("another namespace", c.testNamespace)
	t.Run("installer", c.testInstaller) // the last: it installs injection, too
}

// applyOnceKnown applies an object as soon as the API server knows its kind, if that was only just
// applied, and who may have a pod's roles.
func (c *cluster) applyOnceKnown(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	var last error
	eventually(t, "it is accepted", func() bool {
		last = c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("kustomize"))
		return !meta.IsNoMatchError(last) && !apierrors.IsNotFound(last) && !apierrors.IsForbidden(last)
	})
	if last != nil {
		t.Fatal(last)
	}
}

// cluster is a client of an API server, with all rights.
type cluster struct {
	client.Client

	env      *envtest.Environment
	warnings *warnings
	// injection is the folder of the policies that inject.
	injection string
}

// start starts an API server for the time of a test.
func start(t *testing.T) *cluster {
	t.Helper()
	return startAs(t, &envtest.Environment{})
}

// startAs starts an API server with settings of its own.
func startAs(t *testing.T, settings *envtest.Environment) *cluster {
	t.Helper()
	env.RequireAPIServer(t)
	c := &cluster{env: settings, warnings: &warnings{t}, injection: "injection"}
	cfg, err := c.env.Start()
	t.Cleanup(func() {
		if err := c.env.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.WarningHandlerWithContext = c.warnings
	if c.Client, err = client.New(cfg, client.Options{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// warnings makes a test fail when the API server takes something but warns about it, such as of a
// field that is going away.
type warnings struct{ t *testing.T }

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.t.Error("the API server warns: " + text)
}

var _ rest.WarningHandlerWithContext = (*warnings)(nil)

// restrict makes a namespace refuse pods that are not of pod security level restricted, and warn of
// templates of such pods.
func (c *cluster) restrict(t *testing.T, namespace string) {
	t.Helper()
	n := &unstructured.Unstructured{}
	n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	n.SetName(namespace)
	n.SetLabels(map[string]string{
		"pod-security.kubernetes.io/enforce":         "restricted",
		"pod-security.kubernetes.io/enforce-version": "latest",
		"pod-security.kubernetes.io/warn":            "restricted",
		"pod-security.kubernetes.io/warn-version":    "latest",
	})
	if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(n), client.FieldOwner("test")); err != nil {
		t.Fatal(err)
	}
}

// render is kustomize build: the objects of a folder of config.
func render(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	noticeChanges(t)
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(goRun(t, "-C", "../hack/tools", "tool", "kustomize", "build", "../../config/"+folder)), 4096)
	for {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(object); {
		case errors.Is(err, io.EOF):
			return objects
		case err != nil:
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}

// noticeChanges looks at all manifests, so that the go command knows that a result from its cache
// is void when one of them changes: it does not see what kustomize reads.
func noticeChanges(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
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

// get reads an object that must be there.
func (c *cluster) get(t *testing.T, object client.Object, namespace, name string) {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
}

// samplePods are the pods of config/samples.
func (c *cluster) samplePods(t *testing.T) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace(samples)); err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) == 0 {
		t.Fatal("config/samples has no pods")
	}
	return pods.Items
}

// podOf makes a pod that is not in the cluster yet.
func podOf(namespace string, t corev1.PodTemplateSpec) *corev1.Pod { //nolint:gocritic // as a ReplicaSet has it
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "copy-", Labels: t.Labels, Annotations: t.Annotations},
		Spec:       t.Spec,
	}
}
