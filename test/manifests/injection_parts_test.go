package manifests_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	admissionreviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// file and mounted are what every container gets by default.
var (
	file    = []string{sharedFile + "=" + mountPath + "/credentials.process", metadataOff + "=true"}
	mounted = []string{injectedVolume + ":" + mountPath}
)

// everywhere gives each container of appPod the same.
func everywhere(parts []string) map[string][]string {
	return map[string][]string{"init": parts, "proxy": parts, "app": parts, "helper": parts}
}

// except replaces what container app has.
func except(all map[string][]string, app ...string) map[string][]string {
	if all["app"] = app; len(app) == 0 {
		delete(all, "app")
	}
	return all
}

// testInjectedParts checks what containers get, and that nothing of theirs is overwritten.
func (c *cluster) testInjectedParts(t *testing.T) {
	q := c.quiet(t)
	fieldRef := corev1.EnvVar{Name: sharedFile, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}
	envFrom := func(p *corev1.Pod) {
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "aws"}}}}
	}
	projected := corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "aws-iam.bare"}}},
	}}}
	noInit := func(p *corev1.Pod) { p.Spec.InitContainers = nil }
	value := func(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }
	own := []string{"role:" + mountPath}
	for _, test := range []struct {
		name        string
		changes     []podChange
		volumes     []string
		env, mounts map[string][]string
	}{
		{"all containers", nil, []string{injectedVolume}, everywhere(file), everywhere(mounted)},
		{
			"no init containers",
			[]podChange{noInit},
			[]string{injectedVolume},
			map[string][]string{"app": file, "helper": file},
			map[string][]string{"app": mounted, "helper": mounted},
		},
		{"delivery file", []podChange{annotated(deliveryOf, "file")}, []string{injectedVolume}, everywhere(file), everywhere(mounted)},
		{"a skipped container", []podChange{annotated(skipAnnotation, "app")}, []string{injectedVolume}, except(everywhere(file)), except(everywhere(mounted))},
		{
			"skipped containers with spaces",
			[]podChange{annotated(skipAnnotation, " proxy , init,helper,")},
			[]string{injectedVolume},
			map[string][]string{"app": file},
			map[string][]string{"app": mounted},
		},
		{"all containers skipped", []podChange{annotated(skipAnnotation, "init,proxy,app,helper")}, []string{injectedVolume}, map[string][]string{}, map[string][]string{}},
		{"no container named", []podChange{annotated(skipAnnotation, "")}, []string{injectedVolume}, everywhere(file), everywhere(mounted)},
		{"a variable of its own", []podChange{appEnv(value(sharedFile, "/own"))}, []string{injectedVolume}, except(everywhere(file), sharedFile+"=/own", file[1]), everywhere(mounted)},
		{"an empty variable of its own", []podChange{appEnv(value(metadataOff, ""))}, []string{injectedVolume}, except(everywhere(file), metadataOff+"=", file[0]), everywhere(mounted)},
		{"a variable from a field", []podChange{appEnv(fieldRef)}, []string{injectedVolume}, except(everywhere(file), sharedFile+"=", file[1]), everywhere(mounted)},
		{"a variable twice", []podChange{appEnv(value("A", "1"), value("A", "2"))}, []string{injectedVolume}, except(everywhere(file), "A=1", "A=2", file[0], file[1]), everywhere(mounted)},
		{"a variable that is called like a value", []podChange{appEnv(value("true", "1"))}, []string{injectedVolume}, except(everywhere(file), "true=1", file[0], file[1]), everywhere(mounted)},
		{"envFrom", []podChange{envFrom}, []string{injectedVolume}, everywhere(file), everywhere(mounted)},
		{
			"what EKS's webhook adds",
			[]podChange{appEnv(value("AWS_ROLE_ARN", base+"orders"), value("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"))},
			[]string{injectedVolume},
			except(everywhere(file), "AWS_ROLE_ARN="+base+"orders", "AWS_WEB_IDENTITY_TOKEN_FILE=/token", file[0], file[1]), everywhere(mounted),
		},
		{
			"another volume and mount",
			[]podChange{withVolume("cache", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, "/cache")},
			[]string{"cache", injectedVolume},
			everywhere(file), except(everywhere(mounted), "cache:/cache:rw", mounted[0]),
		},
		{
			"its Secret under the same name",
			[]podChange{withVolume(injectedVolume, secretSource("aws-iam.bare"))},
			[]string{injectedVolume},
			everywhere(file), everywhere(mounted),
		},
		{
			"its Secret under another name",
			[]podChange{withVolume("role", secretSource("aws-iam.bare"), mountPath)},
			[]string{"role"},
			everywhere(file), except(everywhere(own), own[0]+":rw"),
		},
		{
			"its Secret in a projected volume",
			[]podChange{withVolume("role", projected, mountPath+"/")},
			[]string{"role"},
			everywhere(file), except(everywhere(own), own[0]+"/:rw"),
		},
		{
			"its Secret beside another volume of the injected name",
			[]podChange{withVolume(injectedVolume, secretSource("tls")), withVolume("role", secretSource("aws-iam.bare"), "/role")},
			[]string{injectedVolume, "role"},
			everywhere(file), except(everywhere(own), "role:/role:rw", own[0]),
		},
		{
			"another mount at the path in a skipped container",
			[]podChange{annotated(skipAnnotation, "app"), withVolume("cache", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, mountPath)},
			[]string{"cache", injectedVolume},
			except(everywhere(file)), except(everywhere(mounted), "cache:"+mountPath+":rw"),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := appPod(unlabeled, "bare", append([]podChange{labeled("true")}, test.changes...)...)
			q.admit(t, pod)
			wantParts(t, pod, test.volumes, test.env, test.mounts)
		})
	}
}

