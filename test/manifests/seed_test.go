package manifests_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
)

const kubeSystemAccount = "system:serviceaccount:kube-system:"

// kubernetes is a client with the rights of one of Kubernetes' own controllers.
func (c *cluster) kubernetes(t *testing.T, controller string) client.Client {
	t.Helper()
	return c.impersonate(t, kubeSystemAccount+controller, "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
}

// deletesAll tries to delete all Secrets with the controller's label by one request.
func deletesAll(c client.Client, namespace string) func(context.Context) error {
	return func(ctx context.Context) error {
		return c.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(namespace), client.MatchingLabels{"heritage": name},
			&client.DeleteAllOfOptions{DeleteOptions: client.DeleteOptions{DryRun: []string{metav1.DryRunAll}}})
	}
}

// testSeedDelete configures the policies for a seed, as admission/secrets/kustomization.yaml shows
// it, and then takes it back.
func (c *cluster) testSeedDelete(t *testing.T) {
	label := map[string]string{"heritage": name}
	seed, other := c.createSecret(t, "seed", label), c.createSecret(t, "not-the-seed", label)
	editor, admin := c.may(t, "seed-editor", edit), c.may(t, "seed-admin", "cluster-admin")
	all := c.may(t, "seed-lead", edit)
	c.grantRule(t, guarded, rbacv1.Subject{Kind: rbacv1.UserKind, Name: "seed-lead"},
		rbacv1.PolicyRule{APIGroups: []string{v1.GroupVersion.Group}, Resources: []string{v1.Resource}, Verbs: []string{"assume"}})
	judge(t, []try{{"without a seed, none is kept", "", deletes(editor, seed)}})

	c.apply(t, overlay(t, "admission/secrets", 0, strings.NewReplacer("<namespace>", guarded, "<name>", "seed")))
	judge(t, []try{
		{"an editor deletes it refused", seedDelete, deletes(editor, seed)},
		{"an editor deletes all refused", seedDelete, deletesAll(editor, guarded)},
		{"an editor deletes another", "", deletes(editor, other)},
		{"who may assume every role deletes it", "", deletes(all, seed)},
		{"who may assume every role deletes all", "", deletesAll(all, guarded)},
		{"a cluster admin deletes it", "", deletes(admin, seed)},
		{"the controller deletes it refused", seedDelete, deletes(c.as(t, c.serviceAccount(t, name)), seed)},
		{"the controller deletes another", "", deletes(c.as(t, c.serviceAccount(t, name)), other)},
		{"the garbage collector deletes it refused", seedDelete, deletes(c.kubernetes(t, "generic-garbage-collector"), seed)},
		{"the namespace controller deletes it, but not the namespace, refused", seedDelete, deletesAll(c.kubernetes(t, "namespace-controller"), guarded)},
	})
	says := refusal(t, deletes(editor, seed)(t.Context()))
	if !strings.Contains(says, "Secret guarded/seed has the credentials of kube-aws-iam-controller. To delete it, seed-editor needs the right") {
		t.Errorf("the refusal does not say who may: %s", says)
	}
	c.apply(t, render(t, "admission"))
	eventually(t, "no seed is kept any more", func() bool { return refusal(t, deletes(editor, seed)(t.Context())) == "" })
}

// testNamespaceDeletion deletes a namespace with a seed and other Secrets of the controller, as
// Kubernetes does: no policy is in the way.
func (c *cluster) testNamespaceDeletion(t *testing.T) {
	const leaving = "leaving"
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leaving}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	seed := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: leaving, Name: "seed", Labels: map[string]string{"heritage": name}}}
	other := seed.DeepCopy()
	other.Name = "aws-iam-orders"
	for _, secret := range []*corev1.Secret{seed, other} {
		if err := c.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	c.apply(t, overlay(t, "admission/secrets", 0, strings.NewReplacer("<namespace>", leaving, "<name>", "seed")))
	controller := c.kubernetes(t, "namespace-controller")
	eventually(t, "the policy is in force", func() bool { return refusal(t, deletesAll(controller, leaving)(t.Context())) != "" })
	if err := c.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the garbage collector is still refused, and the namespace controller is not", func() bool {
		return refusal(t, deletes(c.kubernetes(t, "generic-garbage-collector"), seed)(t.Context())) != "" &&
			refusal(t, deletesAll(controller, leaving)(t.Context())) == ""
	})
	if err := controller.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace(leaving)); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []*corev1.Secret{seed, other} {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); !apierrors.IsNotFound(err) {
			t.Errorf("Secret %s is still there: %v", secret.Name, err)
		}
	}
	c.apply(t, render(t, "admission"))
}
