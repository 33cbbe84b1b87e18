package app

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"kube-aws-iam-controller/pkg/metrics"
)

func TestWebIdentityFlags(t *testing.T) {
	for _, c := range []struct {
		args string
		want *WebIdentity
		says string
	}{
		{"", nil, ""},
		{"--web-identity-qps=1", nil, ""},
		{"--service-account-identity=role", nil, ""},
		{"--service-account-identity=web-identity", &WebIdentity{[]string{"sts.amazonaws.com"}, 20}, ""},
		{"--service-account-identity=web-identity --web-identity-audience=a,b --web-identity-qps=0.5", &WebIdentity{[]string{"a", "b"}, 0.5}, ""},
		{"--service-account-identity=irsa", nil, "role, web-identity"},
		{"--web-identity-qps=0", nil, "--web-identity-qps"},
		{"--web-identity-qps=NaN", nil, "--web-identity-qps"},
		{"--web-identity-audience=", nil, "--web-identity-audience is empty"},
		{"--web-identity-audience=a,,b", nil, "printable"},
		{"--web-identity-audience=it's", nil, "printable"},
		{"--web-identity-audience=" + strings.Repeat("a", 256), nil, "255"},
		{"--web-identity-audience=https://kubernetes.default.svc", nil, "is a URL"},
		{"--web-identity-audience=kube-aws-iam-controller/probe", nil, "tries its admission policy"},
	} {
		t.Run(c.args, func(t *testing.T) {
			o, err := parse(t, strings.Fields(c.args)...)
			if err == nil {
				err = o.validate()
			}
			if c.says != "" {
				if err == nil {
					t.Fatal("accepted")
				}
				wantLine(t, err.Error(), c.says)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := o.webIdentity.settings()
			if (got == nil) != (c.want == nil) || got != nil && (got.QPS != c.want.QPS || !slices.Equal(got.Audiences, c.want.Audiences)) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestCheckAudiences(t *testing.T) {
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"the-issuer","aud":["api","other"]}`)) + ".c2lnbmF0dXJl"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []*rest.Config{{BearerToken: token}, {BearerTokenFile: file}} {
		for audience, refused := range map[string]bool{"sts.amazonaws.com": false, "other": true, "the-issuer": true} {
			err := checkAudiences(cfg, []string{"sts.example.org", audience})
			if (err != nil) != refused {
				t.Errorf("%s: %v", audience, err)
			}
			if err != nil {
				wantLine(t, err.Error(), "--web-identity-audience="+audience)
			}
		}
	}
	for _, cfg := range []*rest.Config{{}, {BearerToken: "opaque"}, {BearerTokenFile: "/does/not/exist"}} {
		if err := checkAudiences(cfg, []string{"api"}); err != nil {
			t.Errorf("nothing is known, and %v", err)
		}
	}
}

// A metric says nothing of a policy whose state is unknown, and a state is logged once.
func TestTokenObserver(t *testing.T) {
	registry, lines := prometheus.NewRegistry(), 0
	set, unset, err := metrics.New(registry).RegisterPolicies()
	if err != nil {
		t.Fatal(err)
	}
	observe := tokenObserver(funcr.New(func(string, string) { lines++ }, funcr.Options{}), "tokens", set, unset)
	for _, step := range []struct {
		inForce bool
		unknown error
		want    map[string]float64
		lines   int
	}{
		{true, nil, map[string]float64{"tokens": 1}, 1},
		{true, nil, map[string]float64{"tokens": 1}, 1},
		{false, nil, map[string]float64{"tokens": 0}, 2},
		{false, errors.New("away"), map[string]float64{}, 3},
		{false, errors.New("away"), map[string]float64{}, 3},
		{true, nil, map[string]float64{"tokens": 1}, 4},
	} {
		observe(step.inForce, step.unknown)
		if got := policiesInForce(t, registry); !maps.Equal(got, step.want) || lines != step.lines {
			t.Errorf("after %t, %v: samples %v, %d lines; want %v and %d", step.inForce, step.unknown, got, lines, step.want, step.lines)
		}
	}
}

func TestOwnServiceAccount(t *testing.T) {
	for user, want := range map[string]string{
		"system:serviceaccount:home:controller": "home/controller", "alice": "payments/default", "": "",
	} {
		clientset := fake.NewClientset()
		clientset.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
			if user == "" {
				return true, nil, errors.New("away")
			}
			return true, &authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: user}}}, nil
		})
		got, err := ownServiceAccount(context.Background(), clientset, &Options{Namespaces: []string{"payments"}})
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q is %v, %v", user, got, err)
		}
	}
}

// The whole program without an AWS identity: it runs, and the log has no error of it.
func TestRunWithWebIdentityOnly(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	health := freeAddress(t)
	cmd, stderr := program(t, "--service-account-identity=web-identity", "--apiserver="+apiServer(t, func(string) {}), "--namespace=payments",
		"--authorization-mode=AlwaysAllow", "--metrics-bind-address=0", "--health-probe-bind-address="+health)
	awaitAnswer(t, fmt.Sprintf("http://%s/healthz", health), "ok")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr)
	}
	if strings.Contains(stderr.String(), `"msg":"no AWS identity"`) {
		t.Errorf("the log is %s", stderr)
	}
}
