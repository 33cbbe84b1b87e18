package credentials_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ststest "kube-aws-iam-controller/test/sts"
)

// behindProxy is set in the process that is the client, as Go reads the proxy once for a process.
const behindProxy = "TEST_BEHIND_PROXY"

// TestProxy calls STS through a company's proxy that takes two seconds to connect and opens TLS
// with a certificate of its own authority.
func TestProxy(t *testing.T) {
	if os.Getenv(behindProxy) != "" {
		assume(t, newClient(t), session(t, appRole))
		return
	}
	srv := start(t)
	signInAsNode(t, srv)
	sts, authority := intercept(t, srv, "sts.example.test")
	proxy, connections := connectProxy(t, "sts.example.test:443", sts)
	for _, c := range []struct {
		name, bundle string
		passes       bool
	}{{"with its authority", authority, true}, {"without its authority", "", false}} {
		t.Run(c.name, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxy$", "-test.count=1") //nolint:gosec // this test itself
			child.Env = append(os.Environ(), behindProxy+"=true", "AWS_ENDPOINT_URL_STS=https://sts.example.test", "AWS_CA_BUNDLE="+c.bundle,
				"HTTPS_PROXY="+proxy, "NO_PROXY=kubernetes.default.svc,10.96.0.1", "AWS_MAX_ATTEMPTS=1")
			out, err := child.CombinedOutput()
			if (err == nil) != c.passes || !c.passes && !strings.Contains(string(out), "certificate") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	if connections.Load() == 0 {
		t.Error("nothing went through the proxy")
	}
}

// intercept returns the address of a TLS server in front of an STS, for a host, and a file with its
// certificate authority.
func intercept(t *testing.T, srv *ststest.Server, host string) (address, authority string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	authority = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	behind, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(behind))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), authority
}

// connectProxy starts an HTTP proxy that connects a host, after two seconds, to an address.
func connectProxy(t *testing.T, host, address string) (proxy string, connections *atomic.Int64) {
	t.Helper()
	connections = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != host {
			http.Error(w, "only CONNECT "+host, http.StatusForbidden)
			return
		}
		connections.Add(1)
		<-time.After(2 * time.Second) // the network's delay
		to, err := new(net.Dialer).DialContext(r.Context(), "tcp", address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = to.Close() }()
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = from.Close() }()
		if _, err := io.WriteString(from, "HTTP/1.1 200 Connection Established\r\n\r\n"); err != nil {
			return
		}
		go func() { _, _ = io.Copy(to, from) }()
		_, _ = io.Copy(from, to)
	}))
	t.Cleanup(server.Close)
	return server.URL, connections
}
