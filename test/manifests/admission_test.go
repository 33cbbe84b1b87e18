package manifests_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/test/env"
)

const (
	// guarded is the namespace whose pods and Secrets the policies are tried on, and elsewhere one
	// with rights and an AWSIAMRole of its own.
	guarded   = "guarded"
	elsewhere = "elsewhere"
	// edit is what Kubernetes' ClusterRole edit is made of, by a controller that does not run here.
	edit = "system:aggregate-to-edit"
	// base is the base role ARN that admission/pods/kustomization.yaml shows.
	base = "arn:aws:iam::123456789012:role/"
)

// The policies, as their refusals name them.
const (
	podAnyRole   = "'kube-aws-iam-controller-pod-role" // of both the first to say no
	podRole      = podAnyRole + "'"
	podRoles     = "'kube-aws-iam-controller-pod-roles'"
	ownSecret    = "'kube-aws-iam-controller-serviceaccount-secret'"
	secretLabel  = "'kube-aws-iam-controller-secret-label'"
	secretWrites = "'kube-aws-iam-controller-secret-writes'"
	seedDelete   = "'kube-aws-iam-controller-seed-delete'"
)

// testAdmission has real users try each side of each rule.
func (c *cluster) testAdmission(t *testing.T) {
	for _, name := range []string{guarded, elsewhere} {
		if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	all := &rbacv1.PolicyRule{APIGroups: []string{v1.GroupVersion.Group}, Resources: []string{v1.Resource}, Verbs: []string{"assume"}}
	c.grantRule(t, guarded, guardedServiceAccount("every"), *all)
	c.grant(t, guarded, guardedServiceAccount("named"), "orders", "reports", "Billing_Export")
	c.grant(t, guarded, guardedServiceAccount("default"), "orders")
	c.grant(t, guarded, guardedServiceAccount("arn"), base+"orders", base+"Billing_Export")
	c.grant(t, elsewhere, guardedServiceAccount("foreign"), "orders", "Billing_Export")
	var many, used []string
	for i := range most {
		many, used = append(many, fmt.Sprintf("%srole-%d", base, i)), append(used, fmt.Sprintf("aws-iam-used-%d", i))
	}
	c.grant(t, guarded, guardedServiceAccount("many"), many...)
	c.grantRule(t, guarded, guardedServiceAccount("uses-many"), usage(used...))
	c.grantRule(t, guarded, guardedServiceAccount("uses"), usage("aws-iam-java-example"))

	t.Run("pods by role", c.testPodRole)
	t.Run("pods by use", c.testPodUse)
	t.Run("pods of AWSIAMRoles", c.testPodAWSIAMRole)
	t.Run("what refusals suggest", c.testSuggestions)
	t.Run("Secrets of other software", c.testIgnored)
	t.Run("rights that come late", c.testLateRights)
	t.Run("pods by ARN", c.testPodARN)
	t.Run("large pods", c.testLargePods)
	t.Run("pods of ServiceAccounts", c.testPodServiceAccount)
	t.Run("large pods of ServiceAccounts", c.testLargePodsServiceAccount)
	t.Run("Secrets with the label", c.testSecretLabel)
	t.Run("Secrets of the controller", c.testSecretWrites)
	t.Run("Secrets of all names", c.testSecretNames)
	t.Run("another ServiceAccount", c.testOtherController)
	t.Run("the seed", c.testSeedDelete)
	t.Run("a namespace that is deleted", c.testNamespaceDeletion)
}

// try is one attempt, and the policy that refuses it, if one does.
type try struct {
	says, refusedBy string
	attempt         func(context.Context) error
}

// judge makes attempts; before, it waits until the first that is to be refused is: by then the API
// server knows the policy.
func judge(t *testing.T, tries []try) {
	t.Helper()
	for _, a := range tries {
		if a.refusedBy != "" {
			eventually(t, a.refusedBy+" is in force", func() bool { return refusal(t, a.attempt(t.Context())) != "" })
			break
		}
	}
	for _, a := range tries {
		t.Run(a.says, func(t *testing.T) {
			got := refusal(t, a.attempt(t.Context()))
			switch {
			case a.refusedBy == "" && got != "", strings.Contains(got, "resulted in error"):
				t.Error(got)
			case !strings.Contains(got, a.refusedBy):
				t.Errorf("not refused by policy %s but %q", a.refusedBy, got)
			}
		})
	}
}

// refusal is what a policy says in refusing an attempt, or nothing if it is allowed. Any other
// error fails the test.
func refusal(t *testing.T, err error) string {
	t.Helper()
	switch {
	case err == nil:
		return ""
	case !apierrors.IsForbidden(err), !strings.Contains(err.Error(), "ValidatingAdmissionPolicy"):
		t.Fatal(err)
	}
	return err.Error()
}

// eventually waits until the API server enforces what was just written.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	if err := env.AwaitWithin(t.Context(), 2*patience, pollInterval, what, func() (bool, error) { return so(), nil }); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) testPodRole(t *testing.T) {
	judge(t, []try{
		{"volume refused", podRole, c.starts("unbound", secretVolume("aws-iam-orders"))},
		{"volume", "", c.starts("named", secretVolume("aws-iam-orders"))},
		{"projected volume", "", c.starts("named", projectedVolume("aws-iam-orders"))},
		{"env", "", c.starts("named", mainEnv("aws-iam-orders"))},
		{"envFrom", "", c.starts("named", envFrom("aws-iam-orders"))},
		{"init container", "", c.starts("named", initEnv("aws-iam-orders"))},
		{"projected volume refused", podRole, c.starts("unbound", projectedVolume("aws-iam-orders"))},
		{"env refused", podRole, c.starts("unbound", mainEnv("aws-iam-orders"))},
		{"envFrom refused", podRole, c.starts("unbound", envFrom("aws-iam-orders"))},
		{"env of an init container refused", podRole, c.starts("unbound", initEnv("aws-iam-orders"))},
		{"envFrom of an init container refused", podRole, c.starts("unbound", initEnvFrom("aws-iam-orders"))},

		{"two roles", "", c.starts("named", secretVolume("aws-iam-orders"), mainEnv("aws-iam-reports"))},
		{"the second refused", podRole, c.starts("named", secretVolume("aws-iam-orders"), mainEnv("aws-iam-other"))},
		{"the second of one projected volume refused", podRole, c.starts("named", projectedVolume("aws-iam-orders", "aws-iam-other"))},
		{"one behind another Secret refused", podRole, c.starts("unbound", secretVolume("tls"), projectedVolume("tls", "aws-iam-orders"))},
		{"the default ServiceAccount", "", c.starts("", secretVolume("aws-iam-orders"))},
		{"the default ServiceAccount refused", podRole, c.starts("", secretVolume("aws-iam-reports"))},
		{"a ServiceAccount by its old field", "", c.starts("", secretVolume("aws-iam-reports"), func(p *corev1.Pod) { p.Spec.DeprecatedServiceAccount = "named" })},
		{"a right in another namespace refused", podRole, c.starts("foreign", secretVolume("aws-iam-orders"))},
		{"every role", "", c.starts("every", secretVolume("aws-iam-anything"))},
		{"a granted ARN, but no base refused", podRole, c.starts("arn", secretVolume("aws-iam-orders"))},
		{"an escaped name refused", podRole, c.starts("unbound", secretVolume("aws-role.0-billing-1-export0"))},
		{"an escaped name", "", c.starts("named", secretVolume("aws-role.0-billing-1-export0"))},
		{"an escaped name in a projected volume refused", podRole, c.starts("unbound", projectedVolume("aws-role.0-billing-1-export0"))},
		{"an escaped name in env refused", podRole, c.starts("unbound", mainEnv("aws-role.0-billing-1-export0"))},
		{"an escaped name in envFrom of an init container refused", podRole, c.starts("unbound", initEnvFrom("aws-role.0-billing-1-export0"))},
		{"an escaped name beside a plain one", "", c.starts("named", secretVolume("aws-iam-orders"), mainEnv("aws-role.0-billing-1-export0"))},
		{"an escaped name beside a plain one refused", podRole, c.starts("named", secretVolume("aws-iam-orders"), mainEnv("aws-role.0-billing0"))},
		{"the escape of a plain name", "", c.starts("named", secretVolume("aws-role.0orders0"))},
		{"the escape of a plain name refused", podRole, c.starts("unbound", secretVolume("aws-role.0orders0"))},
		{"a name that is no escape refused", podRole, c.starts("every", secretVolume("aws-role.orders"))},
		{"other Secrets", "", c.starts("unbound", secretVolume("tls"), secretVolume("aws-role"), secretVolume("aws-role-orders"), projectedVolume("db"), mainEnv("aws"), envFrom("not-aws-iam-orders"), initEnv("iam"))},
		{"nothing", "", c.starts("unbound")},
	})
	quiet := c.quiet(t)
	for _, secret := range []string{"aws-iam-orders", "aws-role.0-billing-1-export0"} {
		for kind, source := range driverVolumes(secret) {
			add := func(p *corev1.Pod) { addVolume(p, source) }
			judge(t, []try{
				{kind + " of " + secret + " refused", podRole, quiet.starts("unbound", add)},
				{kind + " of " + secret, "", quiet.starts("named", add)},
			})
		}
	}
	judge(t, []try{
		{"debugging refused", podRole, c.debugs(t, "unbound", "aws-iam-orders")},
		{"debugging", "", c.debugs(t, "named", "aws-iam-orders")},
		{"debugging with an escaped name refused", podRole, c.debugs(t, "unbound", "aws-role.0-billing-1-export0")},
		{"debugging with an escaped name", "", c.debugs(t, "named", "aws-role.0-billing-1-export0")},
		{"debugging with another Secret", "", c.debugs(t, "unbound", "tls")},
	})
}

