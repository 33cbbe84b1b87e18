package manifests_test

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// optedIn is a namespace with the label for injection, and unlabeled one without it.
	optedIn   = "opted-in"
	unlabeled = "unlabeled"

	injectLabel        = "iam.amazonaws.com/inject"
	roleAnnotation     = "iam.amazonaws.com/role"
	irsaAnnotation     = "eks.amazonaws.com/role-arn"
	skipAnnotation     = "iam.amazonaws.com/skip-containers"
	deliveryOf         = "iam.amazonaws.com/delivery"
	annotatedLabel     = "iam.amazonaws.com/role-annotated"
	injectedVolume     = "aws-iam"
	mountPath          = "/meta/aws-iam"
	endpointName       = "aws-iam-endpoint"
	injectedPolicy     = "'kube-aws-iam-controller-injected'"
	ownPolicy          = "'kube-aws-iam-controller-injected-serviceaccount'"
	sharedFile         = "AWS_SHARED_CREDENTIALS_FILE"
	metadataOff        = "AWS_EC2_METADATA_DISABLED"
	endpointURI        = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	endpointToken      = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
	injectPodName      = name + "-inject-pod"
	injectEndpointName = name + "-inject-endpoint"
	injectOwnName      = name + "-inject-serviceaccount"
)

// TestInjection creates pods where the policies of config/injection are in force. All creations are
// dry runs unless they say otherwise.
func TestInjection(t *testing.T) {
	c := start(t)
	c.createNamespace(t, optedIn, map[string]string{injectLabel: "true"})
	c.createNamespace(t, unlabeled, nil)
	before := c.tryUnlabeled(t)
	c.apply(t, render(t, "injection"))
	c.annotateAccounts(t)
	c.awaitInjection(t)

	t.Run("namespaces without the label", func(t *testing.T) {
		if after := c.tryUnlabeled(t); !reflect.DeepEqual(after, before) {
			t.Errorf("pods are %+v, and were %+v", after, before)
		}
	})
	t.Run("which Secret", c.testInjectedSecret)
	t.Run("what is added", c.testInjectedParts)
	t.Run("the endpoint", c.testInjectedEndpoint)
	t.Run("the endpoint and the order of policies", c.testEndpointOrder)
	t.Run("the endpoint and pod security", c.testEndpointPodSecurity)
	t.Run("what is rejected", c.testNotInjected)
	t.Run("containers of a webhook", c.testInjectedReinvocation)
	t.Run("large pods", c.testInjectedLargePod)
	t.Run("labels of ServiceAccounts", c.testAccountLabels)
	t.Run("many ServiceAccounts", c.testManyAccounts)
	t.Run("settings", c.testInjectionSettings)
	t.Run("a policy that is missing", c.testMissingPolicy)
	t.Run("role references", c.testRoleReferences)
}

func (c *cluster) createNamespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}); err != nil {
		t.Fatal(err)
	}
}

// annotateAccounts creates ServiceAccounts with and without a role in both namespaces, as soon as
// they are labeled.
func (c *cluster) annotateAccounts(t *testing.T) {
	t.Helper()
	eventually(t, "ServiceAccounts are labeled", func() bool {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: optedIn, Name: "probe", Annotations: map[string]string{roleAnnotation: "orders"}}}
		if err := c.Create(t.Context(), account, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		return account.Labels[annotatedLabel] == "true"
	})
	for _, namespace := range []string{optedIn, unlabeled} {
		for name, annotations := range map[string]map[string]string{
			"bare": nil, "irsa": {irsaAnnotation: base + "orders"}, "named": {roleAnnotation: "orders"}, "empty": {roleAnnotation: "", irsaAnnotation: ""},
		} {
			c.createAccount(t, namespace, name, annotations)
		}
	}
}

func (c *cluster) createAccount(t *testing.T, namespace, name string, annotations map[string]string) *corev1.ServiceAccount {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations}}
	eventually(t, "the API server knows the namespace", func() bool {
		err := c.Create(t.Context(), account)
		if err != nil && !apierrors.IsForbidden(err) {
			t.Fatal(err)
		}
		return err == nil
	})
	return account
}

