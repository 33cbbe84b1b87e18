package integration_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
)

func TestMetrics_SecureNeedsPermission(t *testing.T) {
	w := newTestEnv(t)
	address := freeAddress(t)
	w.create(newServiceAccount(w.namespace, "prometheus"), newServiceAccount(w.namespace, "stranger"))
	role, binding := newClusterRole(w.namespace+"-prometheus", []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}, serviceAccount(w.namespace, "prometheus"))
	w.create(role, binding)
	allowed, refused := w.token("prometheus", time.Hour), w.token("stranger", time.Hour)
	w.startAs(admin, func(o *app.Options) { o.MetricsAddress, o.MetricsSecure = address, true })
	url := "https://" + address + "/metrics"
	w.eventually("metrics are served", func() bool {
		status, _ := get(t.Context(), url, "")
		return status != 0
	})
	for _, test := range []struct {
		name, token string
		want        int
	}{
		{"no token", "", http.StatusUnauthorized},
		{"invalid token", "x.y.z", http.StatusUnauthorized},
		{"token without permission", refused, http.StatusForbidden},
		{"token with permission", allowed, http.StatusOK},
	} {
		if status, body := get(t.Context(), url, test.token); status != test.want || strings.Contains(body, "controller_runtime") != (test.want == http.StatusOK) {
			t.Errorf("%s: status %d, %d bytes", test.name, status, len(body))
		}
	}
	if status, _ := get(t.Context(), "http://"+address+"/metrics", allowed); status == http.StatusOK {
		t.Error("served without TLS")
	}
	if status, _ := get(t.Context(), "https://"+address+"/other", allowed); status != http.StatusNotFound {
		t.Errorf("another path has status %d", status)
	}
	if strings.Contains(written.String(), allowed) {
		t.Error("a token was logged")
	}
}

func TestMetrics_WithoutSecureAreOpen(t *testing.T) {
	w := newTestEnv(t)
	address := freeAddress(t)
	w.start(func(o *app.Options) { o.MetricsAddress = address })
	w.eventually("metrics are served", func() bool {
		status, body := get(t.Context(), "http://"+address+"/metrics", "")
		return status == http.StatusOK && strings.Contains(body, "controller_runtime")
	})
}
