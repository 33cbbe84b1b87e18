package manifests_test

import (
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testPodSecurity creates the controller's pod and the samples as they are, and spoiled in each way
// that level restricted forbids: which shows that the level is enforced.
func (c *cluster) testPodSecurity(t *testing.T) {
	var d appsv1.Deployment
	c.get(t, &d, namespace, name)
	pods := []*corev1.Pod{podOf(namespace, d.Spec.Template)}
	list := c.samplePods(t)
	for i := range list {
		pods = append(pods, podOf(samples, corev1.PodTemplateSpec{ObjectMeta: list[i].ObjectMeta, Spec: list[i].Spec}))
	}
	for _, test := range []struct {
		name, refusal string
		spoil         func(*corev1.PodSpec, *corev1.SecurityContext)
	}{
		{"as it is", "", func(*corev1.PodSpec, *corev1.SecurityContext) {}},
		{"privileged", "privileged", func(_ *corev1.PodSpec, s *corev1.SecurityContext) {
			s.Privileged, s.AllowPrivilegeEscalation = new(true), nil
		}},
		{"gaining privileges", "allowPrivilegeEscalation", func(_ *corev1.PodSpec, s *corev1.SecurityContext) { s.AllowPrivilegeEscalation = nil }},
		{"with capabilities", "unrestricted capabilities", func(_ *corev1.PodSpec, s *corev1.SecurityContext) { s.Capabilities = nil }},
		{"as root", "runAsNonRoot", func(p *corev1.PodSpec, _ *corev1.SecurityContext) { p.SecurityContext.RunAsNonRoot = nil }},
		{"without seccomp", "seccompProfile", func(p *corev1.PodSpec, _ *corev1.SecurityContext) { p.SecurityContext.SeccompProfile = nil }},
		{"in the node's network", "host namespaces", func(p *corev1.PodSpec, _ *corev1.SecurityContext) { p.HostNetwork = true }},
		{"with the node's files", "hostPath", func(p *corev1.PodSpec, _ *corev1.SecurityContext) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "node", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, pod := range pods {
				pod = pod.DeepCopy()
				test.spoil(&pod.Spec, pod.Spec.Containers[0].SecurityContext)
				err := c.Create(t.Context(), pod, client.FieldValidation(metav1.FieldValidationStrict))
				switch {
				case test.refusal == "" && err != nil:
					t.Errorf("%v is refused: %v", pod.Labels, err)
				case test.refusal != "" && (err == nil || !strings.Contains(err.Error(), "restricted") || !strings.Contains(err.Error(), test.refusal)):
					t.Errorf("%v is not refused for %q under level restricted: %v", pod.Labels, test.refusal, err)
				}
				if err == nil {
					if err := c.Delete(t.Context(), pod); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	t.Run("read-only root file systems", func(t *testing.T) {
		for _, pod := range pods {
			for i := range pod.Spec.Containers {
				if !ptr.Deref(pod.Spec.Containers[i].SecurityContext.ReadOnlyRootFilesystem, false) {
					t.Errorf("container %s of %v can write to its image", pod.Spec.Containers[i].Name, pod.Labels)
				}
			}
		}
	})
}

// testDeployment checks that the names by which the manifests refer to each other meet.
func (c *cluster) testDeployment(t *testing.T) {
	var d appsv1.Deployment
	var budget policyv1.PodDisruptionBudget
	c.get(t, &d, namespace, name)
	c.get(t, &budget, namespace, name)
	pod, container := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]

	selectors := map[string]*metav1.LabelSelector{"Deployment": d.Spec.Selector, "PodDisruptionBudget": budget.Spec.Selector}
	for _, constraint := range pod.TopologySpreadConstraints {
		selectors["spread over "+constraint.TopologyKey] = constraint.LabelSelector
	}
	for who, s := range selectors {
		selector, err := metav1.LabelSelectorAsSelector(s)
		if err != nil {
			t.Fatal(err)
		}
		if selector.Empty() || !selector.Matches(labels.Set(d.Spec.Template.Labels)) {
			t.Errorf("%s: selector %q does not select the pods %v", who, selector, d.Spec.Template.Labels)
		}
	}

	c.get(t, &corev1.ServiceAccount{}, namespace, pod.ServiceAccountName)
	for _, from := range container.EnvFrom {
		c.get(t, &corev1.ConfigMap{}, namespace, from.ConfigMapRef.Name)
	}

	checkPorts(t, &d.Spec.Template)
	if budget.Spec.MaxUnavailable.IntVal >= *d.Spec.Replicas {
		t.Errorf("a drain can evict all %d replicas", *d.Spec.Replicas)
	}
}

// checkPorts checks that a pod is asked for metrics and health at the ports that its program opens.
func checkPorts(t *testing.T, template *corev1.PodTemplateSpec) {
	t.Helper()
	container := &template.Spec.Containers[0]
	asked := map[string]string{
		"--metrics-bind-address=:":      template.Annotations["prometheus.io/port"],
		"--health-probe-bind-address=:": portOf(container, container.LivenessProbe.HTTPGet.Port.StrVal),
	}
	for flag, port := range asked {
		opened := ""
		for _, arg := range container.Args {
			if value, ok := strings.CutPrefix(arg, flag); ok {
				opened = value // of a flag given twice, the last
			}
		}
		if port == "" || port != opened {
			t.Errorf("the probed port is %q, and the program listens on %s%s", port, flag, opened)
		}
	}
	if metrics := portOf(container, "metrics"); metrics != template.Annotations["prometheus.io/port"] {
		t.Errorf("the port of metrics is declared as %q", metrics)
	}
	if container.LivenessProbe.HTTPGet.Port != container.ReadinessProbe.HTTPGet.Port {
		t.Error("the two probes ask different ports")
	}
}

// portOf is the number of a container's named port.
func portOf(c *corev1.Container, name string) string {
	for _, port := range c.Ports {
		if port.Name == name {
			return strconv.Itoa(int(port.ContainerPort))
		}
	}
	return ""
}