// awaitInjection waits until every policy is in force.
func (c *cluster) awaitInjection(t *testing.T) {
	t.Helper()
	secrets := map[string]*corev1.Pod{
		"aws-iam.bare":   appPod(unlabeled, "bare", labeled("true")),
		"aws-iam-orders": appPod(optedIn, "bare", annotated(roleAnnotation, "orders")),
		"aws-iam-label":  appPod(unlabeled, "bare", labeled("true"), annotated(roleAnnotation, "label")),
		"aws-iam.irsa":   appPod(optedIn, "irsa"),
		"aws-iam.named":  appPod(optedIn, "named"),
	}
	eventually(t, "all rows are injected", func() bool {
		for secret, pod := range secrets {
			pod := pod.DeepCopy()
			if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil || secretOf(pod) != secret {
				return false
			}
		}
		return true
	})
	taken := func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: injectedVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	}
	eventually(t, "pods that were not injected are rejected", func() bool {
		for _, pod := range []*corev1.Pod{appPod(unlabeled, "bare", labeled("true"), taken), appPod(optedIn, "bare", annotated(roleAnnotation, "x y")), appPod(optedIn, "irsa", taken)} {
			if c.Create(t.Context(), pod, client.DryRunAll) == nil {
				return false
			}
		}
		return true
	})
}

// tryUnlabeled returns what pods that ask for injection become in the namespace without the label.
func (c *cluster) tryUnlabeled(t *testing.T) []corev1.PodSpec {
	t.Helper()
	var all []corev1.PodSpec
	for _, pod := range []*corev1.Pod{
		appPod(unlabeled, "irsa"),
		appPod(unlabeled, "bare", annotated(roleAnnotation, "orders")),
		appPod(unlabeled, "bare", annotated(roleAnnotation, "no role")),
		appPod(unlabeled, "bare", annotated(deliveryOf, "no delivery"), annotated(skipAnnotation, "none")),
		appPod(unlabeled, "bare", labeled("false")),
	} {
		if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		all = append(all, pod.Spec)
	}
	return all
}

// testInjectedSecret checks which Secret a pod gets, or none, if several things could decide.
func (c *cluster) testInjectedSecret(t *testing.T) {
	both := []podChange{labeled("true"), annotated(roleAnnotation, "orders")}
	mirror := func(p *corev1.Pod) {
		p.Spec.NodeName = "node"
		annotated(corev1.MirrorPodAnnotationKey, "x")(p)
	}
	windows := func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }
	windowsNode := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} }
	linux := func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Linux} }
	for _, test := range []struct {
		name, want         string
		namespace, account string
		changes            []podChange
	}{
		{"label", "aws-iam.bare", unlabeled, "bare", both[:1]},
		{"label of a ServiceAccount that does not exist", "aws-iam.later", unlabeled, "later", both[:1]},
		{"label of the default ServiceAccount", "aws-iam.default", unlabeled, "", both[:1]},
		{"label in a namespace with the label", "aws-iam.bare", optedIn, "bare", both[:1]},
		{"annotation", "aws-iam-orders", optedIn, "bare", both[1:]},
		{"annotation with a path", "aws-role.0team-6-orders0", optedIn, "bare", []podChange{annotated(roleAnnotation, "/team/Orders")}},
		{"ServiceAccount of IRSA", "aws-iam.irsa", optedIn, "irsa", nil},
		{"ServiceAccount with a role's name", "aws-iam.named", optedIn, "named", nil},
		{"ServiceAccount without a role", "", optedIn, "bare", nil},
		{"ServiceAccount with empty annotations", "", optedIn, "empty", nil},
		{"ServiceAccount that does not exist", "", optedIn, "later", nil},
		{"label and annotation", "aws-iam-orders", optedIn, "bare", both},
		{"label and annotation without a label of the namespace", "aws-iam-orders", unlabeled, "bare", both},
		{"annotation and ServiceAccount", "aws-iam-orders", optedIn, "irsa", both[1:]},
		{"label and ServiceAccount", "aws-iam.irsa", optedIn, "irsa", both[:1]},
		{"all three", "aws-iam-orders", optedIn, "irsa", both},
		{"label false and annotation", "", optedIn, "bare", []podChange{labeled("false"), both[1]}},
		{"label false and ServiceAccount", "", optedIn, "irsa", []podChange{labeled("false")}},
		{"Linux", "aws-iam-orders", optedIn, "bare", append(slices.Clone(both), linux)},
		{"Windows by label", "", optedIn, "bare", []podChange{both[0], windows}},
		{"Windows by annotation", "", optedIn, "bare", []podChange{both[1], windows}},
		{"Windows by ServiceAccount", "", optedIn, "irsa", []podChange{windows}},
		{"Windows by node selector", "", optedIn, "irsa", append(slices.Clone(both), windowsNode)},
		{"mirror pod by label", "", optedIn, "", []podChange{both[0], mirror}},
		{"mirror pod by annotation", "", optedIn, "", []podChange{both[1], mirror}},
		{"mirror pod by ServiceAccount", "", optedIn, "irsa", []podChange{mirror}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := appPod(test.namespace, test.account, test.changes...)
			want := pod.DeepCopy()
			c.admit(t, pod)
			if got := secretOf(pod); got != test.want {
				t.Fatalf("the pod has Secret %q, want %q", got, test.want)
			}
			if test.want == "" && (len(pod.Spec.Volumes) != 0 || !reflect.DeepEqual(envOf(pod), envOf(want))) {
				t.Errorf("the pod has volumes %v and variables %v", pod.Spec.Volumes, envOf(pod))
			}
		})
	}
}

