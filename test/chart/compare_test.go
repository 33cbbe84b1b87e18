package chart_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestSameAsKustomize compares all that the chart renders with what kustomize builds: in the
// namespace of config/, and in another.
func TestSameAsKustomize(t *testing.T) {
	type pair struct {
		kustomization string
		values        map[string]any
	}
	pairs := []pair{
		{"config/default", nil},
		{"test/chart/testdata/injection", values(t, "testdata/injection/values.yaml")},
		{"test/chart/testdata/patched", values(t, "testdata/patched/values.yaml")},
	}
	for _, identity := range identities(t) {
		pairs = append(pairs, pair{"config/overlays/" + identity, values(t, ci(identity))})
	}
	for _, p := range pairs {
		t.Run(p.kustomization, func(t *testing.T) {
			built := kustomize(t, p.kustomization)
			for _, namespace := range []string{home, elsewhere} {
				want, got := normal(t, moved(t, built, namespace)), normal(t, helm(t, namespace, p.values))
				if len(want) < 15 {
					t.Errorf("kustomize builds no more than %d objects", len(want))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("in namespace %s, - is kustomize and + is the chart:\n%s", namespace, diff)
				}
			}
		})
	}
}

// moved is what kustomize builds, in another namespace: everywhere but where Kubernetes' own
// controllers are meant.
func moved(t *testing.T, objects []*unstructured.Unstructured, namespace string) []*unstructured.Unstructured {
	t.Helper()
	var pairs []string
	for _, kept := range []string{"generic-garbage-collector", "storage-version-migrator-controller", "namespace-controller"} {
		pairs = append(pairs, home+":"+kept, home+":"+kept)
	}
	words := strings.NewReplacer(append(pairs, home, namespace)...)
	var all []*unstructured.Unstructured
	for _, object := range objects {
		all = append(all, changed(t, object, words.Replace))
	}
	return all
}

// changed is a copy of an object whose JSON has been changed.
func changed(t *testing.T, object *unstructured.Unstructured, change func(string) string) *unstructured.Unstructured {
	t.Helper()
	text, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, []byte(change(string(text))))[0]
}

// generated is the suffix by which kustomize makes pods restart when a ConfigMap changes; the chart
// has an annotation for that.
var generated = regexp.MustCompile(`^(kube-aws-iam-controller-aws)-[a-z0-9]{10}$`)

// blank are the empty lines that kustomize puts into folded text. They mean nothing in an
// expression.
var blank = regexp.MustCompile(`(\\n)+`)

// normal are objects by what they are called, without what the two tools do differently by their
// nature. Everything beyond that must be the same to the letter.
func normal(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	all := map[string]any{}
	var d, settings map[string]any
	for _, object := range objects {
		object = changed(t, object, func(text string) string { return blank.ReplaceAllString(text, `\n`) })
		object.SetName(generated.ReplaceAllString(object.GetName(), "$1"))
		switch object.GetKind() {
		case "ConfigMap":
			settings, _ = object.Object["data"].(map[string]any)
		case "Deployment":
			d = object.Object
		case "CustomResourceDefinition":
			unstructured.RemoveNestedField(object.Object, "metadata", "annotations", "helm.sh/resource-policy")
		}
		key := object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
		if all[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		all[key] = object.Object
	}
	normalDeployment(t, d, settings)
	return all
}

// normalDeployment makes the arguments a set, of which the last of two counts, with variables of
// the ConfigMap filled in as Kubernetes does.
func normalDeployment(t *testing.T, d, settings map[string]any) {
	t.Helper()
	unstructured.RemoveNestedField(d, "spec", "template", "metadata", "annotations", "checksum/aws")
	containers, found, err := unstructured.NestedSlice(d, "spec", "template", "spec", "containers")
	if err != nil || !found || len(containers) != 1 {
		t.Fatalf("the Deployment has %d containers: %v", len(containers), err)
	}
	container, _ := containers[0].(map[string]any)
	list, _ := container["args"].([]any)
	args := map[string]any{}
	for _, each := range list {
		arg, _ := each.(string)
		for name, value := range settings {
			if variable := "$(" + name + ")"; strings.Contains(arg, variable) {
				text, _ := value.(string)
				arg = strings.ReplaceAll(arg, variable, text)
				delete(settings, name)
			}
		}
		flag, value, given := strings.Cut(arg, "=")
		if !given {
			value = "true"
		}
		args[flag] = value
	}
	container["args"] = args
	sources, _ := container["envFrom"].([]any)
	for _, each := range sources {
		from, _ := each.(map[string]any)
		reference, _ := from["configMapRef"].(map[string]any)
		name, _ := reference["name"].(string)
		reference["name"] = generated.ReplaceAllString(name, "$1")
	}
	if err := unstructured.SetNestedSlice(d, containers, "spec", "template", "spec", "containers"); err != nil {
		t.Fatal(err)
	}
}
