package manifests_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	webIdentity = "components/web-identity-per-serviceaccount"
	tokenPolicy = "'kube-aws-iam-controller-serviceaccount-token'"
	// awsAudience is the audience that the policy allows by default.
	awsAudience = "sts.amazonaws.com"
)

// testWebIdentity applies the component, and has the controller and others create tokens.
func (c *cluster) testWebIdentity(t *testing.T) {
	objects := renderAbove(t, func(config string) string {
		return "resources: [" + config + "/default]\ncomponents: [" + config + "/" + webIdentity + "]\n"
	})
	defer c.restore(t, objects)
	for _, object := range objects {
		c.applyOnceKnown(t, object)
	}
	var d appsv1.Deployment
	c.get(t, &d, namespace, name)
	if args := d.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--service-account-identity=web-identity") {
		t.Errorf("the flag is not among %q", args)
	}
	app := c.createServiceAccount(t, guarded, "app")
	controller := c.as(t, c.serviceAccount(t, name))
	eventually(t, "the controller may create tokens", func() bool { return may(t, controller, "create serviceaccounts/token "+guarded) })
	for _, access := range []string{"get serviceaccounts " + guarded, "create serviceaccounts " + guarded, "update serviceaccounts " + guarded, "impersonate serviceaccounts " + guarded} {
		if may(t, controller, access) {
			t.Errorf("the controller may %s", access)
		}
	}
	accepted := c.acceptedAudience(t, app)
	t.Run("by the controller", func(t *testing.T) { c.testTokenRequests(t, controller, app, accepted) })
	t.Run("by others", func(t *testing.T) { c.testForeignTokenRequests(t, app, accepted) })
	t.Run("open nothing", func(t *testing.T) { c.testTokensOpenNothing(t, controller, app) })
	t.Run("other audiences", func(t *testing.T) { c.testAudiences(t, controller, app, accepted) })
	t.Run("of another controller", func(t *testing.T) { c.testOtherTokenController(t, controller, app) })
}

func (c *cluster) testTokenRequests(t *testing.T, controller client.Client, app *corev1.ServiceAccount, accepted string) {
	t.Helper()
	own := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	namesake := c.createServiceAccount(t, guarded, name)
	pod := podWith(app.Name)
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	bound := func(r *authenticationv1.TokenRequest) {
		r.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	}
	judge(t, []try{
		{"no audience refused", tokenPolicy, requests(controller, app)},
		{"the audience of AWS", "", requests(controller, app, audiences(awsAudience))},
		{"an empty audience refused", tokenPolicy, requests(controller, app, audiences(""))},
		{"two audiences refused", tokenPolicy, requests(controller, app, audiences(awsAudience, accepted))},
		{"two audiences, the other way round, refused", tokenPolicy, requests(controller, app, audiences(accepted, awsAudience))},
		{"the same audience twice refused", tokenPolicy, requests(controller, app, audiences(awsAudience, awsAudience))},
		{"the API server's audience refused", tokenPolicy, requests(controller, app, audiences(accepted))},
		{"an unknown audience refused", tokenPolicy, requests(controller, app, audiences(name+"/probe"))},
		{"an audience in upper case refused", tokenPolicy, requests(controller, app, audiences("STS.amazonaws.com"))},
		{"an audience that begins like it refused", tokenPolicy, requests(controller, app, audiences(awsAudience+".example.org"))},
		{"its own ServiceAccount refused", tokenPolicy, requests(controller, own, audiences(awsAudience))},
		{"a ServiceAccount of its name elsewhere", "", requests(controller, namesake, audiences(awsAudience))},
		{"bound to a pod", "", requests(controller, app, audiences(awsAudience), bound)},
		{"ten minutes", "", requests(controller, app, audiences(awsAudience), lives(10*time.Minute))},
		{"an hour", "", requests(controller, app, audiences(awsAudience), lives(time.Hour))},
		{"longer than an hour refused", tokenPolicy, requests(controller, app, audiences(awsAudience), lives(time.Hour+time.Second))},
	})
	if says := refusal(t, requests(controller, app, audiences("a", "b"))(t.Context())); !strings.Contains(says, "only for one audience of sts.amazonaws.com, and this one is for a, b") {
		t.Errorf("the refusal does not say what is allowed: %s", says)
	}
}

// testForeignTokenRequests tries users that the policy is not about.
func (c *cluster) testForeignTokenRequests(t *testing.T, app *corev1.ServiceAccount, accepted string) {
	t.Helper()
	admin := c.may(t, "token-admin", "cluster-admin")
	namesake := c.impersonate(t, "system:serviceaccount:"+namespace+":"+name+"2", "system:masters")
	judge(t, []try{
		{"an administrator, no audience", "", requests(admin, app)},
		{"an administrator, the API server's audience", "", requests(admin, app, audiences(accepted))},
		{"an administrator, two audiences", "", requests(admin, app, audiences(awsAudience, accepted), lives(2*time.Hour))},
		{"a ServiceAccount with a longer name", "", requests(namesake, app)},
	})
}