// admit creates the pod, which becomes what the API server would store.
func (c *cluster) admit(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
}

// podChange changes a pod before it is created.
type podChange = func(*corev1.Pod)

// appPod returns a pod with an init container, a native sidecar and a container.
func appPod(namespace, serviceAccount string, changes ...podChange) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "pod-"},
		Spec: corev1.PodSpec{
			ServiceAccountName: serviceAccount,
			InitContainers: []corev1.Container{
				{Name: "init", Image: "app"}, {Name: "proxy", Image: "app", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)},
			},
			Containers: []corev1.Container{{Name: "app", Image: "app"}, {Name: "helper", Image: "app"}},
		},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func labeled(value string) podChange {
	return func(p *corev1.Pod) { p.Labels = map[string]string{injectLabel: value} }
}

func annotated(key, value string) podChange {
	return func(p *corev1.Pod) {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[key] = value
	}
}

// withVolume adds a volume, and mounts it in container app at each path.
func withVolume(name string, source corev1.VolumeSource, paths ...string) podChange {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		for _, path := range paths {
			app := &p.Spec.Containers[0]
			app.VolumeMounts = append(app.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
		}
	}
}

func secretSource(name string) corev1.VolumeSource {
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}
}

// appEnv adds variables to container app.
func appEnv(env ...corev1.EnvVar) podChange {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, env...) }
}

// secretOf returns the Secret of volume aws-iam.
func secretOf(pod *corev1.Pod) string {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Name == injectedVolume && v.Secret != nil {
			return v.Secret.SecretName
		}
	}
	return ""
}

// containersOf yields the init containers and containers.
func containersOf(pod *corev1.Pod) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range containers {
				if !yield(&containers[i]) {
					return
				}
			}
		}
	}
}

// envOf returns the variables of each container, as name=value, in their order.
func envOf(pod *corev1.Pod) map[string][]string {
	all := map[string][]string{}
	for c := range containersOf(pod) {
		for _, e := range c.Env {
			all[c.Name] = append(all[c.Name], e.Name+"="+e.Value)
		}
	}
	return all
}

// mountsOf returns the mounts of each container, as volume:path or, if it can be written to,
// volume:path:rw.
func mountsOf(pod *corev1.Pod) map[string][]string {
	all := map[string][]string{}
	for c := range containersOf(pod) {
		for _, m := range c.VolumeMounts {
			mount := m.Name + ":" + m.MountPath
			if !m.ReadOnly {
				mount += ":rw"
			}
			all[c.Name] = append(all[c.Name], mount)
		}
	}
	return all
}

