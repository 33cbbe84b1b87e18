package manifests_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testPodServiceAccount tries the Secrets of ServiceAccounts, none of which has any right.
func (c *cluster) testPodServiceAccount(t *testing.T) {
	judge(t, []try{
		{"volume of another refused", ownSecret, c.starts("app2", secretVolume("aws-iam.app"))},
		{"volume", "", c.starts("app", secretVolume("aws-iam.app"))},
		{"projected volume", "", c.starts("app", projectedVolume("aws-iam.app"))},
		{"env", "", c.starts("app", mainEnv("aws-iam.app"))},
		{"envFrom", "", c.starts("app", envFrom("aws-iam.app"))},
		{"env of an init container", "", c.starts("app", initEnv("aws-iam.app"))},
		{"all of them", "", c.starts("app", secretVolume("aws-iam.app"), projectedVolume("aws-iam.app"), mainEnv("aws-iam.app"), envFrom("aws-iam.app"))},
		{"projected volume of another refused", ownSecret, c.starts("app2", projectedVolume("aws-iam.app"))},
		{"env of another refused", ownSecret, c.starts("app2", mainEnv("aws-iam.app"))},
		{"envFrom of another refused", ownSecret, c.starts("app2", envFrom("aws-iam.app"))},
		{"env of another in an init container refused", ownSecret, c.starts("app2", initEnv("aws-iam.app"))},
		{"envFrom of another in an init container refused", ownSecret, c.starts("app2", initEnvFrom("aws-iam.app"))},

		{"a longer name refused", ownSecret, c.starts("app", secretVolume("aws-iam.app2"))},
		{"a name with a dot", "", c.starts("app.v1", secretVolume("aws-iam.app.v1"))},
		{"the name before the dot refused", ownSecret, c.starts("app", secretVolume("aws-iam.app.v1"))},
		{"the name after the dot refused", ownSecret, c.starts("v1", secretVolume("aws-iam.app.v1"))},
		{"no name refused", ownSecret, c.starts("app", secretVolume("aws-iam."))},
		{"own and another refused", ownSecret, c.starts("app", secretVolume("aws-iam.app"), mainEnv("aws-iam.app2"))},
		{"another in one projected volume refused", ownSecret, c.starts("app", projectedVolume("aws-iam.app", "aws-iam.app2"))},
		{"another behind another Secret refused", ownSecret, c.starts("app", secretVolume("tls"), projectedVolume("tls", "aws-iam.app2"))},
		{"the default ServiceAccount", "", c.starts("", secretVolume("aws-iam.default"))},
		{"the default ServiceAccount by name", "", c.starts("default", secretVolume("aws-iam.default"))},
		{"another of the default ServiceAccount refused", ownSecret, c.starts("", secretVolume("aws-iam.app"))},
		{"that of the default ServiceAccount refused", ownSecret, c.starts("app", secretVolume("aws-iam.default"))},
		{"a ServiceAccount by its old field", "", c.starts("", secretVolume("aws-iam.app"), func(p *corev1.Pod) { p.Spec.DeprecatedServiceAccount = "app" })},
		{"the right to every role is not enough", ownSecret, c.starts("every", secretVolume("aws-iam.app"))},
		{"with a role", "", c.starts("named", secretVolume("aws-iam.named"), mainEnv("aws-iam-orders"))},
		{"with a role without the right refused", podRole, c.starts("app", secretVolume("aws-iam.app"), mainEnv("aws-iam-orders"))},
		{"other Secrets", "", c.starts("app", secretVolume("tls"), mainEnv("aws-iam"), envFrom("not-aws-iam.app2"), initEnv("iam.app2"))},
	})
	quiet := c.quiet(t)
	own, others := driverVolumes("aws-iam.app"), driverVolumes("aws-iam.app2")
	for kind := range own {
		judge(t, []try{
			{kind + " of another refused", ownSecret, quiet.starts("app", func(p *corev1.Pod) { addVolume(p, others[kind]) })},
			{kind, "", quiet.starts("app", func(p *corev1.Pod) { addVolume(p, own[kind]) })},
		})
	}
	judge(t, []try{
		{"debugging of another refused", ownSecret, c.debugs(t, "app", "aws-iam.app2")},
		{"debugging with env of another refused", ownSecret, c.debugsWithEnv(t, "app", "aws-iam.app2")},
		{"debugging", "", c.debugs(t, "app", "aws-iam.app")},
		{"debugging with env", "", c.debugsWithEnv(t, "app", "aws-iam.app")},
		{"debugging, as the default ServiceAccount", "", c.debugs(t, "", "aws-iam.default")},
		{"debugging of another, as the default ServiceAccount, refused", ownSecret, c.debugs(t, "", "aws-iam.app")},
	})
	const want = "Secret aws-iam.app is only for pods of ServiceAccount app, and this pod has ServiceAccount app2: use Secret aws-iam.app2, or set serviceAccountName: app"
	if says := refusal(t, c.starts("app2", secretVolume("aws-iam.app"))(t.Context())); !strings.HasSuffix(says, want) {
		t.Errorf("the refusal does not say what to do: %s", says)
	}
	if says := refusal(t, c.starts("app", secretVolume("aws-iam.a\n$(b)"))(t.Context())); says == "" || strings.ContainsAny(says, "\n$") {
		t.Errorf("the refusal repeats what the requester chose: %q", says)
	}
}