// testPodAWSIAMRole checks that Secrets of AWSIAMRoles, whose names do not begin with aws-iam-,
// are not looked at: the whole namespace is allowed their roles.
func (c *cluster) testPodAWSIAMRole(t *testing.T) {
	c.createAWSIAMRole(t, guarded, "billing", "Billing_Export")
	judge(t, []try{
		{"aws-iam- refused", podRole, c.starts("unbound", secretVolume("aws-iam-billing"))},
		{"volume", "", c.starts("unbound", secretVolume("billing"))},
		{"env", "", c.starts("unbound", mainEnv("billing"))},
		{"debugging", "", c.debugs(t, "unbound", "billing")},
	})
}

// testIgnored has pods use Secrets of other software that have names as the controller's: in a
// namespace that the operator excluded, and Secrets that the policies list. What a pod's author can
// write changes nothing.
func (c *cluster) testIgnored(t *testing.T) {
	excluded := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "excluded", Labels: map[string]string{"iam.amazonaws.com/admission": "ignore"}}}
	if err := c.Create(t.Context(), excluded); err != nil {
		t.Fatal(err)
	}
	in := func(namespace string, parts ...func(*corev1.Pod)) func(context.Context) error {
		return func(ctx context.Context) error {
			pod := podWith("unbound", parts...)
			pod.Namespace = namespace
			return c.Create(ctx, pod, client.DryRunAll)
		}
	}
	c.apply(t, overlay(t, "admission/pods", 1, strings.NewReplacer("legacy/", elsewhere+"/")))
	c.apply(t, overlay(t, "admission/serviceaccounts", 0, strings.NewReplacer()))
	defer c.apply(t, render(t, "admission/serviceaccounts"))
	eventually(t, "the ignored Secrets are known", func() bool {
		return refusal(t, in(elsewhere, secretVolume("aws-iam-user-credentials"))(t.Context())) == "" &&
			refusal(t, in(elsewhere, secretVolume("aws-iam.export"))(t.Context())) == ""
	})
	label := func(p *corev1.Pod) { p.Labels = map[string]string{"iam.amazonaws.com/admission": "ignore"} }
	judge(t, []try{
		{"another Secret refused", podRole, in(elsewhere, secretVolume("aws-iam-orders"))},
		{"an ignored Secret", "", in(guarded, mainEnv("aws-iam-user-credentials"))},
		{"a Secret that is ignored in its namespace", "", in(elsewhere, envFrom("aws-iam-export"))},
		{"a Secret that is ignored in another namespace refused", podRole, in(guarded, envFrom("aws-iam-export"))},
		{"an ignored Secret beside another refused", podRole, in(guarded, mainEnv("aws-iam-user-credentials"), secretVolume("aws-iam-orders"))},
		{"another Secret of a ServiceAccount refused", ownSecret, in(guarded, secretVolume("aws-iam.other"))},
		{"a name that begins as an ignored one refused", podRole, in(guarded, secretVolume("aws-iam-user-credentials-2"))},
		{"a label of the pod refused", podRole, in(guarded, label, secretVolume("aws-iam-orders"))},
		{"any Secret in an excluded namespace", "", in("excluded", secretVolume("aws-iam-orders"), mainEnv("aws-role.0orders0"))},
		{"any Secret of a ServiceAccount in an excluded namespace", "", in("excluded", secretVolume("aws-iam.other"))},
	})
}