// testManyAccounts creates pods in a namespace of 500 ServiceAccounts, of which five are annotated.
func (c *cluster) testManyAccounts(t *testing.T) {
	const many = "many"
	c.createNamespace(t, many, map[string]string{injectLabel: "true"})
	var last string
	for i := range 500 {
		var annotations map[string]string
		if i%100 == 99 {
			last, annotations = fmt.Sprintf("account-%d", i), map[string]string{irsaAnnotation: base + "orders"}
		}
		c.createAccount(t, many, fmt.Sprintf("account-%d", i), annotations)
	}
	var labeledAccounts corev1.ServiceAccountList
	if err := c.List(t.Context(), &labeledAccounts, client.InNamespace(many), client.MatchingLabels{annotatedLabel: "true"}); err != nil {
		t.Fatal(err)
	}
	if n := len(labeledAccounts.Items); n != 5 {
		t.Errorf("%d ServiceAccounts have the label, want 5", n)
	}
	eventually(t, "the last is known", func() bool {
		pod := appPod(many, last)
		c.admit(t, pod)
		return secretOf(pod) == "aws-iam."+last
	})
	for i := range 500 {
		account := fmt.Sprintf("account-%d", i)
		pod, want := appPod(many, account), ""
		if i%100 == 99 {
			want = "aws-iam." + account
		}
		c.admit(t, pod)
		if got := secretOf(pod); got != want {
			t.Errorf("a pod of %s has Secret %q, want %q", account, got, want)
		}
	}
}

// testAccountLabels changes the annotations of a ServiceAccount, and its label as a user does for
// ServiceAccounts that were annotated before.
func (c *cluster) testAccountLabels(t *testing.T) {
	account := c.createAccount(t, optedIn, "labels", nil)
	for _, step := range []struct {
		name, annotation, value string
		labels, want            map[string]string
	}{
		{"without a role", "other", "x", nil, nil},
		{"without a role, labeled by hand", "other", "x", map[string]string{annotatedLabel: "true"}, nil},
		{"a role", roleAnnotation, "orders", nil, map[string]string{annotatedLabel: "true"}},
		{"a role beside another label", roleAnnotation, "orders", map[string]string{"a": "b"}, map[string]string{"a": "b", annotatedLabel: "true"}},
		{"a role with the label set to false", roleAnnotation, "orders", map[string]string{annotatedLabel: "false"}, map[string]string{annotatedLabel: "true"}},
		{"an empty role", roleAnnotation, "", map[string]string{"a": "b", annotatedLabel: "true"}, map[string]string{"a": "b"}},
		{"a role of IRSA", irsaAnnotation, base + "orders", nil, map[string]string{annotatedLabel: "true"}},
		{"an empty role of IRSA", irsaAnnotation, "", map[string]string{annotatedLabel: "true"}, nil},
	} {
		t.Run(step.name, func(t *testing.T) {
			account := account.DeepCopy()
			account.Annotations, account.Labels = map[string]string{step.annotation: step.value}, step.labels
			if err := c.Update(t.Context(), account, client.DryRunAll); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(account.Labels, step.want) {
				t.Errorf("labels %v, want %v", account.Labels, step.want)
			}
		})
	}
	elsewhere := &corev1.ServiceAccount{}
	c.get(t, elsewhere, unlabeled, "irsa")
	if len(elsewhere.Labels) != 0 {
		t.Errorf("in a namespace without the label: %v", elsewhere.Labels)
	}
}