func wantParts(t *testing.T, pod *corev1.Pod, volumes []string, env, mounts map[string][]string) {
	t.Helper()
	var got []string
	for i := range pod.Spec.Volumes {
		got = append(got, pod.Spec.Volumes[i].Name)
	}
	if !slices.Equal(got, volumes) {
		t.Errorf("volumes %q, want %q", got, volumes)
	}
	if got := envOf(pod); !reflect.DeepEqual(got, env) {
		t.Errorf("variables %q, want %q", got, env)
	}
	if got := mountsOf(pod); !reflect.DeepEqual(got, mounts) {
		t.Errorf("mounts %q, want %q", got, mounts)
	}
}

// testInjectedEndpoint checks the container of delivery by endpoint, and what the others get.
func (c *cluster) testInjectedEndpoint(t *testing.T) {
	uri, token := endpointURI+"=http://127.0.0.1:9912/", endpointToken+"="+mountPath+"/endpoint-token"
	served := []string{uri, token, file[1]}
	endpointEnv := []string{"GOMAXPROCS=1"}
	withEndpoint := func(mounts map[string][]string) map[string][]string {
		mounts[endpointName] = mounted
		return mounts
	}
	noInit := func(p *corev1.Pod) { p.Spec.InitContainers = nil }
	value := func(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }
	for _, test := range []struct {
		name                string
		namespace, account  string
		changes             []podChange
		initContainers, env []string
	}{
		{"by label", unlabeled, "bare", []podChange{labeled("true")}, []string{endpointName, "init", "proxy"}, served},
		{"by annotation", optedIn, "bare", []podChange{annotated(roleAnnotation, "orders")}, []string{endpointName, "init", "proxy"}, served},
		{"by ServiceAccount", optedIn, "irsa", nil, []string{endpointName, "init", "proxy"}, served},
		{"without init containers", optedIn, "irsa", []podChange{noInit}, []string{endpointName}, served},
		{"with an endpoint of its own", optedIn, "irsa", []podChange{appEnv(value(endpointURI, "http://own"))}, []string{endpointName, "init", "proxy"}, []string{endpointURI + "=http://own", file[1]}},
		{
			"with a token of its own", optedIn, "irsa",
			[]podChange{appEnv(value("AWS_CONTAINER_AUTHORIZATION_TOKEN", "x"))},
			[]string{endpointName, "init", "proxy"},
			[]string{"AWS_CONTAINER_AUTHORIZATION_TOKEN=x", file[1]},
		},
		{"with a file of its own", optedIn, "irsa", []podChange{appEnv(value(sharedFile, "/own"))}, []string{endpointName, "init", "proxy"}, append([]string{sharedFile + "=/own"}, served...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := appPod(test.namespace, test.account, append([]podChange{annotated(deliveryOf, "endpoint")}, test.changes...)...)
			c.admit(t, pod)
			var names []string
			mounts, env := map[string][]string{"app": mounted, "helper": mounted}, map[string][]string{endpointName: endpointEnv, "app": test.env, "helper": served}
			for i := range pod.Spec.InitContainers {
				name := pod.Spec.InitContainers[i].Name
				if names = append(names, name); name != endpointName {
					mounts[name], env[name] = mounted, served
				}
			}
			if !slices.Equal(names, test.initContainers) {
				t.Fatalf("init containers %q, want %q", names, test.initContainers)
			}
			wantParts(t, pod, []string{injectedVolume}, env, withEndpoint(mounts))
			wantEndpoint(t, &pod.Spec.InitContainers[0])
		})
	}
	c.testEndpointOrder(t)
	skipped := appPod(optedIn, "irsa", annotated(deliveryOf, "endpoint"), annotated(skipAnnotation, "init,proxy,app,helper"))
	c.admit(t, skipped)
	wantParts(t, skipped, []string{injectedVolume}, map[string][]string{endpointName: endpointEnv}, map[string][]string{endpointName: mounted})
	byHand := appPod(optedIn, "irsa", annotated(deliveryOf, "endpoint"), func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: endpointName, Image: "own"})
	})
	c.admit(t, byHand)
	if got := byHand.Spec.InitContainers; len(got) != 3 || got[2].Image != "own" || len(got[2].Env) != 0 {
		t.Errorf("an endpoint that the pod has already is not left alone: %+v", got)
	}
}

