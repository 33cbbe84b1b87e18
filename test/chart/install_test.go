package chart_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// TestInstall applies what the chart renders for each identity to a real API server, which then
// admits the controller's pod: on pod security level restricted, in the node's network on level
// privileged.
func TestInstall(t *testing.T) {
	c := start(t)
	for _, identity := range identities(t) {
		t.Run(identity, func(t *testing.T) {
			level := "restricted"
			if identity == "instance-role" {
				level = "privileged"
			}
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: identity, Labels: map[string]string{"pod-security.kubernetes.io/enforce": level}}}
			if err := c.Create(t.Context(), namespace); err != nil {
				t.Fatal(err)
			}
			objects := helm(t, identity, values(t, ci(identity)))
			// As helm install does: the resource's definition goes before the resource.
			slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return order(a) - order(b) })
			var pod *corev1.Pod
			for _, object := range objects {
				apply(t, c, object)
				if object.GetKind() == "Deployment" {
					pod = podOf(t, object)
				}
			}
			eventually(t, "its pod is admitted", func() error {
				return c.Create(t.Context(), pod.DeepCopy(), client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
			})
		})
	}
}

// start starts an API server for the time of a test.
func start(t *testing.T) client.Client {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		const message = "needs an API server: run make test, or export KUBEBUILDER_ASSETS=$(hack/localapi/build.sh)"
		if os.Getenv("REQUIRE_API_SERVER") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	env := &envtest.Environment{}
	config, err := env.Start()
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func order(object *unstructured.Unstructured) int {
	return slices.Index([]string{"CustomResourceDefinition", "ServiceAccount"}, object.GetKind()) * -1
}

// apply applies an object, unknown fields refused, as soon as the API server knows its kind.
func apply(t *testing.T, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	eventually(t, object.GetKind()+" "+object.GetName()+" is accepted", func() error {
		return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.FieldOwner("helm"), client.ForceOwnership)
	})
}

// eventually tries until the API server has learnt of what was just written. Other refusals than
// for that are final.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		last = try()
		learning := meta.IsNoMatchError(last) || apierrors.IsNotFound(last) || apierrors.IsForbidden(last) && strings.Contains(last.Error(), "ValidatingAdmissionPolicy")
		return !learning, nil
	})
	if err != nil || last != nil {
		t.Fatalf("not so: %s: %v", what, last)
	}
}

// podOf is the pod that a Deployment makes.
func podOf(t *testing.T, object *unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &d, true); err != nil {
		t.Fatal(err)
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, GenerateName: "pod-", Labels: d.Spec.Template.Labels, Annotations: d.Spec.Template.Annotations},
		Spec:       d.Spec.Template.Spec,
	}
}
