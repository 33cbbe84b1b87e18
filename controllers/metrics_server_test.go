package controllers_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/controllers"
)

// token creates a ServiceAccount and returns a token of it.
func (w *world) token(serviceAccount string) string {
	w.t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: serviceAccount}}
	w.must(w.Create(w.t.Context(), sa))
	var request authenticationv1.TokenRequest
	w.must(w.SubResource("token").Create(w.t.Context(), sa, &request))
	return request.Status.Token
}

// letRead gives a ServiceAccount the right to read metrics.
func (w *world) letRead(serviceAccount string) {
	w.t.Helper()
	meta := metav1.ObjectMeta{Name: w.namespace + "-" + serviceAccount}
	w.must(w.Create(w.t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}}))
	w.must(w.Create(w.t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: serviceAccount}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
	}))
}

// freeAddress is one at which nothing listens.
func (w *world) freeAddress() string {
	w.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	w.must(err)
	w.must(l.Close())
	return l.Addr().String()
}

// getMetrics returns the status and the body of an answer; 0 if there is none.
func (w *world) getMetrics(url, token string) (status int, body string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, url, http.NoBody)
	w.must(err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the certificate is self-signed
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}

func TestMetricsSecure(t *testing.T) {
	w := newWorld(t)
	address := w.freeAddress()
	allowed, refused := w.token("prometheus"), w.token("stranger")
	w.letRead("prometheus")
	w.startAs(admin, func(o *controllers.Options) { o.MetricsAddress, o.MetricsSecure = address, true })
	url := "https://" + address + "/metrics"
	w.eventually("metrics are served", func() bool {
		status, _ := w.getMetrics(url, "")
		return status != 0
	})
	for _, test := range []struct {
		name, token string
		want        int
	}{
		{"without token", "", http.StatusUnauthorized},
		{"with a token of no one", "x.y.z", http.StatusUnauthorized},
		{"with a token whose owner has no right", refused, http.StatusForbidden},
		{"with one whose owner has the right", allowed, http.StatusOK},
	} {
		if status, body := w.getMetrics(url, test.token); status != test.want || strings.Contains(body, "controller_runtime") != (test.want == http.StatusOK) {
			t.Errorf("%s: status %d, %d bytes", test.name, status, len(body))
		}
	}
	if status, _ := w.getMetrics("http://"+address+"/metrics", allowed); status == http.StatusOK {
		t.Error("served without TLS")
	}
	if status, _ := w.getMetrics("https://"+address+"/other", allowed); status != http.StatusNotFound {
		t.Errorf("another path has status %d", status)
	}
	if strings.Contains(written.String(), allowed) {
		t.Error("a token was logged")
	}
}

func TestMetricsWithoutSecureAreOpen(t *testing.T) {
	w := newWorld(t)
	address := w.freeAddress()
	w.start(func(o *controllers.Options) { o.MetricsAddress = address })
	w.eventually("metrics are served", func() bool {
		status, body := w.getMetrics("http://"+address+"/metrics", "")
		return status == http.StatusOK && strings.Contains(body, "controller_runtime")
	})
}