// testEndpointOrder changes a policy, upon which the API server puts all of them in a new order:
// the order must not matter.
func (c *cluster) testEndpointOrder(t *testing.T) {
	t.Helper()
	var policy admissionv1.MutatingAdmissionPolicy
	for i := range 100 {
		if i%10 == 0 {
			c.get(t, &policy, "", injectEndpointName)
			policy.Annotations = map[string]string{"round": strconv.Itoa(i)}
			if err := c.Update(t.Context(), &policy); err != nil {
				t.Fatal(err)
			}
		}
		pod := appPod(unlabeled, "bare", labeled("true"), annotated(deliveryOf, "endpoint"), withVolume("role", secretSource("aws-iam.bare"), "/elsewhere"))
		c.admit(t, pod)
		if got := pod.Spec.InitContainers[0]; got.Name != endpointName || got.VolumeMounts[0].Name != "role" {
			t.Fatalf("pod %d has the init container %s with mounts %v", i, got.Name, got.VolumeMounts)
		}
	}
}

func wantEndpoint(t *testing.T, got *corev1.Container) {
	t.Helper()
	if got.Image != "kube-aws-iam-controller:latest" || ptr.Deref(got.RestartPolicy, "") != corev1.ContainerRestartPolicyAlways {
		t.Errorf("image %s, restart policy %v", got.Image, got.RestartPolicy)
	}
	if !slices.Equal(got.Command, []string{"/credentials-endpoint", "serve"}) || got.Lifecycle == nil || got.Lifecycle.PostStart == nil ||
		!slices.Equal(got.Lifecycle.PostStart.Exec.Command, []string{"/credentials-endpoint", "wait"}) {
		t.Errorf("command %q, lifecycle %v", got.Command, got.Lifecycle)
	}
	if limits := got.Resources.Limits; limits.Cpu().Sign() != 0 || limits.Memory().Sign() == 0 || got.Resources.Requests.Cpu().MilliValue() > 10 {
		t.Errorf("resources %v", got.Resources)
	}
	if s := got.SecurityContext; ptr.Deref(s.RunAsUser, 0) != 65532 || !ptr.Deref(s.ReadOnlyRootFilesystem, false) {
		t.Errorf("security context %v", s)
	}
}

