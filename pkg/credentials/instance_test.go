package credentials_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
)

// metadataService is the metadata service of an EC2 instance, version 2: no answer without a token.
// Source: "Use the Instance Metadata Service" in the EC2 user guide.
type metadataService struct {
	url string

	mu       sync.Mutex
	tokens   map[string]bool
	profile  string            // ARN of the instance profile, if there is one
	document map[string]string // the credentials of its role, if it has one
	fault    func(http.ResponseWriter, *http.Request) (answered bool)
	asked    map[string]int // by path
}

// instance makes the tests run on an instance. It has no role yet.
func instance(t *testing.T, profileARN string) *metadataService {
	t.Helper()
	m := &metadataService{tokens: map[string]bool{}, asked: map[string]int{}, profile: profileARN}
	service := httptest.NewServer(m)
	t.Cleanup(service.Close)
	m.url = service.URL
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.URL)
	return m
}

// ServeHTTP implements http.Handler.
func (m *metadataService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked[r.URL.Path]++
	fault := m.fault
	m.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.URL.Path == "/latest/api/token" {
		m.giveToken(w, r)
		return
	}
	if !m.tokens[r.Header.Get("X-Aws-Ec2-Metadata-Token")] {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	m.handle(w, r)
}

func (m *metadataService) giveToken(w http.ResponseWriter, r *http.Request) {
	ttl, err := strconv.Atoi(r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
	if r.Method != http.MethodPut || err != nil || ttl < 1 || ttl > 21600 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	token := rand.Text()
	m.tokens[token] = true
	w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", strconv.Itoa(ttl))
	_, _ = w.Write([]byte(token))
}

func (m *metadataService) handle(w http.ResponseWriter, r *http.Request) {
	const roles = "/latest/meta-data/iam/security-credentials/"
	var answer map[string]string
	switch r.URL.Path {
	case "/latest/dynamic/instance-identity/document":
		answer = map[string]string{"region": "eu-west-1", "accountId": account}
	case "/latest/meta-data/iam/info":
		if m.profile != "" {
			answer = map[string]string{"Code": "Success", "LastUpdated": "2026-11-21T00:00:00Z", "InstanceProfileArn": m.profile, "InstanceProfileId": "AIPAEXAMPLE"}
		}
	case roles, strings.TrimSuffix(roles, "/"):
		if m.document != nil {
			_, _ = w.Write([]byte(path.Base(node)))
			return
		}
	case roles + path.Base(node):
		answer = m.document
	}
	if answer == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	answerWith(w, answer)
}

// answerWith writes a document.
func answerWith(w http.ResponseWriter, document map[string]string) {
	if err := json.NewEncoder(w).Encode(document); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// give sets the credentials of the role from now on.
func (m *metadataService) give(keys ststest.Keys, expires time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.document = map[string]string{
		"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-11-21T00:00:00Z",
		"AccessKeyId": keys.AccessKeyID, "SecretAccessKey": keys.SecretAccessKey, "Token": keys.SessionToken, "Expiration": expires.UTC().Format(time.RFC3339),
	}
}

// order changes the behavior.
func (m *metadataService) order(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// calls returns how often the role's credentials were requested.
func (m *metadataService) calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked["/latest/meta-data/iam/security-credentials/"+path.Base(node)]
}

// giveSession sets the credentials to a new session of the node's role, and returns them.
func giveSession(t *testing.T, srv *ststest.Server, m *metadataService, life time.Duration) ststest.Keys {
	t.Helper()
	keys, err := srv.AddSession(node, "i-0123", life)
	if err != nil {
		t.Fatal(err)
	}
	m.give(keys, time.Now().Add(life))
	return keys
}

func TestInstance_ProvidesRegionAndCredentials(t *testing.T) {
	srv := start(t)
	m := instance(t, "arn:aws:iam::333333333333:instance-profile/node")
	t.Setenv("AWS_REGION", "")
	giveSession(t, srv, m, time.Hour)
	client := newClient(t)
	caller, err := client.Caller(t.Context())
	if err != nil || caller.ARN != "arn:aws:sts::123456789012:assumed-role/node/i-0123" || caller.Base.String() != "arn:aws:iam::333333333333:role/" || client.Region() != "eu-west-1" {
		t.Errorf("caller %q, base %q, Region %q, %v", caller.ARN, caller.Base, client.Region(), err)
	}
	for range 3 {
		assume(t, client, session(t, appRole))
	}
	if n := m.calls(); n != 1 {
		t.Errorf("credentials good for an hour were asked for %d times", n)
	}
}

func TestInstance_Errors(t *testing.T) {
	status := func(code int, paths string) func(*metadataService) {
		return func(m *metadataService) {
			m.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, paths) {
					w.WriteHeader(code)
				}
				return strings.HasPrefix(r.URL.Path, paths)
			}
		}
	}
	hanging := func(methods ...string) func(*metadataService) {
		return func(m *metadataService) {
			m.fault = func(_ http.ResponseWriter, r *http.Request) bool {
				if slices.Contains(methods, r.Method) {
					<-r.Context().Done()
				}
				return slices.Contains(methods, r.Method)
			}
		}
	}
	for _, c := range []struct {
		name  string
		order func(*metadataService)
		names []string
	}{
		{"no role", func(m *metadataService) { m.document = nil }, []string{"knows no role of the instance (404)", "attach an instance profile"}},
		{"no token, and no answer without one", status(http.StatusForbidden, "/latest/api/token"), []string{"(401)", "hop limit", "hostNetwork: true"}},
		{"switched off", status(http.StatusForbidden, "/"), []string{"(403)", "--http-endpoint enabled"}},
		{"broken", status(http.StatusInternalServerError, "/latest/meta-data"), []string{"status 500"}},
		{"a token that never comes, because it may not travel as far as the pod", hanging(http.MethodPut), []string{"(401)", "hop limit", "hostNetwork: true"}},
		{"no answer at all", hanging(http.MethodPut, http.MethodGet), []string{"does not answer", "hop limit", "Elsewhere than on EC2"}},
		{"a role that does not trust EC2", func(m *metadataService) {
			m.document = map[string]string{"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role node."}
		}, []string{"AssumeRoleUnauthorizedAccess", "trust the service ec2.amazonaws.com"}},
		{"another's answer", func(m *metadataService) {
			m.fault = func(w http.ResponseWriter, r *http.Request) bool {
				_, _ = w.Write([]byte("<html>"))
				return r.Method == http.MethodGet
			}
		}, []string{"not its own"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t)
			once(t)
			m := instance(t, "")
			giveSession(t, srv, m, time.Hour)
			m.order(func() { c.order(m) })
			clock := newClock()
			client := newClient(t, func(o *credentials.Options) { o.Now = clock.Now })
			_, err := client.Assume(t.Context(), session(t, appRole))
			wantError(t, srv, err, credentials.Absent, "NoCredentials", append(c.names, "metadata service")...)

			m.order(func() { m.fault = nil })
			giveSession(t, srv, m, time.Hour)
			clock.Step(credentials.CallerRetry)
			assume(t, client, session(t, appRole))
		})
	}
}

func TestNew_InstanceWithoutAnAnswerHasNoRegion(t *testing.T) {
	start(t)
	m := instance(t, "")
	m.order(func() {
		m.fault = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
	})
	t.Setenv("AWS_REGION", "")
	_, err := credentials.New(t.Context(), options())
	if err == nil || !strings.Contains(err.Error(), "AWS_REGION") || !strings.Contains(err.Error(), "--http-endpoint enabled") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

// The service can lag behind and return expired credentials.
func TestInstance_ExpiredCredentials(t *testing.T) {
	srv := start(t)
	m := instance(t, "")
	expired, err := srv.AddSession(node, "i-0123", -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	m.give(expired, time.Now().Add(-time.Minute))
	clock := newClock()
	client := newClient(t, func(o *credentials.Options) { o.Now = clock.Now })
	_, err = client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Expired, "ExpiredToken", "from the instance's metadata service", "eu-central-1")

	giveSession(t, srv, m, time.Hour)
	clock.Step(credentials.CallerRetry)
	assume(t, client, session(t, appRole))
}
