package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/metrics"
)

// answer is what the API server says to a Secret that a policy should refuse.
type answer func(policy string) error

// says is the answer that an error is.
func says(err error) answer { return func(string) error { return err } }

// denies is the answer of a policy of that name and ending.
func denies(ending string) answer {
	return func(policy string) error {
		return apierrors.NewForbidden(corev1.Resource("secrets"), "", fmt.Errorf(
			"ValidatingAdmissionPolicy '%s' with binding 'binding' denied request: no", policy+ending))
	}
}

// TestPolicyProbe has the attempts for each policy answered in turn; the last answer stands.
func TestPolicyProbe(t *testing.T) {
	const unknown = -1
	noRight := apierrors.NewForbidden(corev1.Resource("secrets"), "", errors.New(`User "x" cannot create resource "secrets"`))
	away := apierrors.NewServiceUnavailable("away")
	for _, test := range []struct {
		name    string
		answers []answer
		inForce float64
	}{
		{"refused by the policy", []answer{denies("")}, 1},
		{"not refused", []answer{says(nil)}, 0},
		{"refused once the API server knows the policy", []answer{says(nil), says(nil), denies("")}, 1},
		{"refused once the API server answers", []answer{says(away), says(away), denies("")}, 1},
		{"refused by another policy", []answer{denies("-of-another-project")}, unknown},
		{"without the right to create Secrets", []answer{says(noRight)}, unknown},
		{"an API server that is away", []answer{says(away)}, unknown},
		{"an API server that goes away", []answer{says(nil), says(away)}, unknown},
		{"a time-out", []answer{says(context.DeadlineExceeded)}, unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			attempts := map[string]int{}
			clientset := fake.NewClientset()
			clientset.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
				s := checkProbe(t, action)
				if action.GetNamespace() == "closed" {
					return true, nil, noRight
				}
				policy := policySecretLabel
				if len(s.Labels) == 0 {
					policy = policySecretWrites
				}
				next := test.answers[min(attempts[policy], len(test.answers)-1)]
				attempts[policy]++
				return true, s, next(policy)
			})
			registry := prometheus.NewRegistry()
			set, _, err := metrics.New(registry).RegisterPolicies()
			if err != nil {
				t.Fatal(err)
			}
			probe := policyProbe{
				secrets: clientset.CoreV1(), namespaces: []string{"closed", "home"}, set: set, retry: wait.Backoff{Steps: 4}, log: logr.Discard(),
			}
			if err := probe.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			inForce := policiesInForce(t, registry)
			for _, policy := range []string{policySecretWrites, policySecretLabel} {
				value, known := inForce[policy]
				if known != (test.inForce != unknown) || known && value != test.inForce {
					t.Errorf("%s: %v, known: %v", policy, value, known)
				}
			}
		})
	}
}

// checkProbe checks that what is tried is stored nowhere, and is refused by no more than one
// policy.
func checkProbe(t *testing.T, action clienttesting.Action) *corev1.Secret {
	t.Helper()
	create, ok := action.(clienttesting.CreateActionImpl)
	if !ok || !slices.Equal(create.CreateOptions.DryRun, []string{metav1.DryRunAll}) {
		t.Error("it is no dry run")
	}
	s, ok := create.Object.(*corev1.Secret)
	if managed, opaque := s.Labels["heritage"] == controllers.Name, s.Type == corev1.SecretTypeOpaque; !ok || managed == opaque || len(s.Data)+len(s.StringData) > 0 {
		t.Errorf("it tries %+v", s)
	}
	return s
}

// policiesInForce returns the samples of the metric.
func policiesInForce(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, family := range families {
		if family.GetName() == "kube_aws_iam_controller_admission_policy_in_force" {
			for _, m := range family.GetMetric() {
				samples[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return samples
}

func TestProbeNamespaces(t *testing.T) {
	self := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "home"}}
	for _, test := range []struct {
		name    string
		options Options
		want    []string
	}{
		{"its own", Options{Self: self}, []string{"home"}},
		{"its own, and one that it serves", Options{Self: self, Namespaces: []string{"b", "a"}}, []string{"home", "a"}},
		{"one that it serves", Options{Namespaces: []string{"b", "a"}}, []string{"a"}},
		{"outside of a cluster", Options{Self: &corev1.Pod{}}, []string{"kube-system", "default"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.options.probeNamespaces(); !slices.Equal(got, test.want) {
				t.Errorf("%q and not %q", got, test.want)
			}
		})
	}
}