// testLargePodsServiceAccount tries what CEL's cost limits could refuse.
func (c *cluster) testLargePodsServiceAccount(t *testing.T) {
	var plain, own []func(*corev1.Pod)
	for i := range 5000 {
		plain = append(plain, mainEnv(fmt.Sprintf("some-secret-with-a-long-name-%d", i)))
	}
	for range 50 {
		own = append(own, secretVolume("aws-iam.app"), projectedVolume("aws-iam.app"), mainEnv("aws-iam.app"))
	}
	judge(t, []try{
		{"5,000 variables and another refused", ownSecret, c.starts("app", slices.Concat(plain, []func(*corev1.Pod){mainEnv("aws-iam.app2")})...)},
		{"5,000 variables and its own", "", c.starts("app", slices.Concat(plain, own)...)},
	})
}

// debugsWithEnv tries to add to a running pod a container with a variable from a Secret.
func (c *cluster) debugsWithEnv(t *testing.T, serviceAccount, secret string) func(context.Context) error {
	t.Helper()
	pod := podWith(serviceAccount)
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) error {
		debug := corev1.Container{Name: "debug", Image: "debug", TerminationMessagePolicy: corev1.TerminationMessageReadFile}
		addEnv(&debug, secret)
		changed := pod.DeepCopy()
		changed.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(debug)}}
		return c.SubResource("ephemeralcontainers").Update(ctx, changed, client.DryRunAll)
	}
}

// testSecretNames tries Secrets of all names that the controller uses: only the label counts.
func (c *cluster) testSecretNames(t *testing.T) {
	controller, editor := c.as(t, c.serviceAccount(t, name)), c.may(t, "names-editor", edit)
	label := map[string]string{"heritage": name}
	named := func(as client.Client, secret string, labels map[string]string) func(context.Context) error {
		return func(ctx context.Context) error {
			meta := metav1.ObjectMeta{Namespace: guarded, Name: secret, Labels: labels}
			return as.Create(ctx, &corev1.Secret{ObjectMeta: meta}, client.DryRunAll)
		}
	}
	for _, secret := range []string{"aws-iam-orders", "aws-iam.app", "aws-role.0orders0", "billing"} {
		judge(t, []try{
			{secret + " by an editor refused", secretLabel, named(editor, secret, label)},
			{secret + " by the controller without the label refused", secretWrites, named(controller, secret, nil)},
			{secret + " by the controller", "", named(controller, secret, label)},
		})
	}
}