// testLateRights has the policies for pods warn, by components/late-rights: the API server says in
// the warning what it would say in the refusal.
func (c *cluster) testLateRights(t *testing.T) {
	objects := renderAbove(t, func(config string) string {
		return "resources: [" + config + "/admission/pods, " + config + "/admission/serviceaccounts]\ncomponents: [" + config + "/components/late-rights]\n"
	})
	var warned recordedWarnings
	cfg := rest.CopyConfig(c.env.Config)
	cfg.WarningHandlerWithContext = &warned
	warns, err := client.New(cfg, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	refused := func() bool {
		return refusal(t, warns.Create(t.Context(), podWith("unbound", secretVolume("aws-iam-orders")), client.DryRunAll)) != ""
	}
	c.apply(t, objects)
	defer func() {
		c.apply(t, render(t, "admission/pods"))
		eventually(t, "a pod without a right is rejected again", refused)
	}()
	eventually(t, "a pod without a right is admitted", func() bool { return !refused() })
	if text := strings.Join(warned, "; "); !strings.Contains(text, "unbound may not assume role orders") {
		t.Errorf("the warnings are %s", text)
	}
	judge(t, []try{{"the Secret of another ServiceAccount refused", ownSecret, c.starts("unbound", secretVolume("aws-iam.other"))}})
}

// recordedWarnings has what the API server warned about.
type recordedWarnings []string

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *recordedWarnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	*w = append(*w, text)
}