// testEndpointPodSecurity creates pods with the endpoint at the strictest pod security level, and
// as root at a level that allows it.
func (c *cluster) testEndpointPodSecurity(t *testing.T) {
	const strict = "strict"
	c.restrict(t, strict)
	hardened := func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
		for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range containers {
				containers[i].SecurityContext = &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				}
			}
		}
	}
	asks := []podChange{labeled("true"), annotated(deliveryOf, "endpoint")}
	c.admit(t, appPod(strict, "app", append(asks, hardened)...))
	if err := c.Create(t.Context(), appPod(strict, "app", asks...), client.DryRunAll); err == nil || !strings.Contains(err.Error(), "PodSecurity") || strings.Contains(err.Error(), endpointName) {
		t.Errorf("a pod that is not of level restricted is not rejected for its own containers: %v", err)
	}
	root := appPod(unlabeled, "app", append(asks, func(p *corev1.Pod) { p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64)} })...)
	c.admit(t, root)
	wantEndpoint(t, &root.Spec.InitContainers[0])
}

// testNotInjected checks that a pod which asks for injection in a wrong way is rejected, and what
// the user reads.
func (c *cluster) testNotInjected(t *testing.T) {
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	asks, endpoint := annotated(roleAnnotation, "orders"), annotated(deliveryOf, "endpoint")
	host := func(p *corev1.Pod) { p.Spec.HostNetwork = true }
	initMount := func(p *corev1.Pod) {
		p.Spec.InitContainers[0].VolumeMounts = []corev1.VolumeMount{{Name: "cache", MountPath: mountPath + "/"}}
	}
	for _, test := range []struct {
		name, policy, because string
		namespace, account    string
		changes               []podChange
	}{
		{"an empty role", injectedPolicy, "is empty: name a role, or remove", optedIn, "bare", []podChange{annotated(roleAnnotation, "")}},
		{"an empty role with the label", injectedPolicy, "is empty", unlabeled, "bare", []podChange{labeled("true"), annotated(roleAnnotation, "")}},
		{"an empty role of an annotated ServiceAccount", injectedPolicy, "is empty", optedIn, "irsa", []podChange{annotated(roleAnnotation, "")}},
		{"a role with spaces", injectedPolicy, "is no role: my Write", optedIn, "bare", []podChange{annotated(roleAnnotation, "my role")}},
		{"a role with a line feed", injectedPolicy, "is no role: orders Write", optedIn, "bare", []podChange{annotated(roleAnnotation, "orders\n$(reboot)")}},
		{"a role of another service", injectedPolicy, "is no role: arn:aws:s3:::orders Write", optedIn, "bare", []podChange{annotated(roleAnnotation, "arn:aws:s3:::orders")}},
		{"a role of 700 characters", injectedPolicy, "is no role", optedIn, "bare", []podChange{annotated(roleAnnotation, strings.Repeat("r", 700))}},
		{"a role with a path of 700 characters", injectedPolicy, "too long", optedIn, "bare", []podChange{annotated(roleAnnotation, strings.Repeat("p", 700)+"/r")}},
		{"a role with a path of 200,000 characters", injectedPolicy, "is no role", optedIn, "bare", []podChange{annotated(roleAnnotation, strings.Repeat("p", 200_000)+"/r")}},
		{"a sign that has no escape", injectedPolicy, "has other characters", optedIn, "bare", []podChange{annotated(roleAnnotation, "te~am/orders")}},
		{"another value of the label", injectedPolicy, "inject is yes: only", optedIn, "bare", []podChange{labeled("yes")}},
		{"another value of the label in a namespace without it", injectedPolicy, "inject is True: only", unlabeled, "bare", []podChange{labeled("True")}},
		{"an empty label", injectedPolicy, "inject is : only", optedIn, "irsa", []podChange{labeled("")}},
		{"another delivery", injectedPolicy, "delivery is sidecar: only file and endpoint", optedIn, "bare", []podChange{asks, annotated(deliveryOf, "sidecar")}},
		{"an empty delivery", injectedPolicy, "delivery is : only file and endpoint", optedIn, "irsa", []podChange{annotated(deliveryOf, "")}},
		{"another delivery by label", injectedPolicy, "only file and endpoint", unlabeled, "bare", []podChange{labeled("true"), annotated(deliveryOf, "Endpoint")}},
		{"an endpoint in the node's network", injectedPolicy, "hostNetwork would serve", optedIn, "bare", []podChange{asks, endpoint, host}},
		{"an endpoint in the node's network by label", injectedPolicy, "hostNetwork would serve", unlabeled, "bare", []podChange{labeled("true"), endpoint, host}},
		{"an endpoint in the node's network by ServiceAccount", injectedPolicy, "hostNetwork would serve", optedIn, "irsa", []podChange{endpoint, host}},
		{"a container to skip that there is not", injectedPolicy, "names ap, and the pod has no such container", optedIn, "bare", []podChange{asks, annotated(skipAnnotation, "app, ap")}},
		{"hostile containers to skip", injectedPolicy, "names a, and", optedIn, "irsa", []podChange{annotated(skipAnnotation, "a\n$(reboot)")}},
		{"a volume of another kind", injectedPolicy, "volume aws-iam is not Secret aws-iam-orders", optedIn, "bare", []podChange{asks, withVolume(injectedVolume, empty)}},
		{"a volume of another Secret", injectedPolicy, "volume aws-iam is not Secret aws-iam.bare", unlabeled, "bare", []podChange{labeled("true"), withVolume(injectedVolume, secretSource("aws-iam-orders"))}},
		{"a volume of another kind by ServiceAccount", ownPolicy, "volume aws-iam is not Secret aws-iam.irsa", optedIn, "irsa", []podChange{withVolume(injectedVolume, empty)}},
		{"a mount at the path", injectedPolicy, "container app mounts another volume at /meta/aws-iam,", optedIn, "bare", []podChange{asks, withVolume("cache", empty, mountPath)}},
		{"a mount at the path in an init container", injectedPolicy, "container init mounts", unlabeled, "bare", []podChange{labeled("true"), withVolume("cache", empty), initMount}},
		{"a mount at the path by ServiceAccount", ownPolicy, "container app mounts", optedIn, "irsa", []podChange{withVolume("cache", empty, mountPath+"/")}},
		{"a ServiceAccount with too long a name", injectedPolicy, "is too long", unlabeled, strings.Repeat("s", 246), []podChange{labeled("true")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := c.Create(t.Context(), appPod(test.namespace, test.account, test.changes...), client.DryRunAll)
			wantRejection(t, err, test.policy, test.because)
			if err != nil && strings.ContainsAny(err.Error(), "\n$`") {
				t.Errorf("the message repeats what the requester chose: %q", err)
			}
		})
	}
	c.admit(t, appPod(optedIn, "bare", asks, host))
	c.admit(t, appPod(unlabeled, strings.Repeat("s", 245), labeled("true")))
}

