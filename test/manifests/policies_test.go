package manifests_test

import (
	"bytes"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// TestPodPolicies_DifferInTheirRolesOnly compares the two policies for pods, which are two only
// because one may not ask so often: they must look at the same pods, and name the same roles.
func TestPodPolicies_DifferInTheirRolesOnly(t *testing.T) {
	first, second := readPolicy(t, "admission/pods/role.yaml"), readPolicy(t, "admission/pods/roles.yaml")
	if !reflect.DeepEqual(first.Spec.MatchConstraints, second.Spec.MatchConstraints) || !reflect.DeepEqual(first.Spec.MatchConditions, second.Spec.MatchConditions) {
		t.Error("they look at different pods")
	}
	expressions := map[string]string{}
	for _, v := range second.Spec.Variables {
		expressions[v.Name] = v.Expression
	}
	shared := 0
	for _, v := range first.Spec.Variables {
		if other, ok := expressions[v.Name]; ok {
			shared++
			if other != v.Expression {
				t.Errorf("variable %s is %s, and elsewhere %s", v.Name, v.Expression, other)
			}
		}
	}
	if shared < 15 || first.Spec.Variables[0].Name != "baseRoleARN" || second.Spec.Variables[0].Name != "baseRoleARN" {
		t.Errorf("they share %d variables; the first of each is the base role ARN, for patches", shared)
	}
}

// TestServiceAccountPolicy_FindsSecretsAsPodPolicies compares the policy for the Secrets of
// ServiceAccounts with the ones for roles: they find a pod's Secrets in the same places.
func TestServiceAccountPolicy_FindsSecretsAsPodPolicies(t *testing.T) {
	roles, accounts := readPolicy(t, "admission/pods/role.yaml"), readPolicy(t, "admission/serviceaccounts/pods.yaml")
	if !reflect.DeepEqual(roles.Spec.MatchConstraints, accounts.Spec.MatchConstraints) {
		t.Error("they look at different objects")
	}
	condition := strings.ReplaceAll(roles.Spec.MatchConditions[0].Expression, ".matches('^aws-(iam-|role[.])')", ".startsWith('aws-iam.')")
	if condition != accounts.Spec.MatchConditions[0].Expression || len(accounts.Spec.MatchConditions) != 1 {
		t.Error("they look at different pods")
	}
	expressions := map[string]string{}
	for _, v := range roles.Spec.Variables {
		expressions[v.Name] = v.Expression
	}
	for _, v := range accounts.Spec.Variables {
		if v.Name != "others" && v.Expression != expressions[v.Name] {
			t.Errorf("variable %s is %s, and elsewhere %s", v.Name, v.Expression, expressions[v.Name])
		}
	}
}

// TestInjectionPolicies_DifferInTheirSecretOnly compares the two policies that inject: they look at
// different pods, and add the same.
func TestInjectionPolicies_DifferInTheirSecretOnly(t *testing.T) {
	pod := readDocument[admissionv1.MutatingAdmissionPolicy](t, "injection/pod.yaml", 0)
	own := readDocument[admissionv1.MutatingAdmissionPolicy](t, "injection/serviceaccount.yaml", 0)
	if !reflect.DeepEqual(own.Spec.Mutations, pod.Spec.Mutations) || own.Spec.ReinvocationPolicy != pod.Spec.ReinvocationPolicy {
		t.Error("they add something else")
	}
	if !reflect.DeepEqual(own.Spec.MatchConstraints.ResourceRules, pod.Spec.MatchConstraints.ResourceRules) {
		t.Error("they look at other objects")
	}
	const incomplete = "(object.spec.?containers.orValue([]) + "
	if _, of, _ := strings.Cut(pod.Spec.MatchConditions[0].Expression, incomplete); of == "" || !strings.HasSuffix(own.Spec.MatchConditions[0].Expression, incomplete+of) {
		t.Error("they do not agree when a pod is complete")
	}
	expressions := map[string]string{}
	for _, v := range pod.Spec.Variables {
		expressions[v.Name] = v.Expression
	}
	for i, v := range own.Spec.Variables {
		if v.Name != "secret" && expressions[v.Name] != v.Expression {
			t.Errorf("variable %s is %s, and in pod.yaml %s", v.Name, v.Expression, expressions[v.Name])
		}
		if (i == 1 || i == 2) && pod.Spec.Variables[i] != v {
			t.Errorf("variable %d is %s, so that one patch does not fit both", i, v.Name)
		}
	}
	// Kubernetes 1.36.0 to 1.36.4 crash the request on a list of Objects.
	endpoint := readDocument[admissionv1.MutatingAdmissionPolicy](t, "injection/endpoint.yaml", 0)
	for _, m := range endpoint.Spec.Mutations {
		if m.JSONPatch != nil && regexp.MustCompile(`value: \[\s*[^\]\s]`).MatchString(m.JSONPatch.Expression) {
			t.Error("a value of a JSON patch is a list that is not empty")
		}
	}
}

// TestInjectedPolicies_LookWhereInjectionDoes compares the policies that reject pods which were not
// injected with those that inject.
func TestInjectedPolicies_LookWhereInjectionDoes(t *testing.T) {
	pod := readDocument[admissionv1.MutatingAdmissionPolicy](t, "injection/pod.yaml", 0)
	own := readDocument[admissionv1.MutatingAdmissionPolicy](t, "injection/serviceaccount.yaml", 0)
	ownBinding := readDocument[admissionv1.MutatingAdmissionPolicyBinding](t, "injection/serviceaccount.yaml", 1)
	rejects := readDocument[admissionv1.ValidatingAdmissionPolicy](t, "injection/injected.yaml", 0)
	rejectsOwn := readDocument[admissionv1.ValidatingAdmissionPolicy](t, "injection/injected_serviceaccount.yaml", 0)
	rejectsOwnBinding := readDocument[admissionv1.ValidatingAdmissionPolicyBinding](t, "injection/injected_serviceaccount.yaml", 1)
	if !strings.HasPrefix(own.Spec.MatchConditions[0].Expression, rejectsOwn.Spec.MatchConditions[0].Expression+" && ") ||
		!reflect.DeepEqual(own.Spec.MatchConstraints.ObjectSelector, rejectsOwn.Spec.MatchConstraints.ObjectSelector) {
		t.Error("pods of annotated ServiceAccounts are injected and rejected on different conditions")
	}
	if !reflect.DeepEqual(ownBinding.Spec.ParamRef, rejectsOwnBinding.Spec.ParamRef) || !reflect.DeepEqual(ownBinding.Spec.MatchResources, rejectsOwnBinding.Spec.MatchResources) {
		t.Error("pods of annotated ServiceAccounts are injected and rejected in different places")
	}
	expressions := map[string]string{}
	for _, v := range pod.Spec.Variables {
		expressions[v.Name] = v.Expression
	}
	shared := 0
	for _, policy := range []*admissionv1.ValidatingAdmissionPolicy{rejects, rejectsOwn} {
		if v := policy.Spec.Variables[1]; v.Name != "mountPath" {
			t.Errorf("%s: the second variable is %s, so that one patch does not fit all", policy.Name, v.Name)
		}
		for _, v := range policy.Spec.Variables {
			if of, ok := expressions[v.Name]; ok && v.Name != "secret" {
				shared++
				if of != v.Expression {
					t.Errorf("%s: variable %s is %s, and in pod.yaml %s", policy.Name, v.Name, v.Expression, of)
				}
			}
		}
	}
	if shared < 15 {
		t.Errorf("they share only %d variables with pod.yaml", shared)
	}
}

func readPolicy(t *testing.T, file string) *admissionv1.ValidatingAdmissionPolicy {
	t.Helper()
	return readDocument[admissionv1.ValidatingAdmissionPolicy](t, file, 0)
}

// readDocument reads one document of a file, counted from 0.
func readDocument[T any](t *testing.T, file string, number int) *T {
	t.Helper()
	text, err := os.ReadFile(file) //nolint:gosec // in this folder
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		document := new(T)
		if err := decoder.Decode(document); err != nil {
			t.Fatal(err)
		}
		if number == 0 {
			return document
		}
		number--
	}
}

// TestInjectionWithoutServiceAccounts leaves out what its comment says how to leave out.
func TestInjectionWithoutServiceAccounts(t *testing.T) {
	var names []string
	for _, object := range overlay(t, "injection", 1, strings.NewReplacer()) {
		if strings.HasSuffix(object.GetKind(), "Policy") {
			names = append(names, strings.TrimPrefix(object.GetName(), name+"-"))
		}
		if strings.Contains(object.GetName(), "serviceaccount") || strings.Contains(object.GetName(), "annotated") {
			t.Errorf("it has %s %s", object.GetKind(), object.GetName())
		}
	}
	slices.Sort(names)
	if want := []string{"inject-endpoint", "inject-pod", "injected"}; !slices.Equal(names, want) {
		t.Errorf("the policies are %q", names)
	}
}
