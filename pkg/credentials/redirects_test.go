package credentials_test

import (
	"context"
	"crypto/elliptic"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/test/rolesanywhere"
	ststest "kube-aws-iam-controller/test/sts"
)

// redirect makes a variable of an endpoint lead to a server that redirects to another host. It
// returns the number of requests that either has got.
func redirect(t *testing.T, variable string, status int) (here, elsewhere *atomic.Int32) {
	t.Helper()
	here, elsewhere = new(atomic.Int32), new(atomic.Int32)
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(target.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		here.Add(1)
		w.Header().Set("Location", strings.Replace(target.URL, "127.0.0.1", "localhost", 1)+r.URL.Path)
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	t.Setenv(variable, server.URL)
	return here, elsewhere
}

// calls are those that get credentials, with the variable of the endpoint that they go to.
var calls = map[string]struct {
	variable string
	call     func(t *testing.T, srv *ststest.Server) error
}{
	"CreateSession": {"AWS_ENDPOINT_URL_ROLESANYWHERE", func(t *testing.T, _ *ststest.Server) error {
		t.Helper()
		_, err := newClient(t, certified(t)).Caller(t.Context())
		return err
	}},
	"GetCallerIdentity": {"AWS_ENDPOINT_URL_STS", func(t *testing.T, srv *ststest.Server) error {
		t.Helper()
		signInAsNode(t, srv)
		_, err := newClient(t).Caller(t.Context())
		return err
	}},
	"AssumeRole": {"AWS_ENDPOINT_URL_STS", func(t *testing.T, srv *ststest.Server) error {
		t.Helper()
		signInAsNode(t, srv)
		_, err := newClient(t, through(t)).Caller(t.Context())
		return err
	}},
	"AssumeRoleWithWebIdentity of the SDK": {"AWS_ENDPOINT_URL_STS", func(t *testing.T, srv *ststest.Server) error {
		t.Helper()
		p, v := startWebIdentity(t, srv)
		v.write(p.token(nil))
		_, err := newClient(t).Caller(t.Context())
		return err
	}},
	"AssumeRoleWithWebIdentity": {"AWS_ENDPOINT_URL_STS", func(t *testing.T, srv *ststest.Server) error {
		t.Helper()
		p, _ := startWebIdentity(t, srv)
		_, err := newClient(t).WebIdentity(1).Assume(t.Context(), session(t, appRole), func(context.Context) (credentials.Redacted, error) {
			return credentials.Redact(p.token(nil)), nil
		})
		return err
	}},
}

// A signature or a token is for one host.
func TestCalls_FollowNoRedirect(t *testing.T) {
	for name, c := range calls {
		for _, status := range []int{
			http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
		} {
			t.Run(name+" "+strconv.Itoa(status), func(t *testing.T) {
				srv := start(t)
				once(t)
				here, elsewhere := redirect(t, c.variable, status)
				err := c.call(t, srv)
				if err == nil || credentials.KindOf(err) != credentials.Unavailable {
					t.Errorf("the error is %v", err)
				}
				if here.Load() != 1 || elsewhere.Load() != 0 {
					t.Errorf("%d requests, and %d to the other host", here.Load(), elsewhere.Load())
				}
			})
		}
	}
}

// What an endpoint answers can be long: the message must fit into an event.
func TestCalls_ErrorsFitIntoAnEvent(t *testing.T) {
	for name, c := range calls {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			once(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://["+strings.Repeat("long", 1000)) // an error of net/http quotes it
				w.WriteHeader(http.StatusFound)
			}))
			t.Cleanup(server.Close)
			t.Setenv(c.variable, server.URL)
			err := c.call(t, srv)
			if err == nil || !strings.Contains(err.Error(), "longlong") || len(err.Error()) > 1024 {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// certified returns the change to options that uses a certificate, whoever issued it.
func certified(t *testing.T) func(*credentials.Options) {
	t.Helper()
	c, key := &offAWS{dir: t.TempDir()}, newECDSA(t, elliptic.P256())
	c.mount(rolesanywhere.NewCA("root").Issue("kube-aws-iam-controller", key), rolesanywhere.EncodeKey(key))
	return c.anywhere(t)
}
