package manifests_test

import (
	"bytes"
	"os"
	"reflect"
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

func readPolicy(t *testing.T, file string) *admissionv1.ValidatingAdmissionPolicy {
	t.Helper()
	text, err := os.ReadFile(file) //nolint:gosec // in this folder
	if err != nil {
		t.Fatal(err)
	}
	p := &admissionv1.ValidatingAdmissionPolicy{}
	if err := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096).Decode(p); err != nil {
		t.Fatal(err)
	}
	return p
}