// testPodARN configures the policies with the base role ARN, as admission/pods/kustomization.yaml
// shows it.
func (c *cluster) testPodARN(t *testing.T) {
	c.apply(t, overlay(t, "admission/pods", 0, strings.NewReplacer()))
	eventually(t, "the base role ARN is known", func() bool {
		return refusal(t, c.starts("arn", secretVolume("aws-iam-orders"))(t.Context())) == "" &&
			refusal(t, c.starts("many", tenRoles(0, 0)...)(t.Context())) == ""
	})
	judge(t, []try{
		{"by ARN", "", c.starts("arn", secretVolume("aws-iam-orders"))},
		{"by name", "", c.starts("named", secretVolume("aws-iam-orders"))},
		{"neither refused", podRole, c.starts("unbound", secretVolume("aws-iam-orders"))},
		{"another ARN refused", podRole, c.starts("arn", secretVolume("aws-iam-reports"))},
		{"an escaped name by ARN", "", c.starts("arn", secretVolume("aws-role.0-billing-1-export0"))},
		{"an escaped ARN by ARN", "", c.starts("arn", secretVolume("aws-role.0arn-7aws-7iam-7-7123456789012-7role-6orders0"))},
		{"an escaped ARN by name", "", c.starts("named", secretVolume("aws-role.0arn-7aws-7iam-7-7123456789012-7role-6orders0"))},
		{"an escaped ARN refused", podRole, c.starts("unbound", secretVolume("aws-role.0arn-7aws-7iam-7-7123456789012-7role-6orders0"))},
		{"an escaped ARN of another account by name refused", podRole, c.starts("named", secretVolume("aws-role.0arn-7aws-7iam-7-7210987654321-7role-6orders0"))},
	})
}

// most is how many roles a pod may have without the right to all of them.
const most = 10

// tenRoles are the parts of a pod with ten roles, of which the ServiceAccount many may not have
// those from one to before another.
func tenRoles(from, before int) []func(*corev1.Pod) {
	var parts []func(*corev1.Pod)
	for i := range most {
		secret := fmt.Sprintf("aws-iam-role-%d", i)
		if i >= from && i < before {
			secret = fmt.Sprintf("aws-iam-other-%d", i)
		}
		parts = append(parts, secretVolume(secret), mainEnv(secret), envFrom(secret))
	}
	return parts
}