// testInjectedLargePod tries what CEL's cost limits could refuse.
func (c *cluster) testInjectedLargePod(t *testing.T) {
	large := func(p *corev1.Pod) {
		p.Spec.Containers, p.Spec.InitContainers = nil, p.Spec.InitContainers[:1]
		for i := range 20 {
			container := corev1.Container{Name: fmt.Sprintf("c-%d", i), Image: "app"}
			for j := range 200 {
				container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprintf("A_VARIABLE_WITH_A_LONG_NAME_%d", j), Value: strings.Repeat("v", 50)})
			}
			p.Spec.Containers = append(p.Spec.Containers, container)
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, *p.Spec.Containers[0].DeepCopy())
		p.Spec.InitContainers[1].Name = "init-2"
	}
	for _, delivery := range []string{"file", "endpoint"} {
		for what, pod := range map[string]*corev1.Pod{
			"label":          appPod(unlabeled, "bare", labeled("true"), annotated(deliveryOf, delivery), large),
			"annotation":     appPod(optedIn, "bare", annotated(roleAnnotation, "arn:aws:iam::123456789012:role/"+strings.Repeat("p", 75)+"/"+strings.Repeat("R", 64)), annotated(deliveryOf, delivery), large),
			"ServiceAccount": appPod(optedIn, "irsa", annotated(deliveryOf, delivery), large),
		} {
			t.Run(delivery+" by "+what, func(t *testing.T) {
				c.admit(t, pod)
				for name, mounts := range mountsOf(pod) {
					if !slices.Equal(mounts, mounted) {
						t.Errorf("container %s has mounts %q", name, mounts)
					}
				}
				if n := len(mountsOf(pod)); n < 22 {
					t.Errorf("%d containers are injected", n)
				}
			})
		}
	}
}

