// Package certificate warns while the controller's own certificate for IAM Roles Anywhere is not
// renewed, cannot be used or has expired. Nothing else would show that before it is too late.
package certificate

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
)

// Monitor warns by events on the controller's own pod and by the log. It runs on every replica, as
// each has files of its own.
type Monitor struct {
	read   func() credentials.Certificate
	ask    func(context.Context) (credentials.Caller, error)
	clock  clock.PassiveClock
	events *events.Recorder
	self   *corev1.Pod
	log    logr.Logger
}

// NewMonitor returns a Monitor of the certificate that read returns. ask asks STS for the
// controller's identity, the clock is STS's, and self is the controller's own pod, or nil.
func NewMonitor(
	read func() credentials.Certificate, ask func(context.Context) (credentials.Caller, error), c clock.PassiveClock,
	recorder *events.Recorder, self *corev1.Pod, log logr.Logger,
) *Monitor {
	return &Monitor{read: read, ask: ask, clock: c, events: recorder, self: self, log: log}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (m *Monitor) NeedLeaderElection() bool { return false }

// Ready implements healthz.Checker: a controller without a valid certificate is not ready.
func (m *Monitor) Ready(*http.Request) error {
	c := m.read()
	return c.Check(m.clock.Now())
}

// Start implements manager.Runnable: it warns until the context is done. It asks STS first, as by
// the machine's clock a good certificate can seem to have expired.
func (m *Monitor) Start(ctx context.Context) error {
	_, _ = m.ask(ctx) // identityLogger reports the error
	var serial string
	for {
		c := m.read()
		if c.Serial != serial {
			m.log.Info("certificate taken", "dir", c.Dir, "subject", c.Subject, "serial", c.Serial, "expires", c.NotAfter.Format(time.RFC3339))
			serial = c.Serial
		}
		w := check(c, m.clock.Now())
		if w.event.Reason != "" {
			m.log.Error(nil, "certificate is not renewed", "reason", w.event.Reason, "action", w.event.Action, "note", w.event.Note)
			m.events.EmitOnSelf(m.self, w.event)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(w.next):
		}
	}
}

// warning is an event about the certificate, without a reason if all is well, and after which time
// to check again.
type warning struct {
	event events.Event
	next  time.Duration
}

const (
	// interval is how often the files are read, and the least time between two warnings but for
	// the first.
	interval = time.Minute
	// minRepeat and maxRepeat bound how often a warning is repeated.
	minRepeat = 5 * time.Minute
	maxRepeat = time.Hour
	// lateShare is the last part of a certificate's life, in which it should have been renewed:
	// cert-manager does so by default when a third is left. maxLate is for certificates of years.
	lateShare = 5
	maxLate   = 30 * 24 * time.Hour
)

// check is pure. The action of an event keeps causes apart: those that agree in it are one series,
// with the note of the first.
func check(c credentials.Certificate, now time.Time) warning {
	if err := c.Check(now); err != nil {
		return warning{events.Warning(v1.ReasonCertificateExpired, credentials.CodeOf(err), err.Error()), minRepeat}
	}
	left := c.NotAfter.Sub(now)
	late := min(c.Lifetime/lateShare, maxLate)
	if c.Problem == "" && left > late {
		return warning{next: min(interval, left-late)}
	}
	action := "Renew"
	if c.Problem != "" {
		action = "ReadFiles"
	}
	note := fmt.Sprintf("%s expires at %s and is not renewed. When it has expired, no role can be assumed any more after an hour. %s",
		c.FirstToExpire(), c.NotAfter.Format(time.RFC3339), c.Remedy())
	return warning{events.Warning(v1.ReasonCertificateNotRenewed, action, note), min(max(minRepeat, left/12), maxRepeat)}
}
