package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-aws-iam-controller/test/rolesanywhere"
	ststest "kube-aws-iam-controller/test/sts"
)

// The whole program with a certificate: it has the role by IAM Roles Anywhere, is ready, and shows
// until when the certificate is valid.
func TestRunWithACertificate(t *testing.T) {
	flags := rolesAnywhere()
	value := func(i int) string {
		_, value, _ := strings.Cut(flags[i], "=")
		return value
	}
	sts := ststest.New()
	t.Cleanup(sts.Close)
	ca, service, dir := rolesanywhere.NewCA("root"), rolesanywhere.New(sts), t.TempDir()
	service.SetTrustAnchor(value(0), ca.Certificate)
	service.SetProfile(value(1), value(2))
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	t.Setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", server.URL)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	expires := time.Now().Add(90 * 24 * time.Hour).Truncate(time.Second)
	rolesanywhere.Mount(dir, map[string][]byte{
		"tls.crt": ca.Issue("controller", key, rolesanywhere.Valid(time.Now().Add(-time.Hour), expires)), "tls.key": rolesanywhere.EncodeKey(key),
	})
	metrics, health := freeAddress(t), freeAddress(t)
	cmd, stderr := program(t, rolesAnywhere("--roles-anywhere-certificate-dir="+dir, "--apiserver="+apiServer(t, func(string) {}), "--namespace=payments",
		"--authorization-mode=AlwaysAllow", "--metrics-bind-address="+metrics, "--health-probe-bind-address="+health)...)
	awaitAnswer(t, "http://"+health+"/readyz/certificate", "ok")
	awaitAnswer(t, "http://"+metrics+"/metrics", fmt.Sprintf("kube_aws_iam_controller_base_certificate_expiration_timestamp_seconds %v\n", float64(expires.Unix())))
	awaitAnswer(t, "http://"+metrics+"/metrics", `kube_aws_iam_controller_sts_requests_total{code="OK",operation="CreateSession"} 1`)
	awaitAnswer(t, "http://"+metrics+"/metrics", `kube_aws_iam_controller_sts_requests_total{code="OK",operation="GetCallerIdentity"} 1`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr)
	}
	if !strings.Contains(stderr.String(), "certificate taken") || !strings.Contains(stderr.String(), "assumed-role/controller/") {
		t.Errorf("the log is %s", stderr)
	}
}

// freeAddress returns an address of this machine that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// awaitAnswer waits until an answer contains a text.
func awaitAnswer(t *testing.T, url, text string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			last = err.Error()
			continue
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if last = string(body); strings.Contains(last, text) {
			return
		}
	}
	t.Fatalf("%s does not answer %q:\n%s", url, text, last)
}