// testInjectedReinvocation has a webhook add a container, which runs after the policies.
func (c *cluster) testInjectedReinvocation(t *testing.T) {
	webhook := httptest.NewUnstartedServer(http.HandlerFunc(addLateContainer))
	webhook.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	webhook.StartTLS()
	t.Cleanup(webhook.Close)
	configuration := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "late"},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "late.example.org", SideEffects: new(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{
				URL: &webhook.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: webhook.Certificate().Raw}),
			},
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"late": "true"}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	if err := c.Create(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(t.Context(), configuration) })
	late := func(p *corev1.Pod) {
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		p.Labels["late"] = "true"
	}
	eventually(t, "the webhook adds a container", func() bool {
		pod := appPod(unlabeled, "bare", late)
		c.admit(t, pod)
		return len(pod.Spec.Containers) == 3
	})
	for what, pod := range map[string]*corev1.Pod{
		"label":          appPod(unlabeled, "bare", labeled("true"), late),
		"annotation":     appPod(optedIn, "bare", annotated(roleAnnotation, "orders"), late),
		"ServiceAccount": appPod(optedIn, "irsa", late),
	} {
		t.Run("by "+what, func(t *testing.T) {
			c.admit(t, pod)
			env, mounts := everywhere(file), everywhere(mounted)
			env["late"], mounts["late"] = file, mounted
			wantParts(t, pod, []string{injectedVolume}, env, mounts)
		})
	}
}

// addLateContainer is a webhook that adds the container late.
func addLateContainer(w http.ResponseWriter, r *http.Request) {
	var review admissionreviewv1.AdmissionReview
	var pod corev1.Pod
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || json.Unmarshal(review.Request.Object.Raw, &pod) != nil {
		http.Error(w, "no pod", http.StatusBadRequest)
		return
	}
	response := &admissionreviewv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if len(pod.Spec.Containers) == 2 {
		response.PatchType = new(admissionreviewv1.PatchTypeJSONPatch)
		response.Patch = []byte(`[{"op":"add","path":"/spec/containers/-","value":{"name":"late","image":"late"}}]`)
	}
	review.Response, review.Request = response, nil
	if err := json.NewEncoder(w).Encode(review); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
