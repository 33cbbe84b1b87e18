package credentials_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
)

// agent is an endpoint for container credentials like the EKS Pod Identity agent: it accepts only
// the current token of the file.
type agent struct {
	t     *testing.T
	token *volume

	mu    sync.Mutex
	keys  ststest.Keys
	until time.Time
	fault func(http.ResponseWriter)
	asked int
}

// startAgent starts an agent and points the SDK to it, with a token.
func startAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{t: t, token: newVolume(t, "eks-pod-identity-token")}
	a.token.write("first-pod-identity-token")
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL+"/v1/credentials?secret-path")
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", a.token.path())
	return a
}

// ServeHTTP implements http.Handler.
func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	token, err := os.ReadFile(a.token.path())
	switch {
	case a.fault != nil:
		a.fault(w)
	case err != nil || len(token) == 0 || r.Header.Get("Authorization") != string(token):
		http.Error(w, "Service account token cannot be validated: "+r.Header.Get("Authorization"), http.StatusBadRequest)
	default:
		answerWith(w, map[string]string{
			"AccessKeyId": a.keys.AccessKeyID, "SecretAccessKey": a.keys.SecretAccessKey, "Token": a.keys.SessionToken,
			"AccountId": account, "Expiration": a.until.UTC().Format(time.RFC3339),
		})
	}
}

func (a *agent) order(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// calls returns how many calls it got.
func (a *agent) calls() (n int) {
	a.order(func() { n = a.asked })
	return n
}

// give sets the credentials that it returns from now on.
func (a *agent) give(keys ststest.Keys, until time.Time) {
	a.order(func() { a.keys, a.until = keys, until })
}

// giveNew sets the credentials to a new session of the node's role.
func (a *agent) giveNew(srv *ststest.Server, life time.Duration) ststest.Keys {
	a.t.Helper()
	keys, err := srv.AddSession(node, "eks-prod-controller", life)
	if err != nil {
		a.t.Fatal(err)
	}
	a.give(keys, time.Now().Add(life))
	return keys
}

func TestContainerCredentials_Errors(t *testing.T) {
	answer := func(status int, contentType, text string) func(*agent) {
		return func(a *agent) {
			a.order(func() {
				a.fault = func(w http.ResponseWriter) {
					w.Header().Set("Content-Type", contentType)
					w.WriteHeader(status)
					_, _ = w.Write([]byte(text))
				}
			})
		}
	}
	for _, c := range []struct {
		name  string
		order func(*agent)
		names []string
	}{
		{"the token's file is missing", func(a *agent) { a.token.remove() }, []string{"/eks-pod-identity-token of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE does not exist", "restart"}},
		{"the token's file is empty", func(a *agent) { a.token.write("") }, []string{"/eks-pod-identity-token of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is empty"}},
		{"the token ends with a line break", func(a *agent) { a.token.write("second-pod-identity-token\n") }, []string{"line break"}},
		{
			"no association", answer(http.StatusNotFound, "text/plain",
				"[changes-with-every-call]: (ResourceNotFoundException): second-pod-identity-token: operation error EKS Auth\nStatusCode: 404"),
			[]string{"status 404 ResourceNotFoundException", "associated with a role"},
		},
		{
			"a role that does not trust", answer(http.StatusForbidden, "application/json", `{"code": "AccessDeniedException", "message": "changes-with-every-call"}`),
			[]string{"status 403 AccessDeniedException", "pods.eks.amazonaws.com", "sts:TagSession"},
		},
		{"an outage", answer(http.StatusInternalServerError, "text/plain", "changes-with-every-call"), []string{"(status 500)"}},
		{"another's answer", answer(http.StatusOK, "text/html", "<html>changes-with-every-call"), []string{"not its own"}},
		{"no answer", func(a *agent) {
			a.order(func() { a.fault = func(http.ResponseWriter) { panic(http.ErrAbortHandler) } })
		}, []string{"(no answer)", "agent run on the node"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t)
			once(t)
			a := startAgent(t)
			a.giveNew(srv, time.Hour)
			c.order(a)
			clock := newClock()
			client := newClient(t, func(o *credentials.Options) { o.Now = clock.Now })
			_, err := client.Assume(t.Context(), session(t, appRole))
			wantError(t, srv, err, credentials.Absent, "NoCredentials", append(c.names, "AWS_CONTAINER_")...)
			for _, secret := range []string{"pod-identity-token:", "-pod-identity-token\n", "secret-path", "changes-with-every-call"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q is shown: %v", secret, err)
				}
			}

			a.order(func() { a.fault = nil })
			a.token.write("third-pod-identity-token")
			clock.Step(credentials.CallerRetry)
			assume(t, client, session(t, appRole))
		})
	}
}

func TestContainerCredentials_AgentUnreachable(t *testing.T) {
	srv := start(t)
	once(t)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/v1/credentials")
	_, err := newClient(t).Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Absent, "NoCredentials", "http://127.0.0.1:1 of AWS_CONTAINER_CREDENTIALS_FULL_URI", "connection refused", "agent")
}

func TestContainerCredentials_ReadTheCurrentToken(t *testing.T) {
	srv := start(t)
	a := startAgent(t)
	a.giveNew(srv, time.Minute) // so that each call asks it
	client := readyClient(t)
	for _, token := range []string{"second", "third"} {
		a.token.write(token)
		asked := a.calls()
		assume(t, client, session(t, appRole))
		if a.calls() == asked {
			t.Errorf("the agent was not asked with the %s token", token)
		}
	}
}
