package manifests_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// endpointForKyverno is what config/injection-kyverno calls the policy for the endpoint.
const endpointForKyverno = name + "-inject-with-endpoint"

// TestKyverno_HasThePoliciesOfInjection renders config/injection-kyverno: each binding of
// config/injection must be one policy of Kyverno, with the same expressions in the same places.
func TestKyverno_HasThePoliciesOfInjection(t *testing.T) {
	want := map[string]admissionv1.MutatingAdmissionPolicySpec{}
	policies := map[string]admissionv1.MutatingAdmissionPolicySpec{}
	var rejects []*unstructured.Unstructured
	for _, object := range render(t, "injection") {
		switch object.GetKind() {
		case "MutatingAdmissionPolicy":
			policies[object.GetName()] = typed[admissionv1.MutatingAdmissionPolicy](t, object).Spec
		case "MutatingAdmissionPolicyBinding":
			binding := typed[admissionv1.MutatingAdmissionPolicyBinding](t, object)
			called := strings.Replace(binding.Name, injectEndpointName, endpointForKyverno, 1)
			want[called] = forKyverno(t, policies[binding.Spec.PolicyName], binding)
		default:
			rejects = append(rejects, object)
		}
	}
	got := map[string]admissionv1.MutatingAdmissionPolicySpec{}
	for _, object := range render(t, "injection-kyverno") {
		switch object.GetKind() {
		case "MutatingPolicy":
			got[object.GetName()] = kyvernoSpec(t, object)
		case "ClusterRole":
		default:
			if !slices.ContainsFunc(rejects, func(o *unstructured.Unstructured) bool { return reflect.DeepEqual(o, object) }) {
				t.Errorf("%s %s is not as in config/injection", object.GetKind(), object.GetName())
			}
			rejects = rejects[1:]
		}
	}
	if len(want) < 6 || len(rejects) != 0 {
		t.Errorf("config/injection has %d bindings that inject, and %d objects that Kyverno's clusters lack", len(want), len(rejects))
	}
	for called := range maps.Keys(want) {
		if !reflect.DeepEqual(got[called], want[called]) {
			t.Errorf("policy %s is\n%s\nwant\n%s", called, indented(t, got[called]), indented(t, want[called]))
		}
	}
	if len(got) != len(want) {
		t.Errorf("policies %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	for called := range maps.Keys(got) {
		if strings.HasPrefix(called, name+"-inject-") && !strings.HasPrefix(called, endpointForKyverno) && called > endpointForKyverno {
			t.Errorf("Kyverno calls %s, which adds the volume, after the policy for the endpoint", called)
		}
	}
}

// forKyverno returns the policy with what Kyverno has no binding and no parameters for.
func forKyverno(t *testing.T, policy admissionv1.MutatingAdmissionPolicySpec, binding *admissionv1.MutatingAdmissionPolicyBinding) admissionv1.MutatingAdmissionPolicySpec {
	t.Helper()
	spec := *policy.DeepCopy()
	places := binding.Spec.MatchResources
	spec.MatchConstraints.NamespaceSelector = places.NamespaceSelector
	if labels := spec.MatchConstraints.ObjectSelector; places.ObjectSelector != nil {
		labels.MatchLabels = places.ObjectSelector.MatchLabels
	} else if labels != nil {
		spec.MatchConditions = append(spec.MatchConditions, admissionv1.MatchCondition{Name: "is-selected", Expression: map[metav1.LabelSelectorOperator]string{
			metav1.LabelSelectorOpNotIn:        "object.metadata.?labels[?'iam.amazonaws.com/inject'].orValue('') != 'false'",
			metav1.LabelSelectorOpDoesNotExist: "!('iam.amazonaws.com/inject' in object.metadata.?labels.orValue({}))",
		}[labels.MatchExpressions[0].Operator]})
	}
	if spec.ParamKind != nil {
		spec.ParamKind = nil
		condition := &spec.MatchConditions[0].Expression
		*condition = "variables.account != null && " + strings.ReplaceAll(*condition, "params.", "variables.account.")
		spec.Variables = append(spec.Variables, admissionv1.Variable{
			Name:       "account",
			Expression: "dyn(resource.Get('v1', 'serviceaccounts', object.metadata.namespace, object.spec.?serviceAccountName.orValue('default')))",
		})
	}
	return inOneLine(t, spec)
}

// kyvernoSpec returns the spec of a MutatingPolicy, which has the fields of a
// MutatingAdmissionPolicy and a few more.
func kyvernoSpec(t *testing.T, object *unstructured.Unstructured) admissionv1.MutatingAdmissionPolicySpec {
	t.Helper()
	if object.GetAPIVersion() != "policies.kyverno.io/v1" {
		t.Errorf("%s has version %s", object.GetName(), object.GetAPIVersion())
	}
	controllers, found, err := unstructured.NestedSlice(object.Object, "spec", "autogen", "podControllers", "controllers")
	if err != nil || !found || len(controllers) != 0 {
		t.Errorf("%s changes templates of %v: %v", object.GetName(), controllers, err)
	}
	unstructured.RemoveNestedField(object.Object, "spec", "autogen")
	return inOneLine(t, typed[admissionv1.MutatingAdmissionPolicy](t, object).Spec)
}

// typed turns an object into its type, in which it must have no unknown fields.
func typed[T any](t *testing.T, object *unstructured.Unstructured) *T {
	t.Helper()
	into := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	return into
}

// inOneLine returns the policy with all white space in expressions reduced to single spaces, as
// kustomize adds empty lines where it reads a text more than once.
func inOneLine(t *testing.T, spec admissionv1.MutatingAdmissionPolicySpec) admissionv1.MutatingAdmissionPolicySpec {
	t.Helper()
	var all []*string
	for i := range spec.MatchConditions {
		all = append(all, &spec.MatchConditions[i].Expression)
	}
	for i := range spec.Variables {
		all = append(all, &spec.Variables[i].Expression)
	}
	for i := range spec.Mutations {
		if m := &spec.Mutations[i]; m.ApplyConfiguration != nil {
			all = append(all, &m.ApplyConfiguration.Expression)
		} else {
			all = append(all, &m.JSONPatch.Expression)
		}
	}
	for _, expression := range all {
		*expression = strings.Join(strings.Fields(*expression), " ")
	}
	return spec
}

func indented(t *testing.T, value any) string {
	t.Helper()
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
