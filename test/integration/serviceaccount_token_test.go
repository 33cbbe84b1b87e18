package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
	ststest "kube-aws-iam-controller/test/sts"
)

// minter is an environment whose controllers have no AWS identity, and get the roles of
// ServiceAccounts by tokens of theirs.
type minter struct {
	*testEnv
	user *rest.Config
	// health is the address of the health probes.
	health string

	lock   sync.Mutex
	tokens []string // as the API server issued them to controllers
}

// tokenForm matches a JSON Web Token.
var tokenForm = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)

// newMinter returns a minter. The role trusts the ServiceAccount orders of the test's namespace
// only.
func newMinter(t *testing.T, manifests ...string) *minter {
	t.Helper()
	m := &minter{testEnv: newTestEnv(t), user: rest.CopyConfig(asController)}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	m.user.Wrap(func(next http.RoundTripper) http.RoundTripper { return &tokenRecorder{m, next} })
	trustAPIServer(t, m.sts)
	subject := "system:serviceaccount:" + m.namespace + ":orders"
	m.sts.Trust(stackRole, func(c ststest.Call) bool { return c.Subject == subject })
	if err := m.Create(t.Context(), newServiceAccount("kube-system", controllers.Name)); !apierrors.IsAlreadyExists(err) {
		m.must(err)
	}
	for _, name := range manifests {
		m.apply("../../config/components/web-identity-per-serviceaccount/" + name)
	}
	t.Cleanup(m.checkNoTokensLeaked)
	return m
}

// apply creates what is in a manifest, with these strings replaced, until the test ends.
func (m *minter) apply(manifest string, replace ...string) {
	m.t.Helper()
	text, err := os.ReadFile(manifest) //nolint:gosec // the test names it
	m.must(err)
	for document := range strings.SplitSeq(strings.NewReplacer(replace...).Replace(string(text)), "\n---\n") {
		o := &unstructured.Unstructured{}
		m.must(yaml.Unmarshal([]byte(document), &o.Object))
		m.create(o)
		m.t.Cleanup(func() { _ = m.Delete(context.Background(), o) })
	}
}

// begin starts a controller, with other audiences than the default if some are given.
func (m *minter) begin(audiences ...string) {
	m.t.Helper()
	if len(audiences) == 0 {
		audiences = []string{audience}
	}
	m.health = freeAddress(m.t)
	m.startAs(m.user, func(o *app.Options) {
		o.HealthAddress, o.WebIdentity = m.health, &app.WebIdentity{Audiences: audiences, QPS: 100}
	})
}

// isUnconfined reports whether the controller is issued a token that the policy refuses.
func (m *minter) isUnconfined() bool {
	m.t.Helper()
	c, err := client.New(asController, client.Options{})
	m.must(err)
	asked := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{controllers.Name + "/probe"}}}
	return c.SubResource("token").Create(m.t.Context(), newServiceAccount("kube-system", controllers.Name), asked) == nil
}

// account creates a ServiceAccount with the role, and a pod of it.
func (m *minter) account(name string, annotations ...string) {
	m.t.Helper()
	a := newServiceAccount(m.namespace, name)
	a.Annotations = map[string]string{request.RoleARNAnnotation: stackRole}
	for pair := range slices.Chunk(annotations, 2) {
		a.Annotations[pair[0]] = pair[1]
	}
	m.create(a)
	m.pod(name, as(name), mounting("aws-iam."+name, "/meta/aws-iam"))
}