// testLargePods tries what CEL's cost limits might refuse, with the base role ARN known: three
// questions for each role.
func (c *cluster) testLargePods(t *testing.T) {
	var twice, fifty, used []func(*corev1.Pod)
	for i := range 50 {
		fifty = append(fifty, secretVolume(fmt.Sprintf("aws-iam-role-%d", i)))
		twice = append(twice, secretVolume(fmt.Sprintf("aws-iam-role-%d", i%most)))
	}
	for i := range most {
		used = append(used, secretVolume(fmt.Sprintf("aws-iam-used-%d", i)))
	}
	var plain []func(*corev1.Pod)
	for i := range 5000 {
		plain = append(plain, mainEnv(fmt.Sprintf("some-secret-with-a-long-name-%d", i)))
	}
	var longest []func(*corev1.Pod)
	for i := range most {
		longest = append(longest, secretVolume(fmt.Sprintf("aws-role.0%s%d0", strings.Repeat("-7", 120), i)))
	}
	other := []func(*corev1.Pod){secretVolume("aws-iam-other")}
	judge(t, []try{
		{"an eleventh refused", podRoles, c.starts("many", slices.Concat(tenRoles(0, 0), other)...)},
		{"ten roles in many places", "", c.starts("many", tenRoles(0, 0)...)},
		{"ten roles in fifty volumes", "", c.starts("many", twice...)},
		{"ten Secrets by use: thirty questions", "", c.starts("uses-many", used...)},
		{"ten Secrets by use among 5,000 variables", "", c.starts("uses-many", slices.Concat(plain, used)...)},
		{"the first refused", podRole, c.starts("many", tenRoles(0, 1)...)},
		{"the tenth refused", podRoles, c.starts("many", slices.Concat(tenRoles(0, 0)[3:], other)...)},
		{"ten roles refused", podAnyRole, c.starts("unbound", tenRoles(0, 0)...)},
		{"the last five refused", podRoles, c.starts("many", tenRoles(5, most)...)},
		{"ten of the longest names", "", c.starts("every", longest...)},
		{"ten of the longest names refused", podAnyRole, c.starts("many", longest...)},
		{"ten of the longest names among 5,000 variables", "", c.starts("every", slices.Concat(plain, longest)...)},
		{"fifty roles", "", c.starts("every", fifty...)},
		{"fifty roles refused", podAnyRole, c.starts("unbound", fifty...)},
		{"5,000 variables", "", c.starts("unbound", plain...)},
		{"5,000 variables and a role", "", c.starts("named", slices.Concat(plain, []func(*corev1.Pod){mainEnv("aws-iam-orders")})...)},
		{"5,000 variables and a role refused", podRole, c.starts("unbound", slices.Concat(plain, []func(*corev1.Pod){mainEnv("aws-iam-orders")})...)},
	})
	for _, serviceAccount := range []string{"many", "unbound"} {
		if says := refusal(t, c.starts(serviceAccount, fifty...)(t.Context())); !strings.Contains(says, "may not assume role role-") &&
			!strings.Contains(says, "more than 10 roles") {
			t.Errorf("the refusal does not say why: %s", says)
		}
	}
}

