package app

import (
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// installation checks the installation.
func (n *namespace) installation() *explanation {
	n.Helper()
	got := n.run("check", "-o", "json")
	var e explanation
	if err := json.Unmarshal([]byte(got.out), &e); err != nil {
		n.Fatalf("%v: %s%s", err, got.out, got.err)
	}
	if (got.code == 0) != e.Works || e.Works != (e.Next == "") {
		n.Errorf("exit code %d, works: %t, next is %q", got.code, e.Works, e.Next)
	}
	return &e
}

func TestCheck(t *testing.T) {
	n := newRoles(t)
	e := n.installation()
	for check, want := range map[string]string{
		"Kubernetes": "Passed: v1.", "CRD": "Passed", "policies": "Passed: 5 are in force", "injection": "Unknown: not installed",
		"controller": "Passed: Deployment kube-system/kube-aws-iam-controller: 2 of 2", "version": "Passed: image kube-aws-iam-controller:latest",
		"Lease": "Passed", "RBAC": "Passed: system:serviceaccount:kube-system:kube-aws-iam-controller has all",
		"identity": "Passed: a file with keys", "seed": "Unknown: not used", "Region": "Passed: eu-central-1", "credentials": "Passed", "metadata": "Unknown",
	} {
		if got := e.check(check); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q", check, got)
		}
	}
	if !e.Works {
		t.Errorf("next is %s", e.Next)
	}
}

// TestCheck_Fails breaks one part of the installation at a time.
func TestCheck_Fails(t *testing.T) {
	n := newNamespace(t)
	inSystem := client.ObjectKey{Namespace: "kube-system", Name: "kube-aws-iam-controller"}
	for _, c := range []struct {
		name, check, want string
		object            client.Object
		key               client.ObjectKey
		change            func(client.Object)
		status            bool
	}{
		{"no replica", "controller", "has no available replica", &appsv1.Deployment{}, inSystem, func(o client.Object) { o.(*appsv1.Deployment).Status.AvailableReplicas = 0 }, true},
		{"no Region", "Region", "AWS_REGION is not set", &corev1.ConfigMap{}, client.ObjectKey{Namespace: "kube-system", Name: "kube-aws-iam-controller-aws"},
			func(o client.Object) { delete(o.(*corev1.ConfigMap).Data, "AWS_REGION") }, false},
		{"a policy that only warns", "policies", "kube-aws-iam-controller-secret-writes only warns", &admissionv1.ValidatingAdmissionPolicyBinding{},
			client.ObjectKey{Name: "kube-aws-iam-controller-secret-writes"}, func(o client.Object) {
				o.(*admissionv1.ValidatingAdmissionPolicyBinding).Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Warn}
			}, false},
		{"a missing right", "RBAC", "has no right to patch events.events.k8s.io", &rbacv1.ClusterRole{}, client.ObjectKey{Name: "kube-aws-iam-controller"}, func(o client.Object) {
			rules := o.(*rbacv1.ClusterRole).Rules
			for i := range rules {
				if rules[i].APIGroups[0] == "events.k8s.io" {
					rules[i].Verbs = []string{"create"}
				}
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := n.in(t)
			n.must(suite.Cluster.Get(n.Context(), c.key, c.object))
			before := c.object.DeepCopyObject().(client.Object)
			update := func(o client.Object) error {
				if c.status {
					return suite.Cluster.Status().Update(n.Context(), o)
				}
				return suite.Cluster.Update(n.Context(), o)
			}
			c.change(c.object)
			n.must(update(c.object))
			n.await("what is wrong", func() (bool, error) {
				return strings.HasPrefix(n.installation().check(c.check), "Failed: ") && strings.Contains(n.installation().check(c.check), c.want), nil
			})
			before.SetResourceVersion(c.object.GetResourceVersion())
			n.must(update(before))
			n.await("what is right again", func() (bool, error) { return n.installation().Works, nil })
		})
	}
}

// In CI, a user who sees nothing must not find everything in order.
func TestCheck_WithoutRights(t *testing.T) {
	n := newNamespace(t)
	u := n.as("nobody", "system:authenticated")
	e := u.installation()
	if got := e.check("controller"); e.Works || !strings.HasPrefix(got, "Failed: you may not list Deployments") {
		t.Errorf("controller is %q", got)
	}
}
