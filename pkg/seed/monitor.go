package seed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
)

// RenewalError is why the seed was not renewed.
type RenewalError struct {
	// Action and Note are those of an event.
	Action, Note string
	// Rejected is true if STS does not accept the seed: then it is of no use, however long it
	// would live.
	Rejected bool
}

// Monitor warns while the seed is not renewed although it should have been, by events and by the
// log. Nothing else would show that before it is too late.
type Monitor struct {
	watch *Watch
	// ask asks STS with the seed.
	ask    func(context.Context) (credentials.Caller, error)
	events *events.Recorder
	// self is the controller's own pod, if it is one.
	self *corev1.Pod
	// renewalError is why the last attempt did not renew the seed, or nil.
	renewalError atomic.Pointer[RenewalError]
	// wake ends a wait.
	wake chan struct{}
}

// NewMonitor returns a Monitor. ask asks STS for the controller's identity; self is the
// controller's own pod, or nil.
func NewMonitor(w *Watch, ask func(context.Context) (credentials.Caller, error), recorder *events.Recorder, self *corev1.Pod) *Monitor {
	return &Monitor{watch: w, ask: ask, events: recorder, self: self, wake: make(chan struct{}, 1)}
}

// Observe notes why the seed was not renewed, or nil if it was or need not be. A seed that STS
// rejects is warned of at once.
func (m *Monitor) Observe(e *RenewalError) {
	previous := m.renewalError.Swap(e)
	if e != nil && e.Rejected && (previous == nil || !previous.Rejected) {
		m.wakeUp()
	}
}

func (m *Monitor) wakeUp() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Ready implements healthz.Checker: a controller whose seed is of no use is not ready.
func (m *Monitor) Ready(*http.Request) error {
	if e := m.renewalError.Load(); e != nil && e.Rejected {
		return errors.New(e.Note)
	}
	return m.watch.current().Check(m.watch.clock.Now())
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (m *Monitor) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable: it warns until the context is done. It asks STS first, as by
// the machine's clock a good seed can seem to have expired.
func (m *Monitor) Start(ctx context.Context) error {
	select {
	case <-m.watch.Known():
	case <-ctx.Done():
		return nil
	}
	_, _ = m.ask(ctx) // the reconciler reports the error
	m.watch.resetReadAt()
	m.watch.Subscribe(m.wakeUp)
	for {
		seed := m.watch.current()
		w := check(seed, m.watch.clock.Now(), m.renewalError.Load())
		if w.event.Reason != "" && seed.secret != nil {
			m.watch.log.Error(nil, "seed is not renewed", "reason", w.event.Reason, "action", w.event.Action, "note", w.event.Note)
			m.events.EmitOnSeed(seed.secret, m.self, w.event)
		}
		timer := time.NewTimer(w.next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-m.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// warning is an event about the seed, without a reason if all is well, and after which time to
// check again.
type warning struct {
	event events.Event
	next  time.Duration
}

const (
	// warningsPerLife bounds how often a warning is repeated: every five minutes in a life of one
	// hour, which is the longest that a seed can have.
	warningsPerLife = 12
	// missingInterval is how often a missing seed is warned of.
	missingInterval = 5 * time.Minute
)

// check is pure. A seed is renewed within the first quarter of its life; one that is not at half
// of it cannot be. One that was read later than that has a tenth of what was left. The action of
// an event keeps causes apart: those that agree in it are one series, with the note of the first.
func check(s state, now time.Time, e *RenewalError) warning {
	expires, life := s.Credentials.Expires, s.Credentials.Expires.Sub(s.Credentials.Issued)
	late := s.Credentials.Issued.Add(life / 2)
	if grace := s.readAt.Add(expires.Sub(s.readAt) / 10); grace.After(late) {
		late = grace
	}
	next := max(time.Second, life/warningsPerLife)
	switch err := s.Check(now); {
	case s.Problem != "":
		return warning{events.Warning(v1.ReasonSeedExpired, credentials.CodeOf(err), err.Error()), missingInterval}
	case err != nil:
		return warning{events.Warning(v1.ReasonSeedExpired, credentials.CodeOf(err), err.Error()), next}
	case e != nil && e.Rejected:
		return warning{events.Warning(v1.ReasonSeedExpired, e.Action, e.Note), next}
	case now.Before(late):
		return warning{next: late.Sub(now)}
	}
	e = cmp.Or(e, &RenewalError{Action: "Renew", Note: "no attempt was made yet"})
	note := fmt.Sprintf("The controller's own AWS credentials, in %s, expire at %s and are not renewed, although half of their life is over. "+
		"When they expire, no role can be assumed any more. %s. What kept them from being renewed: %s",
		s.Name, expires.Format(time.RFC3339), s.Remedy(), e.Note)
	return warning{events.Warning(v1.ReasonSeedNotRenewed, e.Action, note), min(next, expires.Sub(now))}
}