// testTokensOpenNothing has the API server refuse a token of the controller, and accept one that is
// made the same way for its own audience.
func (c *cluster) testTokensOpenNothing(t *testing.T, controller client.Client, app *corev1.ServiceAccount) {
	t.Helper()
	c.may(t, "system:serviceaccount:"+app.Namespace+":"+app.Name, "cluster-admin")
	use := func(by client.Client, change ...func(*authenticationv1.TokenRequest)) error {
		request := &authenticationv1.TokenRequest{}
		for _, change := range change {
			change(request)
		}
		if err := by.SubResource("token").Create(t.Context(), app, request); err != nil {
			t.Fatal(err)
		}
		cfg := rest.AnonymousClientConfig(c.env.Config)
		cfg.BearerToken = request.Status.Token
		as, err := client.New(cfg, client.Options{Mapper: c.RESTMapper()})
		if err != nil {
			t.Fatal(err)
		}
		return as.List(t.Context(), &corev1.NamespaceList{})
	}
	eventually(t, "a token for the API server is accepted", func() bool { return use(c) == nil })
	if err := use(controller, audiences(awsAudience)); !apierrors.IsUnauthorized(err) {
		t.Errorf("the API server accepts a token for AWS: %v", err)
	}
}

// testAudiences configures the policy for another audience, as the component's comment shows it,
// and for the API server's, which it refuses nonetheless.
func (c *cluster) testAudiences(t *testing.T, controller client.Client, app *corev1.ServiceAccount, accepted string) {
	t.Helper()
	if !strings.Contains(accepted, "://") {
		t.Fatalf("the API server's audience is %s and no URL", accepted)
	}
	objects := c.patched(t, 0, strings.NewReplacer("<audience>", "sts.example.org"))
	for _, object := range objects {
		if object.GetKind() == "Deployment" {
			args := c.tryDeployment(t, object).Spec.Template.Spec.Containers[0].Args
			if !slices.Contains(args, "--web-identity-audience=sts.amazonaws.com,sts.example.org") {
				t.Errorf("the flag is not among %q", args)
			}
		}
	}
	c.apply(t, objects)
	eventually(t, "the policy knows it", func() bool {
		return refusal(t, requests(controller, app, audiences("sts.example.org"))(t.Context())) == ""
	})
	judge(t, []try{
		{"the first", "", requests(controller, app, audiences(awsAudience))},
		{"both refused", tokenPolicy, requests(controller, app, audiences(awsAudience, "sts.example.org"))},
		{"the API server's refused", tokenPolicy, requests(controller, app, audiences(accepted))},
	})
	c.apply(t, c.patched(t, 0, strings.NewReplacer("<audience>", accepted)))
	eventually(t, "the policy knows the API server's", func() bool {
		return strings.Contains(refusal(t, requests(controller, app, audiences(accepted))(t.Context())), "creates no tokens for a URL")
	})
}

// testOtherTokenController configures the policy for another ServiceAccount in another namespace.
func (c *cluster) testOtherTokenController(t *testing.T, former client.Client, app *corev1.ServiceAccount) {
	t.Helper()
	c.apply(t, policiesOf(renderElsewhere(t, "other", "default", webIdentity)))
	other := c.may(t, "system:serviceaccount:elsewhere:other", "cluster-admin")
	own := c.createServiceAccount(t, elsewhere, "other")
	eventually(t, "the former is not limited", func() bool { return refusal(t, requests(former, app)(t.Context())) == "" })
	judge(t, []try{
		{"no audience refused", tokenPolicy, requests(other, app)},
		{"the audience of AWS", "", requests(other, app, audiences(awsAudience))},
		{"its own ServiceAccount refused", tokenPolicy, requests(other, own, audiences(awsAudience))},
	})
}

// patched builds config/default and the component with a patch that the component's comment shows.
func (*cluster) patched(t *testing.T, number int, values *strings.Replacer) []*unstructured.Unstructured {
	t.Helper()
	patches := strings.Split(shown(t, webIdentity), "patches:\n")[1:]
	return renderAbove(t, func(config string) string {
		return "resources: [" + config + "/default]\ncomponents: [" + config + "/" + webIdentity + "]\npatches:\n" + values.Replace(patches[number])
	})
}

func (c *cluster) createServiceAccount(t *testing.T, namespace, name string) *corev1.ServiceAccount {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	return account
}

// acceptedAudience is one that the API server accepts: it adds it to a request without one.
func (c *cluster) acceptedAudience(t *testing.T, account *corev1.ServiceAccount) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if err := c.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	if len(request.Spec.Audiences) == 0 {
		t.Fatal("the API server has no audience")
	}
	return request.Spec.Audiences[0]
}

// requests tries to create a token of a ServiceAccount.
func requests(by client.Client, account *corev1.ServiceAccount, changes ...func(*authenticationv1.TokenRequest)) func(context.Context) error {
	return func(ctx context.Context) error {
		request := &authenticationv1.TokenRequest{}
		for _, change := range changes {
			change(request)
		}
		return by.SubResource("token").Create(ctx, account.DeepCopy(), request)
	}
}

func audiences(names ...string) func(*authenticationv1.TokenRequest) {
	return func(r *authenticationv1.TokenRequest) { r.Spec.Audiences = names }
}

func lives(d time.Duration) func(*authenticationv1.TokenRequest) {
	return func(r *authenticationv1.TokenRequest) { r.Spec.ExpirationSeconds = new(int64(d.Seconds())) }
}
