package controllers_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/credentials/ststest"
	awsrole "kube-aws-iam-controller/pkg/role"
)

const (
	audience       = "sts.amazonaws.com"
	controllerRole = "arn:aws:iam::" + account + ":role/" + controllers.Name
	appRole        = "arn:aws:iam::" + account + ":role/app"
)

// webIdentity makes the controllers that are started from now on a role, by a token of the API server in a file, which is not there yet. STS verifies
// tokens with the keys that the API server publishes, and the role lets in the controller's ServiceAccount only.
func (w *world) webIdentity() (file string) {
	w.t.Helper()
	file = filepath.Join(w.t.TempDir(), "token")
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_MAX_ATTEMPTS": "1",
		"AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": controllerRole,
	} {
		w.t.Setenv(name, value)
	}
	w.trustAPIServer()
	subject := "system:serviceaccount:" + w.namespace + ":" + controllers.Name
	w.sts.Trust(controllerRole, func(c ststest.Call) bool { return c.Subject == subject })
	for _, name := range []string{controllers.Name, "other"} {
		w.must(w.Create(w.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}))
	}
	return file
}

// trustAPIServer does what AWS does with an OIDC provider: it fetches the issuer's keys.
func (w *world) trustAPIServer() {
	w.t.Helper()
	keys, err := ststest.ParseJWKS(w.fetch("/openid/v1/jwks"))
	w.must(err)
	w.sts.TrustIssuer(w.issuer(), keys)
}

// issuer is what the API server calls itself in its tokens.
func (w *world) issuer() string {
	w.t.Helper()
	var discovered struct {
		Issuer string `json:"issuer"`
	}
	w.must(json.Unmarshal(w.fetch("/.well-known/openid-configuration"), &discovered))
	return discovered.Issuer
}

// fetch gets a document of the API server.
func (w *world) fetch(path string) []byte {
	w.t.Helper()
	client, err := rest.HTTPClientFor(admin)
	w.must(err)
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, strings.TrimSuffix(admin.Host, "/")+path, http.NoBody)
	w.must(err)
	answer, err := client.Do(request)
	w.must(err)
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
		w.t.Fatalf("GET %s: %s %s %v", path, answer.Status, text, err)
	}
	return text
}

// putToken does what the kubelet does: it has the API server make a token of a ServiceAccount, and puts it into the file in one piece.
func (w *world) putToken(file, serviceAccount, audience string, life time.Duration) {
	w.t.Helper()
	seconds := int64(life.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds}}
	of := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: serviceAccount}}
	w.must(w.SubResource("token").Create(w.t.Context(), of, request))
	w.must(os.WriteFile(file+".new", []byte(request.Status.Token), 0o600))
	w.must(os.Rename(file+".new", file))
}

// A controller that starts before its token is there says so, waits, and then serves. It keeps no secret of its own.
func TestWebIdentityOfTheCluster(t *testing.T) {
	w := newWorld(t)
	file := w.webIdentity()
	w.sts.Trust(appRole, func(c ststest.Call) bool { return c.CallerRoleARN == controllerRole })
	w.start()
	w.pod("app", role("app"))
	w.event("Warning GetCredentialsFailed app:", "the file "+file+" of AWS_WEB_IDENTITY_TOKEN_FILE does not exist", "projected volume")

	w.putToken(file, controllers.Name, audience, time.Hour)
	w.wait("aws-iam-app")
	for _, operation := range []string{"AssumeRoleWithWebIdentity", "AssumeRole"} {
		if w.metric("sts_requests_total", "operation", operation, "code", "OK") != 1 {
			t.Errorf("%s is not counted", operation)
		}
	}
}

func TestTokensOfTheClusterThatSTSRefuses(t *testing.T) {
	target, err := awsrole.ParseARN(appRole)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says, code  string
		spoil, mend func(w *world, file string)
		names       []string
	}{
		{
			"another audience", "InvalidIdentityToken",
			func(w *world, file string) { w.putToken(file, controllers.Name, "vault", time.Hour) },
			func(w *world, file string) { w.putToken(file, controllers.Name, audience, time.Hour) },
			[]string{"Incorrect token audience", `audience "[vault]"`},
		},
		{
			"another ServiceAccount", "AccessDenied",
			func(w *world, file string) { w.putToken(file, "other", audience, time.Hour) },
			func(w *world, file string) { w.putToken(file, controllers.Name, audience, time.Hour) },
			[]string{":other\"", "trust policy"},
		},
		{
			"an expired token, which the kubelet did not replace in time", "ExpiredTokenException",
			func(w *world, file string) {
				w.putToken(file, controllers.Name, audience, 10*time.Minute)
				w.sts.SetMaxSkew(0)
				w.sts.SetClock(func() time.Time { return time.Now().Add(time.Hour) })
			},
			func(w *world, file string) { w.putToken(file, controllers.Name, audience, 3*time.Hour) },
			[]string{"kubelet"},
		},
		{
			"keys that the issuer does not publish, as after their rotation", "InvalidIdentityToken",
			func(w *world, file string) {
				w.putToken(file, controllers.Name, audience, time.Hour)
				w.sts.TrustIssuer(w.issuer(), func(string) (crypto.PublicKey, error) { return nil, errors.New("no such key") })
			},
			func(w *world, _ string) { w.trustAPIServer() },
			[]string{"verification key", "whose keys AWS can fetch"},
		},
	} {
		t.Run(c.says, func(t *testing.T) {
			w := newWorld(t)
			file := w.webIdentity()
			c.spoil(w, file)
			now := time.Now()
			client, err := credentials.New(t.Context(), credentials.Options{QPS: 300, Now: func() time.Time { return now }})
			w.must(err)
			assume := func() error {
				_, err := client.Assume(t.Context(), credentials.Session{Role: target, Name: "test", Duration: time.Hour})
				return err
			}
			err = assume()
			known, ok := errors.AsType[*credentials.Error](err)
			if !ok || known.Code != c.code || strings.Contains(err.Error(), "\n") || !containsAll(err.Error(), append(c.names, controllerRole, c.code)) {
				t.Fatalf("got %v, want %s with %q", err, c.code, c.names)
			}
			token, readErr := os.ReadFile(file) //nolint:gosec // the test wrote it
			w.must(readErr)
			if slices.ContainsFunc(strings.Split(string(token), "."), func(part string) bool { return strings.Contains(err.Error(), part) }) {
				t.Errorf("the token is told: %v", err)
			}

			c.mend(w, file)
			now = now.Add(credentials.CallerRetry)
			w.must(assume())
		})
	}
}
