package app

import (
	"encoding/json"
	"slices"
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
	return n.report(n.run("check", "-o", "json"))
}

// report parses a report.
func (n *namespace) report(got result) *explanation {
	n.Helper()
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
	deployment, environment := &appsv1.Deployment{}, &corev1.ConfigMap{}
	binding, role := &admissionv1.ValidatingAdmissionPolicyBinding{}, &rbacv1.ClusterRole{}
	for _, c := range []struct {
		name, check, want string
		object            client.Object
		key               client.ObjectKey
		fault             func()
	}{
		{"no replica", "controller", "has no available replica", deployment, inSystem, func() { deployment.Status.AvailableReplicas = 0 }},
		{
			"no Region", "Region", "AWS_REGION is not set", environment,
			client.ObjectKey{Namespace: "kube-system", Name: "kube-aws-iam-controller-aws"},
			func() { delete(environment.Data, "AWS_REGION") },
		},
		{
			"a policy that only warns", "policies", "kube-aws-iam-controller-secret-writes only warns", binding,
			client.ObjectKey{Name: "kube-aws-iam-controller-secret-writes"},
			func() { binding.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Warn} },
		},
		{
			"a missing right", "RBAC", "has no right to patch events.events.k8s.io", role,
			client.ObjectKey{Name: "kube-aws-iam-controller"},
			func() {
				i := slices.IndexFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return r.APIGroups[0] == "events.k8s.io" })
				role.Rules[i].Verbs = []string{"create"}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := n.in(t)
			n.must(suite.Cluster.Get(n.Context(), c.key, c.object))
			before, ok := c.object.DeepCopyObject().(client.Object)
			if !ok {
				t.Fatalf("%T", c.object)
			}
			c.fault()
			n.update(c.object)
			n.await("what is wrong", func() (bool, error) {
				got := n.installation().check(c.check)
				return strings.HasPrefix(got, "Failed: ") && strings.Contains(got, c.want), nil
			})
			before.SetResourceVersion(c.object.GetResourceVersion())
			n.update(before)
			n.await("what is right again", func() (bool, error) { return n.installation().Works, nil })
		})
	}
}

// update updates an object, or the status of a Deployment.
func (n *namespace) update(o client.Object) {
	n.Helper()
	if _, ok := o.(*appsv1.Deployment); ok {
		n.must(suite.Cluster.Status().Update(n.Context(), o))
		return
	}
	n.must(suite.Cluster.Update(n.Context(), o))
}

// In CI, a user who sees nothing must not find everything in order.
func TestCheck_WithoutRights(t *testing.T) {
	n := newNamespace(t)
	u := n.as("stranger", "system:authenticated")
	e := u.installation()
	if got := e.check("controller"); e.Works || !strings.HasPrefix(got, "Failed: you may not list Deployments") {
		t.Errorf("controller is %q", got)
	}
}

// TestCheck_Metadata plays the kubelet of the pod that tries to reach the metadata service.
func TestCheck_Metadata(t *testing.T) {
	n := newNamespace(t)
	exited := func(code int32) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "curl", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}},
		}}}
	}
	for _, c := range []struct {
		name   string
		status corev1.PodStatus
		want   string
	}{
		{"reached", corev1.PodStatus{Phase: corev1.PodSucceeded}, "Failed: a pod reaches the metadata service"},
		{"no answer", exited(28), "Passed: a pod does not reach the metadata service"},
		{"refused", exited(7), "Passed: a pod does not reach the metadata service"},
		{"another failure", exited(2), "Unknown: curl ended with exit code 2"},
		{"no image", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "DeadlineExceeded", Message: "too long"}, "Unknown: the pod that tries it did not run: too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := n.in(t)
			done := make(chan result, 1)
			go func() { done <- n.run("check", "-o", "json", "--metadata-image=curl") }()
			var pods corev1.PodList
			n.await("the pod", func() (bool, error) {
				err := suite.Cluster.List(n.Context(), &pods, client.InNamespace(n.name))
				return len(pods.Items) == 1, err
			})
			pods.Items[0].Status = c.status
			n.must(suite.Cluster.Status().Update(n.Context(), &pods.Items[0]))
			if got := n.report(<-done).check("metadata"); !strings.HasPrefix(got, c.want) {
				t.Errorf("metadata is %q", got)
			}
			n.await("the pod's deletion", func() (bool, error) {
				err := suite.Cluster.List(n.Context(), &pods, client.InNamespace(n.name))
				return len(pods.Items) == 0, err
			})
		})
	}
}
