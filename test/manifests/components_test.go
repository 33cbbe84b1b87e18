package manifests_test

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// testComponents applies the components that stand beside the Deployment, on top of an overlay.
func (c *cluster) testComponents(t *testing.T) {
	objects := renderAbove(t, func(config string) string {
		return "resources: [" + config + "/overlays/pod-identity]\ncomponents: [" + config + "/components/metrics-secure, " + config + "/components/network-policy, " + config + "/components/openshift, " + config + "/components/proxy]\n"
	})
	defer c.restore(t, objects)
	c.apply(t, objects)
	var d appsv1.Deployment
	c.get(t, &d, namespace, name)
	if template := &d.Spec.Template; !slices.Contains(template.Spec.Containers[0].Args, "--metrics-secure") || template.Annotations["prometheus.io/scheme"] != "https" {
		t.Errorf("metrics are not secure: %q, %v", template.Spec.Containers[0].Args, template.Annotations)
	}
	if s := d.Spec.Template.Spec.SecurityContext; s.RunAsUser != nil || s.RunAsGroup != nil || s.RunAsNonRoot == nil {
		t.Errorf("on OpenShift the pod's security context is %v", s)
	}
	direct := corev1.EnvVar{Name: "NO_PROXY", Value: "kubernetes.default.svc,$(KUBERNETES_SERVICE_HOST)"}
	if container := &d.Spec.Template.Spec.Containers[0]; !slices.Contains(container.Env, direct) || len(container.VolumeMounts) != 1 {
		t.Errorf("with a proxy the variables are %v, the mounts %v", container.Env, container.VolumeMounts)
	}
	c.checkNetworkPolicy(t, &d)

	controller, prometheus := c.as(t, c.serviceAccount(t, name)), c.impersonate(t, "system:serviceaccount:monitoring:prometheus")
	for _, access := range []string{"create tokenreviews.authentication.k8s.io", "create subjectaccessreviews.authorization.k8s.io"} {
		eventually(t, "the controller may "+access, func() bool { return may(t, controller, access) })
	}
	reads := func() bool { return rules(t, prometheus, namespace)["get /metrics"] }
	if reads() {
		t.Error("everyone can read the metrics")
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "monitoring", Name: "prometheus"}},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: name + "-metrics-reader"},
	}
	if err := c.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	eventually(t, "who is bound to the ClusterRole reads them", reads)
}

// checkNetworkPolicy checks that the policy selects the controller's pods, and names ports that
// they have.
func (c *cluster) checkNetworkPolicy(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	var p networkingv1.NetworkPolicy
	c.get(t, &p, namespace, name)
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil || selector.Empty() || !selector.Matches(labels.Set(d.Spec.Template.Labels)) {
		t.Errorf("it does not select the controller's pods: %v", err)
	}
	if !slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
		t.Errorf("it is about %v", p.Spec.PolicyTypes)
	}
	from := map[string]int{}
	for _, rule := range p.Spec.Ingress {
		for _, port := range rule.Ports {
			if portOf(&d.Spec.Template.Spec.Containers[0], port.Port.StrVal) == "" {
				t.Errorf("the controller has no port %s", port.Port)
			}
			from[port.Port.StrVal] += len(rule.From)
		}
	}
	if from["metrics"] == 0 || from["health"] != 0 || len(from) != 2 {
		t.Errorf("it lets in %v", from)
	}
}