func (c *cluster) testSecretLabel(t *testing.T) {
	label := map[string]string{"heritage": name}
	ours, theirs := c.createSecret(t, "ours", label), c.createSecret(t, "theirs", map[string]string{"heritage": "Helm"})
	editor := c.may(t, "editor", edit)
	all := c.may(t, "lead", edit)
	c.grantRule(t, guarded, rbacv1.Subject{Kind: rbacv1.UserKind, Name: "lead"},
		rbacv1.PolicyRule{APIGroups: []string{v1.GroupVersion.Group}, Resources: []string{v1.Resource}, Verbs: []string{"assume"}})
	some := c.may(t, "senior", edit)
	c.grant(t, guarded, rbacv1.Subject{Kind: rbacv1.UserKind, Name: "senior"}, "orders")
	admin := c.may(t, "chief", "cluster-admin")
	controller := c.as(t, c.serviceAccount(t, name))
	collector := c.impersonate(t, "system:serviceaccount:kube-system:generic-garbage-collector", "system:serviceaccounts", "system:serviceaccounts:kube-system")

	var tries []try
	for _, user := range []struct {
		says, refusedBy string
		client          client.Client
	}{
		{"an editor", secretLabel, editor},
		{"an editor with one role", secretLabel, some},
		{"an editor with every role", "", all},
		{"a cluster admin", "", admin},
	} {
		tries = append(tries,
			try{user.says + " creates one", user.refusedBy, creates(user.client, label)},
			try{user.says + " changes one", user.refusedBy, changes(user.client, ours, func(s *corev1.Secret) { s.Data = map[string][]byte{"a": []byte("b")} })},
			try{user.says + " labels one", user.refusedBy, changes(user.client, theirs, func(s *corev1.Secret) { s.Labels = label })},
			try{user.says + " takes the label off", user.refusedBy, changes(user.client, ours, func(s *corev1.Secret) { s.Labels = nil })},
			try{user.says + " takes the label's value off", user.refusedBy, changes(user.client, ours, func(s *corev1.Secret) { s.Labels = map[string]string{"heritage": ""} })},
			try{user.says + " deletes one", "", deletes(user.client, ours)},
			try{user.says + " creates one of their own", "", creates(user.client, nil)},
			try{user.says + " changes one of their own", "", changes(user.client, theirs, func(s *corev1.Secret) { s.Labels = nil })},
		)
	}
	const token = corev1.SecretTypeServiceAccountToken
	typed := c.createSecret(t, "typed", nil, "example.org/typed")
	judge(t, append(tries,
		try{"the controller creates one of another type", secretLabel, createsTyped(controller, label, "example.org/typed")},
		try{"the controller creates a token of a ServiceAccount", secretLabel, createsTyped(controller, label, token)},
		try{"the controller creates one of type Opaque", "", createsTyped(controller, label, corev1.SecretTypeOpaque)},
		try{"a cluster admin creates one of another type", secretLabel, createsTyped(admin, label, "example.org/typed")},
		try{"a cluster admin labels one of another type", secretLabel, changes(admin, typed, func(s *corev1.Secret) { s.Labels = label })},
		try{"a cluster admin creates one of another type without the label", "", createsTyped(admin, nil, "example.org/typed")},
		try{"the controller creates one", "", creates(controller, label)},
		try{"the controller changes one", "", changes(controller, ours, func(s *corev1.Secret) { s.Data = map[string][]byte{"a": []byte("b")} })},
		try{"the garbage collector takes a finalizer off", "", changes(collector, ours, func(s *corev1.Secret) { s.Finalizers = nil })},
		try{"the garbage collector deletes one", "", deletes(collector, ours)},
	))
}

func (c *cluster) testSecretWrites(t *testing.T) {
	label := map[string]string{"heritage": name}
	ours, theirs := c.createSecret(t, "our-own", label), c.createSecret(t, "their-own", map[string]string{"heritage": "Helm"})
	bare := c.createSecret(t, "bare", nil)
	controller := c.as(t, c.serviceAccount(t, name))
	judge(t, []try{
		{"creates one without the label refused", secretWrites, creates(controller, nil)},
		{"creates one with another label refused", secretWrites, creates(controller, map[string]string{"heritage": "Helm"})},
		{"creates one", "", creates(controller, label)},
		{"changes one", "", changes(controller, ours, func(s *corev1.Secret) { s.Data = map[string][]byte{"a": []byte("b")} })},
		{"deletes one", "", deletes(controller, ours)},
		{"changes a foreign one refused", secretWrites, changes(controller, theirs, func(s *corev1.Secret) { s.Data = nil })},
		{"changes one without labels refused", secretWrites, changes(controller, bare, func(s *corev1.Secret) { s.Immutable = new(true) })},
		{"makes a foreign one its own refused", secretWrites, changes(controller, theirs, func(s *corev1.Secret) { s.Labels = label })},
		{"gives one away refused", secretWrites, changes(controller, ours, func(s *corev1.Secret) { s.Labels = nil })},
		{"deletes a foreign one refused", secretWrites, deletes(controller, theirs)},
		{"deletes one without labels refused", secretWrites, deletes(controller, bare)},
	})
}

