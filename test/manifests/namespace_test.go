package manifests_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// inNamespace is the kustomization that the comment of transformers/namespace shows, for the
// namespace elsewhere and a ServiceAccount with a name of its own, above a folder of config.
func inNamespace(t *testing.T, config, serviceAccount, folder string, components ...string) string {
	t.Helper()
	text := strings.NewReplacer("../kube-aws-iam-controller/config", config, "overlays/seed", folder, "namespace: aws-iam", "namespace: "+elsewhere).
		Replace(shown(t, "transformers/namespace"))
	all := make([]string, len(components))
	for i, component := range components {
		all[i] = config + "/" + component
	}
	return text + "components: [" + strings.Join(all, ", ") + "]\npatches:\n- target: {kind: ServiceAccount, name: " + name + "}\n  options: {allowNameChange: true}\n" +
		"  patch: |\n    - {op: replace, path: /metadata/name, value: " + serviceAccount + "}\n"
}

// renderElsewhere builds a folder with components for a ServiceAccount in the namespace elsewhere.
func renderElsewhere(t *testing.T, serviceAccount, folder string, components ...string) []*unstructured.Unstructured {
	t.Helper()
	return renderAbove(t, func(config string) string { return inNamespace(t, config, serviceAccount, folder, components...) })
}

// policiesOf returns those of the objects that are ValidatingAdmissionPolicies.
func policiesOf(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return o.GetKind() != "ValidatingAdmissionPolicy" })
}

// With every overlay and component, nothing is left in kube-system, and no policy knows the former
// ServiceAccount.
func TestNamespace_IsTheOnlyParameter(t *testing.T) {
	ofKubernetes := strings.NewReplacer(
		"system:serviceaccount:kube-system:namespace-controller", "",
		"system:serviceaccount:kube-system:generic-garbage-collector", "",
		"system:serviceaccount:kube-system:storage-version-migrator-controller", "",
	)
	components := []string{webIdentity}
	for _, component := range []string{"late-rights", "metrics-secure", "network-policy", "openshift", "proxy"} {
		components = append(components, "components/"+component)
	}
	for _, folder := range append(foldersOf(t, "overlays"), "default") {
		t.Run(folder, func(t *testing.T) {
			for _, object := range renderElsewhere(t, "other", folder, components...) {
				text, err := object.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				for _, former := range []string{"kube-system", "serviceaccount:" + elsewhere + ":" + name, "' + '" + name + "'", `"serviceAccountName":"` + name + `"`} {
					if strings.Contains(ofKubernetes.Replace(string(text)), former) {
						t.Errorf("%s %s has %s: %.3000s", object.GetKind(), object.GetName(), former, text)
					}
				}
			}
		})
	}
}

// foldersOf returns the folders in a folder of config.
func foldersOf(t *testing.T, parent string) (folders []string) {
	t.Helper()
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		folders = append(folders, parent+"/"+entry.Name())
	}
	return folders
}

// testNamespace installs everything into another namespace with kubectl, and has the controller of
// that namespace, and no other, write Secrets and take the seed.
func (c *cluster) testNamespace(t *testing.T) {
	made, err := filepath.Abs(writeAbove(t, func(config string) string { return inNamespace(t, config, "roles", "overlays/seed", webIdentity) }))
	if err != nil {
		t.Fatal(err)
	}
	defer c.restore(t, renderElsewhere(t, "roles", "overlays/seed", webIdentity))
	kubeconfig := c.adminKubeconfig(t)
	c.shell(t, kubeconfig, "kubectl apply --dry-run=server --kustomize "+made)
	c.shell(t, kubeconfig, "kubectl apply --server-side --field-manager=kustomize --kustomize "+made) // whose objects c.restore changes

	controller := c.as(t, c.serviceAccountIn(t, elsewhere, "roles"))
	former := c.may(t, "system:serviceaccount:"+namespace+":"+name, edit)
	seed := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: "aws-iam-" + name}}
	if err := c.Create(t.Context(), seed); err != nil {
		t.Fatal(err)
	}
	label := map[string]string{"heritage": name}
	adopts := changes(controller, seed, func(s *corev1.Secret) { s.Labels = label })
	app := c.createServiceAccount(t, guarded, "of-another-namespace")
	eventually(t, "the policies know the controller", func() bool {
		return refusal(t, creates(controller, nil)(t.Context())) != "" && refusal(t, creates(former, label)(t.Context())) != "" &&
			refusal(t, adopts(t.Context())) == "" && refusal(t, deletes(controller, seed)(t.Context())) != "" && refusal(t, requests(controller, app)(t.Context())) != ""
	})
	judge(t, []try{
		{"writes one", "", creates(controller, label)},
		{"writes one without the label refused", secretWrites, creates(controller, nil)},
		{"takes the seed", "", adopts},
		{"gets a token without an audience refused", tokenPolicy, requests(controller, app)},
		{"gets a token for AWS", "", requests(controller, app, audiences(awsAudience))},
		{"the former writes one refused", secretLabel, creates(former, label)},
	})
	// Two policies keep the seed, and the API server names either.
	if says := refusal(t, deletes(controller, seed)(t.Context())); !strings.Contains(says, secretWrites) && !strings.Contains(says, seedDelete) {
		t.Errorf("it may delete the seed: %q", says)
	}
	for _, access := range slices.Concat(needed, neededAtHome) {
		if !may(t, controller, access+" "+elsewhere) {
			t.Errorf("the controller may not %s", access)
		}
	}
	for _, access := range neededAtHome {
		if may(t, controller, access+" "+namespace) {
			t.Errorf("in kube-system, the controller may %s", access)
		}
	}
	if err := c.DeleteAllOf(t.Context(), seed, client.InNamespace(elsewhere)); err != nil {
		t.Fatal(err)
	}
}
