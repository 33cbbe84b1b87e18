package certificate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientevents "k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/test/rolesanywhere"
)

func TestCheck(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, c := range []struct {
		says    string
		life    time.Duration // it expires at noon; 0 for none
		left    time.Duration
		issuer  string // of what expires at noon; empty for the controller's own
		problem string
		reason  string
		action  string
		note    []string
		next    time.Duration
	}{
		{says: "fresh", life: 90 * day, left: 80 * day, next: time.Minute},
		{says: "due in cert-manager, and not late", life: 90 * day, left: 29 * day, next: time.Minute},
		{says: "the moment before it is late", life: 10 * time.Hour, left: 2*time.Hour + time.Second, next: time.Second},
		{
			says: "not renewed", life: 90 * day, left: 18 * day, next: time.Hour,
			reason: v1.ReasonCertificateNotRenewed, action: "Renew", note: []string{"/certificate", "12:00:00", "cert-manager"},
		},
		{says: "not renewed, with an hour left", life: 90 * day, left: time.Hour, reason: v1.ReasonCertificateNotRenewed, action: "Renew", next: 5 * time.Minute},
		{says: "of ten years: a month before", life: 3650 * day, left: 31 * day, next: time.Minute},
		{
			says: "an intermediate one is not renewed", life: 3650 * day, left: 29 * day, issuer: "CN=issuing", next: time.Hour,
			reason: v1.ReasonCertificateNotRenewed, action: "Renew", note: []string{`intermediate certificate "CN=issuing"`, "/certificate", "12:00:00", "tls.crt"},
		},
		{
			says: "an intermediate one has expired", life: 3650 * day, left: -time.Second, issuer: "CN=issuing", next: 5 * time.Minute,
			reason: v1.ReasonCertificateExpired, action: "CertificateExpired", note: []string{`intermediate certificate "CN=issuing"`, "expired at", "12:00:00", "tls.crt"},
		},
		{
			says: "the new files cannot be used", life: 90 * day, left: 80 * day, problem: "tls.key is empty", next: time.Hour,
			reason: v1.ReasonCertificateNotRenewed, action: "ReadFiles", note: []string{"tls.key is empty", "12:00:00"},
		},
		{says: "expired", life: 90 * day, left: -time.Second, reason: v1.ReasonCertificateExpired, action: "CertificateExpired", note: []string{"expired at", "12:00:00"}, next: 5 * time.Minute},
		{says: "none", problem: "tls.crt does not exist", reason: v1.ReasonCertificateExpired, action: "NoCertificate", note: []string{"tls.crt does not exist", "kubernetes.io/tls"}, next: 5 * time.Minute},
	} {
		t.Run(c.says, func(t *testing.T) {
			certificate := credentials.Certificate{Dir: "/certificate", Problem: c.problem, NotAfterOf: c.issuer, Lifetime: c.life}
			if c.life != 0 {
				certificate.NotBefore, certificate.NotAfter = noon.Add(-c.life), noon
			}
			got := check(certificate, noon.Add(-c.left))
			if got.event.Reason != c.reason || got.event.Action != c.action || got.next != c.next {
				t.Errorf("got %q, %q, again after %s", got.event.Reason, got.event.Action, got.next)
			}
			for _, text := range c.note {
				if !strings.Contains(got.event.Note, text) {
					t.Errorf("%q does not say %q", got.event.Note, text)
				}
			}
		})
	}
}

// The controller's own certificate was renewed a moment ago, and is valid for longer than its CA's.
func TestMonitor_IntermediateCertificateExpiresFirst(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Now())
	const day = 24 * time.Hour
	issuing := rolesanywhere.NewCA("root").Intermediate("issuing", rolesanywhere.Valid(clock.Now().Add(-365*day), clock.Now().Add(2*day)))
	read := readChain(t, issuing)
	if w := check(read(), clock.Now()); w.event.Reason != v1.ReasonCertificateNotRenewed || !strings.Contains(w.event.Note, `intermediate certificate "CN=issuing"`) {
		t.Errorf("two days before: %+v", w)
	}
	m := NewMonitor(read, nil, clock, nil, nil, logr.Discard())
	if err := m.Ready(nil); err != nil {
		t.Errorf("not ready two days before: %v", err)
	}
	clock.SetTime(clock.Now().Add(2*day + time.Second))
	if err := m.Ready(nil); credentials.CodeOf(err) != "CertificateExpired" || !strings.Contains(err.Error(), `intermediate certificate "CN=issuing"`) {
		t.Errorf("ready afterwards: %v", err)
	}
}

// readChain returns the function that reads a certificate of a CA from its directory.
func readChain(t *testing.T, ca *rolesanywhere.CA) func() credentials.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const resources = "arn:aws:rolesanywhere:eu-central-1:123456789012:"
	parsed, err := credentials.ParseRolesAnywhere(resources+"trust-anchor/1", resources+"profile/1", "arn:aws:iam::123456789012:role/controller", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rolesanywhere.Mount(parsed.CertificateDir, map[string][]byte{
		"tls.crt": ca.Issue("kube-aws-iam-controller", key), "tls.key": rolesanywhere.EncodeKey(key),
	})
	t.Setenv("AWS_REGION", "eu-central-1")
	client, err := credentials.New(t.Context(), credentials.Options{QPS: 1, Now: time.Now, RolesAnywhere: parsed})
	if err != nil {
		t.Fatal(err)
	}
	return func() credentials.Certificate {
		c, _ := client.Certificate()
		return c
	}
}

func TestMonitor_WarnsOnItsPodAndIsNotReady(t *testing.T) {
	recorder := clientevents.NewFakeRecorder(10)
	var certificate atomic.Pointer[credentials.Certificate]
	certificate.Store(&credentials.Certificate{Dir: "/certificate", Problem: "the file /certificate/tls.crt does not exist"})
	asked := make(chan struct{}, 1)
	ask := func(context.Context) (credentials.Caller, error) {
		asked <- struct{}{}
		return credentials.Caller{}, errors.New("not now")
	}
	clock := clocktesting.NewFakePassiveClock(time.Now())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "controller"}}
	m := NewMonitor(func() credentials.Certificate { return *certificate.Load() }, ask, clock, events.NewRecorder(recorder, clock), pod, logr.Discard())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Start(ctx) }()
	<-asked
	if got := <-recorder.Events; !strings.Contains(got, "CertificateExpired") || !strings.Contains(got, "tls.crt does not exist") {
		t.Errorf("the event is %s", got)
	}
	if err := m.Ready(nil); err == nil || !strings.Contains(err.Error(), "tls.crt does not exist") {
		t.Errorf("ready: %v", err)
	}
	certificate.Store(&credentials.Certificate{Serial: "1", NotBefore: clock.Now(), NotAfter: clock.Now().Add(time.Hour)})
	if err := m.Ready(nil); err != nil {
		t.Errorf("not ready: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