// testOtherController configures the policies for another ServiceAccount in another namespace, and
// then takes it back.
func (c *cluster) testOtherController(t *testing.T) {
	label := map[string]string{"heritage": name}
	c.apply(t, policiesOf(renderElsewhere(t, "other", "overlays/seed")))
	other := c.may(t, "system:serviceaccount:elsewhere:other", edit)
	former := c.as(t, c.serviceAccount(t, name))
	eventually(t, "both policies know it", func() bool {
		return refusal(t, creates(other, nil)(t.Context())) != "" && refusal(t, creates(former, label)(t.Context())) != ""
	})
	judge(t, []try{
		{"creates one", "", creates(other, label)},
		{"creates one without the label refused", secretWrites, creates(other, nil)},
		{"the former creates one refused", secretLabel, creates(former, label)},
		{"the former creates one without the label", "", creates(former, nil)},
	})
	c.apply(t, render(t, "admission"))
	eventually(t, "both policies know the former again", func() bool {
		return refusal(t, creates(former, nil)(t.Context())) != "" && refusal(t, creates(other, label)(t.Context())) != "" &&
			refusal(t, c.starts("arn", secretVolume("aws-iam-orders"))(t.Context())) != ""
	})
}

// starts tries to create a pod, as its own administrator: it is the ServiceAccount whose rights
// count. Nothing is stored.
func (c *cluster) starts(serviceAccount string, parts ...func(*corev1.Pod)) func(context.Context) error {
	return func(ctx context.Context) error {
		return c.Create(ctx, podWith(serviceAccount, parts...), client.DryRunAll)
	}
}

// debugs tries to add to a running pod a container that has a Secret in its environment.
func (c *cluster) debugs(t *testing.T, serviceAccount, secret string) func(context.Context) error {
	t.Helper()
	pod := podWith(serviceAccount)
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) error {
		changed := pod.DeepCopy()
		changed.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debug", Image: "debug", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}}},
		}}}
		return c.SubResource("ephemeralcontainers").Update(ctx, changed, client.DryRunAll)
	}
}

func podWith(serviceAccount string, parts ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: guarded, GenerateName: "pod-"},
		Spec: corev1.PodSpec{
			ServiceAccountName: serviceAccount,
			InitContainers:     []corev1.Container{{Name: "init", Image: "app"}},
			Containers:         []corev1.Container{{Name: "sidecar", Image: "app"}, {Name: "app", Image: "app"}},
		},
	}
	for _, part := range parts {
		part(pod)
	}
	return pod
}

func addVolume(p *corev1.Pod, source corev1.VolumeSource) {
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("volume-%d", len(p.Spec.Volumes)), VolumeSource: source})
}

func secretVolume(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		addVolume(p, corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}})
	}
}

func projectedVolume(names ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		projected := &corev1.ProjectedVolumeSource{}
		for _, name := range names {
			projected.Sources = append(projected.Sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: name},
			}})
		}
		addVolume(p, corev1.VolumeSource{Projected: projected})
	}
}

func addEnv(c *corev1.Container, secret string) {
	c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", len(c.Env)), ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "credentials"},
	}})
}

func addEnvFrom(c *corev1.Container, secret string) {
	c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}})
}

func mainEnv(secret string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { addEnv(&p.Spec.Containers[1], secret) }
}

func envFrom(secret string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { addEnvFrom(&p.Spec.Containers[1], secret) }
}

func initEnv(secret string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { addEnv(&p.Spec.InitContainers[0], secret) }
}

func initEnvFrom(secret string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { addEnvFrom(&p.Spec.InitContainers[0], secret) }
}

// creates tries to create a Secret. Nothing is stored, here and in the next three.
func creates(c client.Client, labels map[string]string) func(context.Context) error {
	return createsTyped(c, labels, "")
}

func createsTyped(c client.Client, labels map[string]string, secretType corev1.SecretType) func(context.Context) error {
	return func(ctx context.Context) error {
		return c.Create(ctx, &corev1.Secret{Type: secretType, ObjectMeta: metav1.ObjectMeta{
			Namespace: guarded, Name: "new", Labels: labels, Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"},
		}}, client.DryRunAll)
	}
}

func changes(c client.Client, s *corev1.Secret, change func(*corev1.Secret)) func(context.Context) error {
	return func(ctx context.Context) error {
		s := s.DeepCopy()
		change(s)
		return c.Update(ctx, s, client.DryRunAll)
	}
}

func deletes(c client.Client, s *corev1.Secret) func(context.Context) error {
	return func(ctx context.Context) error { return c.Delete(ctx, s.DeepCopy(), client.DryRunAll) }
}