// testInjectionSettings sets what the kustomization.yaml shows.
func (c *cluster) testInjectionSettings(t *testing.T) {
	replace := strings.NewReplacer()
	c.apply(t, overlay(t, c.injection, 0, replace))
	defer func() {
		c.apply(t, render(t, c.injection))
		c.awaitInjection(t)
	}()
	pods := func() []*corev1.Pod {
		return []*corev1.Pod{
			appPod(unlabeled, "bare", labeled("true"), annotated(deliveryOf, "endpoint")),
			appPod(optedIn, "bare", annotated(roleAnnotation, "arn:aws:iam::123456789012:role/pods/orders"), annotated(deliveryOf, "endpoint")),
			appPod(optedIn, "irsa", annotated(deliveryOf, "endpoint")),
		}
	}
	eventually(t, "the settings are known", func() bool {
		for _, pod := range pods() {
			if c.Create(t.Context(), pod, client.DryRunAll) != nil || !slices.Contains(mountsOf(pod)["app"], "aws-iam:/meta/aws") {
				return false
			}
		}
		return true
	})
	for i, pod := range pods() {
		c.admit(t, pod)
		if got, want := secretOf(pod), []string{"aws-iam.bare", "aws-iam-orders", "aws-iam.irsa"}[i]; got != want {
			t.Errorf("the pod has Secret %q, want %q", got, want)
		}
		want := []string{endpointURI + "=http://127.0.0.1:9912/", endpointToken + "=/meta/aws/endpoint-token", metadataOff + "=true", "AWS_REGION=eu-central-1", "AWS_DEFAULT_REGION=eu-central-1"}
		if got := envOf(pod)["app"]; !slices.Equal(got, want) {
			t.Errorf("the variables are %q, want %q", got, want)
		}
		endpoint := &pod.Spec.InitContainers[0]
		if endpoint.Image != "registry.example.org/kube-aws-iam-controller:v1" || endpoint.SecurityContext.RunAsUser != nil {
			t.Errorf("the endpoint is %s of user %v", endpoint.Image, endpoint.SecurityContext.RunAsUser)
		}
	}
	taken := appPod(optedIn, "irsa", withVolume("cache", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, "/meta/aws"))
	wantRejection(t, c.Create(t.Context(), taken, client.DryRunAll), ownPolicy, "container app mounts another volume at /meta/aws,")
	regional := appPod(unlabeled, "bare", labeled("true"), appEnv(corev1.EnvVar{Name: "AWS_DEFAULT_REGION", Value: "us-east-1"}))
	c.admit(t, regional)
	want := []string{"AWS_DEFAULT_REGION=us-east-1", sharedFile + "=/meta/aws/credentials.process", metadataOff + "=true"}
	if got := envOf(regional)["app"]; !slices.Equal(got, want) {
		t.Errorf("a container with a Region has the variables %q, want %q", got, want)
	}
}

// testMissingPolicy removes a binding of each policy that injects, and restores it.
func (c *cluster) testMissingPolicy(t *testing.T) {
	for _, row := range []struct {
		binding, rejectedBy string
		pod                 *corev1.Pod
	}{
		{injectEndpointName, injectedPolicy, appPod(optedIn, "bare", annotated(roleAnnotation, "orders"), annotated(deliveryOf, "endpoint"))},
		{injectPodName + "-by-label", injectedPolicy, appPod(unlabeled, "bare", labeled("true"))},
		{injectPodName, injectedPolicy, appPod(optedIn, "bare", annotated(roleAnnotation, "orders"))},
		{injectOwnName, ownPolicy, appPod(optedIn, "irsa")},
	} {
		for _, object := range render(t, "injection") {
			if object.GetKind() == "MutatingAdmissionPolicyBinding" && object.GetName() == row.binding {
				if err := c.Delete(t.Context(), object); err != nil {
					t.Fatal(err)
				}
			}
		}
		var last error
		because := "policy " + strings.TrimSuffix(row.binding, "-by-label") + " is missing"
		eventually(t, "the pod is rejected without "+row.binding, func() bool {
			last = c.Create(t.Context(), row.pod.DeepCopy(), client.DryRunAll)
			return last != nil && strings.Contains(last.Error(), because) // the last test's settings can still be in force
		})
		wantRejection(t, last, row.rejectedBy, because)
	}
	byHand := appPod(optedIn, "bare", annotated(roleAnnotation, "orders"), withVolume("role", secretSource("aws-iam-orders"), mountPath))
	c.admit(t, byHand)
	c.apply(t, render(t, "injection"))
	c.awaitInjection(t)
}

// wantRejection requires that a policy rejects a pod and says why.
func wantRejection(t *testing.T, err error, policy, because string) {
	t.Helper()
	got := refusal(t, err)
	if !strings.Contains(got, policy) || !strings.Contains(got, because) {
		t.Errorf("the pod is not rejected by %s because %q, but: %s", policy, because, cmp.Or(got, "it is admitted"))
	}
}
