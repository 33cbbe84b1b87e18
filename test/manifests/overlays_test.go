package manifests_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// lenient is a namespace without a pod security level.
const lenient = "lenient"

// overlays are the folders of config/overlays, each with the admission policy that refuses its pod
// without the rights that it brings, if one does, and with what pod security level restricted has
// against it, if anything.
var overlays = map[string]struct{ policy, violates string }{
	"instance-role":  {violates: "host namespaces (hostNetwork=true)"},
	"pod-identity":   {},
	"roles-anywhere": {},
	"seed":           {policy: podRole},
	"user-keys":      {},
	"web-identity":   {},
}

// testOverlays applies each overlay, but its Deployment and pods in dry run only: config/default
// stays what is here.
func (c *cluster) testOverlays(t *testing.T) {
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: lenient}}); err != nil {
		t.Fatal(err)
	}
	folders, err := os.ReadDir("overlays")
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) != len(overlays) {
		t.Errorf("%d folders are not %d overlays", len(folders), len(overlays))
	}
	known := programFlags(t)
	for _, folder := range folders {
		t.Run(folder.Name(), func(t *testing.T) { c.testOverlay(t, folder.Name(), known) })
	}
}

func (c *cluster) testOverlay(t *testing.T, overlay string, known []string) {
	t.Helper()
	expect, ok := overlays[overlay]
	if !ok {
		t.Fatal("the overlay is not in the table")
	}
	objects := assumeRole(t, overlay)
	defer c.restore(t, objects)
	var rights []*unstructured.Unstructured
	var d *appsv1.Deployment
	for _, object := range objects {
		switch {
		case object.GetKind() == "Deployment":
			d = c.tryDeployment(t, object)
		case strings.HasSuffix(object.GetName(), "-seed"):
			rights = append(rights, object)
		default:
			c.applyOnceKnown(t, object)
		}
	}
	pod := podOf(namespace, d.Spec.Template)
	if expect.policy != "" {
		eventually(t, "without rights, its pod is refused by "+expect.policy, func() bool {
			err := c.Create(t.Context(), pod.DeepCopy(), client.DryRunAll)
			return err != nil && strings.Contains(err.Error(), expect.policy)
		})
	}
	c.apply(t, rights)
	if expect.violates == "" {
		var last error
		eventually(t, "its pod is admitted", func() bool {
			last = c.Create(t.Context(), pod.DeepCopy(), client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
			return last == nil || !strings.Contains(last.Error(), "ValidatingAdmissionPolicy")
		})
		if last != nil {
			t.Error(last)
		}
	} else {
		c.checkViolation(t, pod, expect.violates)
	}
	c.checkReferences(t, d, known)
	c.checkAdoption(t, d)
}

// checkAdoption checks that of all Secrets without its label the controller may take the one of
// --seed-secret, and no other.
func (c *cluster) checkAdoption(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	seed, ownNamespace := "", strings.NewReplacer("$(POD_NAMESPACE)", namespace) // as the kubelet expands it
	for _, arg := range d.Spec.Template.Spec.Containers[0].Args {
		if value, ok := strings.CutPrefix(arg, "--seed-secret="); ok {
			seed = strings.TrimPrefix(ownNamespace.Replace(value), namespace+"/")
		}
	}
	as := c.impersonate(t, "system:serviceaccount:"+namespace+":kube-aws-iam-controller", "system:serviceaccounts", "system:authenticated")
	for _, name := range []string{"aws-iam-kube-aws-iam-controller", "kube-aws-iam-controller-iam-role", "aws-iam-other"} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		if err := c.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		adopted := s.DeepCopy()
		adopted.Labels = map[string]string{"heritage": "kube-aws-iam-controller"}
		eventually(t, "the policy is in force for "+name, func() bool {
			err := as.Update(t.Context(), adopted.DeepCopy(), client.DryRunAll)
			return (err == nil) == (name == seed) && (err == nil || strings.Contains(err.Error(), secretWrites))
		})
		// Two policies keep the seed, and the API server names either.
		err := as.Delete(t.Context(), s, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), secretWrites) && (name != seed || !strings.Contains(err.Error(), seedDelete)) {
			t.Errorf("it may delete %s: %v", name, err)
		}
		if err := c.Delete(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// checkViolation checks that a pod is refused where pod security level restricted is enforced, and
// admitted where none is, with ports on the node that keep two of them from one node.
func (c *cluster) checkViolation(t *testing.T, pod *corev1.Pod, violation string) {
	t.Helper()
	if err := c.Create(t.Context(), pod.DeepCopy(), client.DryRunAll); err == nil || !strings.Contains(err.Error(), violation) {
		t.Errorf("not refused for %q: %v", violation, err)
	}
	pod = pod.DeepCopy()
	pod.Namespace = lenient
	if err := c.Create(t.Context(), pod, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
		t.Fatal(err)
	}
	for _, port := range pod.Spec.Containers[0].Ports {
		if port.HostPort != port.ContainerPort {
			t.Errorf("the scheduler does not know that port %s is the node's", port.Name)
		}
	}
}

// checkReferences checks that what the pod refers to is there, its arguments in the program, and
// its variables in the ConfigMap.
func (c *cluster) checkReferences(t *testing.T, d *appsv1.Deployment, known []string) {
	t.Helper()
	container := d.Spec.Template.Spec.Containers[0]
	checkPorts(t, &d.Spec.Template)
	var settings corev1.ConfigMap
	c.get(t, &settings, namespace, container.EnvFrom[0].ConfigMapRef.Name)
	var mounts []string
	for _, mount := range container.VolumeMounts {
		mounts = append(mounts, mount.MountPath)
	}
	for name, value := range settings.Data {
		if strings.HasSuffix(name, "_FILE") && !slices.Contains(mounts, filepath.Dir(value)) {
			t.Errorf("%s=%s is in none of the mounts %q", name, value, mounts)
		}
	}
	assumes := false
	for _, arg := range container.Args {
		for name, value := range settings.Data {
			arg = strings.ReplaceAll(arg, "$("+name+")", value)
		}
		assumes = assumes || arg == "--assume-role=arn:aws:iam::123456789012:role/kube-aws-iam-controller-hub"
		flag, _, _ := strings.Cut(arg, "=")
		if !slices.Contains(known, flag) {
			t.Errorf("the program has no flag %s", flag)
		}
	}
	if !assumes {
		t.Errorf("the component assume-role does not do what its comment says: %q", container.Args)
	}
}

// assumeRole builds an overlay with the component assume-role on top, as the comment in that one
// shows it.
func assumeRole(t *testing.T, overlay string) []*unstructured.Unstructured {
	t.Helper()
	return renderAbove(t, func(config string) string {
		return strings.NewReplacer("../kube-aws-iam-controller/config", config, "overlays/web-identity", "overlays/"+overlay).
			Replace(shown(t, "components/assume-role"))
	})
}

// renderAbove builds a kustomization of a user's own.
func renderAbove(t *testing.T, kustomization func(config string) string) []*unstructured.Unstructured {
	t.Helper()
	return render(t, writeAbove(t, kustomization))
}

// writeAbove writes a kustomization of a user's own to a folder of its own, and returns the path
// from config/ to it. Its text is made from the path to config/.
func writeAbove(t *testing.T, kustomization func(config string) string) (folder string) {
	t.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	made := t.TempDir()
	config, err := filepath.Rel(made, here)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(made, "kustomization.yaml"), []byte(kustomization(config)), 0o600); err != nil {
		t.Fatal(err)
	}
	built, err := filepath.Rel(here, made)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// restore deletes what an overlay has and config/default has not, and applies that again.
func (c *cluster) restore(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	defaults := render(t, "default")
	for _, object := range objects {
		if !slices.ContainsFunc(defaults, func(d *unstructured.Unstructured) bool {
			return d.GetKind() == object.GetKind() && d.GetName() == object.GetName()
		}) {
			if err := c.Delete(t.Context(), object); err != nil {
				t.Error(err)
			}
		}
	}
	c.apply(t, defaults)
}

// tryDeployment applies a Deployment in dry run, where nothing warns of its pod security level.
func (c *cluster) tryDeployment(t *testing.T, object *unstructured.Unstructured) *appsv1.Deployment {
	t.Helper()
	object = object.DeepCopy()
	d := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, d, true); err != nil {
		t.Fatal(err)
	}
	object.SetNamespace(lenient)
	if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("kustomize"), client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	return d
}

// programFlags are the flags that the program knows, as its usage shows them.
func programFlags(t *testing.T) []string {
	t.Helper()
	return regexp.MustCompile(`(?m)--[a-z-]+`).FindAllString(string(goRun(t, "run", "../cmd/"+name, "--help")), -1)
}