// createSecret creates a Secret as an administrator, with a finalizer for the garbage collector to
// take off.
func (c *cluster) createSecret(t *testing.T, name string, labels map[string]string, types ...corev1.SecretType) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{Type: slices.Max(append(types, corev1.SecretType(""))), ObjectMeta: metav1.ObjectMeta{
		Namespace: guarded, Name: name, Labels: labels, Finalizers: []string{"example.org/finalizer"},
	}, Data: map[string][]byte{"key": []byte("value")}}
	if err := c.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (c *cluster) createAWSIAMRole(t *testing.T, namespace, name, reference string) {
	t.Helper()
	spec := map[string]any{}
	if reference != "" {
		spec["roleReference"] = reference
	}
	r := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	r.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.Kind))
	r.SetNamespace(namespace)
	r.SetName(name)
	if err := c.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func guardedServiceAccount(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: guarded, Name: name}
}

// grant gives a subject the right to assume roles.
func (c *cluster) grant(t *testing.T, namespace string, subject rbacv1.Subject, roles ...string) {
	t.Helper()
	c.grantRule(t, namespace, subject, rbacv1.PolicyRule{
		APIGroups: []string{v1.GroupVersion.Group}, Resources: []string{v1.Resource}, Verbs: []string{"assume"}, ResourceNames: roles,
	})
}

// grantRule gives a subject a right in a namespace, and waits until the API server knows it.
func (c *cluster) grantRule(t *testing.T, namespace string, subject rbacv1.Subject, rule rbacv1.PolicyRule) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "assume-" + subject.Name}
	binding := &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: meta.Name}}
	for _, object := range []client.Object{&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{rule}}, binding} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	user := subject.Name
	if subject.Kind == rbacv1.ServiceAccountKind {
		user = "system:serviceaccount:" + subject.Namespace + ":" + subject.Name
	}
	access := rule.Verbs[0] + " awsiamroles.zalando.org"
	if len(rule.ResourceNames) > 0 {
		access += ":" + rule.ResourceNames[0]
	}
	as := c.impersonate(t, user)
	eventually(t, user+" may "+access, func() bool { return may(t, as, access+" "+namespace) })
}

// may is a user with one of Kubernetes' own ClusterRoles: cluster-admin in the cluster, all others
// in the guarded namespace.
func (c *cluster) may(t *testing.T, user, clusterRole string) client.Client {
	t.Helper()
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: user}}
	ref := rbacv1.RoleRef{Kind: "ClusterRole", Name: clusterRole}
	var binding client.Object = &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: guarded, Name: user}, Subjects: subjects, RoleRef: ref}
	if clusterRole == "cluster-admin" {
		binding = &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: subjects, RoleRef: ref}
	}
	if err := c.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	as := c.impersonate(t, user)
	eventually(t, user+" may write Secrets", func() bool { return may(t, as, "update secrets "+guarded) })
	return as
}

// impersonate is a client with the rights of a user.
func (c *cluster) impersonate(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	cfg := rest.CopyConfig(c.env.Config)
	cfg.QPS = -1 // no limit
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	as, err := client.New(cfg, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return as
}

// overlay builds a folder with the patches that its kustomization.yaml shows in its comment, the
// first or a later one.
func overlay(t *testing.T, folder string, number int, values *strings.Replacer) []*unstructured.Unstructured {
	t.Helper()
	patches := strings.Split(shown(t, folder), "patches:\n")[1:]
	if number >= len(patches) {
		t.Fatalf("%s shows %d patches", folder, len(patches))
	}
	return renderAbove(t, func(config string) string {
		return "resources: [" + config + "/" + folder + "]\npatches:\n" + values.Replace(patches[number])
	})
}

// shown is the YAML that the comment of a folder's kustomization.yaml shows.
func shown(t *testing.T, folder string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Clean(folder), "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const indent = "#     "
	var yaml strings.Builder
	for line := range strings.Lines(string(text)) {
		if code, ok := strings.CutPrefix(line, indent); ok {
			yaml.WriteString(code)
		}
	}
	return yaml.String()
}

// apply is kubectl apply.
func (c *cluster) apply(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("kustomize")); err != nil {
			t.Fatal(err)
		}
	}
}