// tokenRecorder records the tokens in the answers of the API server.
type tokenRecorder struct {
	m    *minter
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (r *tokenRecorder) RoundTrip(req *http.Request) (*http.Response, error) {
	answer, err := r.next.RoundTrip(req)
	if err != nil || !strings.HasSuffix(req.URL.Path, "/token") {
		return answer, err
	}
	body, err := io.ReadAll(answer.Body)
	err = errors.Join(err, answer.Body.Close())
	answer.Body = io.NopCloser(bytes.NewReader(body))
	r.m.lock.Lock()
	defer r.m.lock.Unlock()
	r.m.tokens = append(r.m.tokens, tokenForm.FindAllString(string(body), -1)...)
	return answer, err
}

// checkNoTokensLeaked looks for the signatures of all tokens in logs, events, metrics and Secrets.
func (m *minter) checkNoTokensLeaked() {
	families, err := m.metrics.Gather()
	m.must(err)
	public := []string{written.String(), strings.Join(m.events(), "\n"), fmt.Sprint(families)}
	for _, name := range []string{"aws-iam.orders", "aws-iam.mails"} {
		var s corev1.Secret
		if err := m.Get(context.Background(), client.ObjectKey{Namespace: m.namespace, Name: name}, &s); err == nil {
			public = append(public, fmt.Sprint(s.Annotations), fmt.Sprintf("%s", s.Data))
		}
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, token := range m.tokens {
		if signature := token[strings.LastIndexByte(token, '.')+1:]; slices.ContainsFunc(public, func(text string) bool { return strings.Contains(text, signature) }) {
			m.t.Error("a token leaked")
		}
	}
}

// With the component installed, a controller without any AWS identity issues and renews sessions,
// for which AWS alone decides; and says on the objects what does need an identity.
func TestServiceAccountToken_IssuedAndRenewedWithoutIdentity(t *testing.T) {
	m := newMinter(t, "rbac.yaml", "token.yaml")
	m.sts.SetSessionLifetime(6 * time.Second)
	m.begin()
	m.eventually("ready", func() bool { return ready(t.Context(), m.health) })
	m.account("orders")
	before := m.wait("aws-iam.orders")
	m.waitOther(before)
	m.eventually("the policy in the metrics", func() bool {
		return m.metric("admission_policy_in_force", "policy", controllers.Name+"-serviceaccount-token") == 1
	})
	m.pod("app", role("app"))
	m.event("Warning GetCredentialsFailed app:", "no AWS credentials")
	m.account("mails")
	m.event("Warning GetCredentialsFailed mails:", "AccessDenied", `:sub":"system:serviceaccount:`+m.namespace+`:mails"`, `:aud":"sts.amazonaws.com"`, "oidc-provider/")
	if s := m.secret("aws-iam.mails"); s != nil {
		t.Error("mails has orders' role")
	}
	if len(m.tokens) < 3 {
		t.Errorf("%d tokens were recorded", len(m.tokens))
	}
	for _, call := range m.sts.Calls() {
		if call.Operation != "AssumeRoleWithWebIdentity" {
			t.Errorf("the controller called %s", call.Operation)
		}
	}
}

func TestServiceAccountToken_Audience(t *testing.T) {
	m := newMinter(t, "rbac.yaml", "token.yaml")
	m.begin()
	m.account("orders", request.AudienceAnnotation, "vault")
	m.event("Warning InvalidRole orders:", "audience not allowed", "vault", "--web-identity-audience")
	m.patch(newServiceAccount(m.namespace, "orders"), `{"metadata":{"annotations":{"`+request.AudienceAnnotation+`":"`+audience+`"}}}`)
	m.wait("aws-iam.orders")
}

// An audience that the flag allows and the policy does not.
func TestServiceAccountToken_AudienceRefusedByThePolicy(t *testing.T) {
	m := newMinter(t, "rbac.yaml", "token.yaml")
	m.begin(audience, "vault")
	m.account("orders", request.AudienceAnnotation, "vault")
	m.event("Warning GetCredentialsFailed orders:", "an admission policy refuses", "vault", "web-identity-per-serviceaccount")
}

func TestServiceAccountToken_RecreatedServiceAccountGetsItsOwnSession(t *testing.T) {
	m := newMinter(t, "rbac.yaml", "token.yaml")
	m.begin()
	m.account("orders")
	before := m.wait("aws-iam.orders")
	m.must(m.Delete(t.Context(), newServiceAccount(m.namespace, "orders")))
	again := newServiceAccount(m.namespace, "orders")
	again.Annotations = map[string]string{request.RoleARNAnnotation: stackRole}
	m.create(again)
	after := m.waitOther(before)
	if got := after.Annotations[secret.ServiceAccountUIDAnnotation]; got != string(again.UID) {
		t.Errorf("the session is of UID %s, not %s", got, again.UID)
	}
}

// Without the right, and without the policy, no token is requested but for the attempt, and the pod
// says what to install. Once that is there, the pod is served.
func TestServiceAccountToken_RefusesToMintUnconfined(t *testing.T) {
	m := newMinter(t, "rbac.yaml")
	m.eventually("the policy of another test is gone", m.isUnconfined)
	m.begin()
	m.account("orders")
	m.event("Warning GetCredentialsFailed orders:", "is not in force", "config/components/web-identity-per-serviceaccount")
	if len(m.sts.Calls()) > 0 || m.secret("aws-iam.orders") != nil {
		t.Error("a session without the policy")
	}
	m.apply("../../config/components/web-identity-per-serviceaccount/token.yaml")
	m.wait("aws-iam.orders")
}

// A policy that an administrator changed so that it allows every audience still refuses the trial
// request, for the controller's own ServiceAccount. That is not enough.
func TestServiceAccountToken_RefusesToMintForEveryAudience(t *testing.T) {
	m := newMinter(t, "rbac.yaml")
	m.eventually("the policy of another test is gone", m.isUnconfined)
	m.apply("../../config/components/web-identity-per-serviceaccount/token.yaml", "['sts.amazonaws.com']", "object.spec.audiences")
	m.eventually("the changed policy is in force", func() bool { return !m.isUnconfined() })
	m.begin()
	m.account("orders")
	m.event("Warning GetCredentialsFailed orders:", "does not refuse the audience "+controllers.Name+"/probe")
	if len(m.sts.Calls()) > 0 || m.secret("aws-iam.orders") != nil {
		t.Error("a session with a policy that allows every audience")
	}
}

func TestServiceAccountToken_Forbidden(t *testing.T) {
	m := newMinter(t, "token.yaml")
	m.begin()
	m.account("orders")
	m.event("Warning GetCredentialsFailed orders:", "serviceaccounts/token", "config/components/web-identity-per-serviceaccount")
}

func TestServiceAccountToken_IssuerUnreachableOnce(t *testing.T) {
	m := newMinter(t, "rbac.yaml", "token.yaml")
	m.sts.FaultNext(1, ststest.IDPCommunication)
	m.begin()
	m.account("orders")
	m.event("Warning GetCredentialsFailed orders:", "IDPCommunicationError", trustAPIServer(t, m.sts))
	m.wait("aws-iam.orders")
}
