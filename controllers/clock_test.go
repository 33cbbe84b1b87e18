package controllers_test

import (
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/secret"
)

// wrongClocks are by how much the clock of the controller's machine is ahead of that of STS.
var wrongClocks = map[string]time.Duration{"ahead": 7 * time.Minute, "behind": -7 * time.Minute}

// eachWrongClock runs a test with each of them, from before the controller is started.
func eachWrongClock(t *testing.T, test func(w *world, ahead time.Duration)) {
	t.Helper()
	for says, ahead := range wrongClocks {
		t.Run(says, func(t *testing.T) {
			w := newWorld(t)
			w.machineAhead(ahead)
			test(w, ahead)
		})
	}
}

// clocks are those of the controller's machine and of STS. All are durations.
type clocks struct {
	began               time.Time
	passed, ahead, step atomic.Int64
}

// sts is the time by STS's clock.
func (c *clocks) sts() time.Time {
	return time.Now().Add(time.Duration(c.passed.Load() - c.ahead.Load()))
}

// machine is the time by the clock of the controller's machine.
func (c *clocks) machine() time.Time {
	return time.Now().Add(time.Duration(c.passed.Load() + c.step.Load()))
}

// elapsed is the time by its monotonic clock.
func (c *clocks) elapsed() time.Duration { return time.Since(c.began) + time.Duration(c.passed.Load()) }

// machineAhead sets STS's clock, so that the controller's machine is ahead of it.
func (w *world) machineAhead(ahead time.Duration) { w.clocks.ahead.Store(int64(ahead)) }

// setMachine sets the machine's clock, and nobody else's.
func (w *world) setMachine(ahead time.Duration) { w.clocks.step.Store(int64(ahead)) }

// pass lets time pass for all but for timers: what is urgent by then is found within a second. Signatures are still of the real time, and taken.
func (w *world) pass(d time.Duration) {
	w.sts.SetMaxSkew(0)
	w.clocks.passed.Add(int64(d))
}

// Of the life of a session, which is an hour: when it is due for renewal at the latest, and when that is urgent.
const (
	dueBy  = 16 * time.Minute
	urgent = 46 * time.Minute
)

// life is from when to when the credentials in a Secret are good.
func (w *world) life(s *corev1.Secret) credentials.Credentials {
	w.t.Helper()
	c, err := secret.Read(s)
	w.must(err)
	return c
}

// Sessions are as long as they are, whatever the machine's clock says, and pods hear of the right times.
func TestAWrongClockAndShortSessions(t *testing.T) {
	eachWrongClock(t, func(w *world, ahead time.Duration) {
		w.start(func(o *controllers.Options) { o.SessionDuration = 15 * time.Minute })
		w.pod("app", role("orders"))
		c := w.life(w.wait("aws-iam-orders"))
		if off := c.Issued.Sub(w.now()).Abs(); off > 5*time.Second {
			w.t.Errorf("it was issued %s from now", off)
		}
		if life := c.Expires.Sub(c.Issued); (life - 15*time.Minute).Abs() > 2*time.Second {
			w.t.Errorf("it lives for %s", life)
		}
		if early := c.Expires.Sub(c.UsableUntil()); (early - 90*time.Second).Abs() > 2*time.Second {
			w.t.Errorf("pods are told an expiry %s early", early)
		}
		if off := w.metric("clock_offset_seconds") - ahead.Seconds(); off < -2 || off > 2 {
			w.t.Errorf("the metric is off by %f s", off)
		}
		if n := w.assumed("*"); n != 1 {
			w.t.Errorf("%d sessions", n)
		}
	})
}

func TestAWrongClockAndRenewal(t *testing.T) {
	eachWrongClock(t, func(w *world, _ time.Duration) {
		deletions := w.watchForDeletions()
		w.start()
		w.pod("app", role("orders"))
		s := w.wait("aws-iam-orders")
		for range 2 {
			w.pass(urgent)
			s = w.renewedInTime(s)
		}
		if n := deletions(); n > 0 {
			w.t.Errorf("%d deletions", n)
		}
		if n := w.assumed("*"); n != 3 {
			w.t.Errorf("%d sessions", n)
		}
	})
}

// renewedInTime returns a Secret as soon as it has other credentials than before, which must be as long as those are good for pods.
func (w *world) renewedInTime(before *corev1.Secret) *corev1.Secret {
	w.t.Helper()
	s := w.waitOther(before)
	if late := w.now().Sub(w.life(before).UsableUntil()); late > 0 {
		w.t.Errorf("renewed %s after pods could use it", late)
	}
	return s
}

// A controller with a wrong clock finds Secrets that are alive, though not by its clock if that is ahead.
func TestARestartWithAWrongClock(t *testing.T) {
	eachWrongClock(t, func(w *world, _ time.Duration) {
		w.sts.SetSessionLifetime(6 * time.Minute)
		stop := w.start()
		w.pod("app", role("orders"))
		w.pod("other", role("reports"))
		before := w.wait("aws-iam-orders")
		w.wait("aws-iam-reports")
		stop()

		w.sts.Deny("arn:aws:iam::" + account + ":role/reports") // what is taken for dead would be removed
		w.sts.SetLatency(300 * time.Millisecond)                // the Secrets are found before it has answered
		deletions := w.watchForDeletions()
		w.start()
		w.pod("late", role("late"))
		w.wait("aws-iam-late")
		w.sts.SetLatency(0)
		w.pod("again", role("orders"))
		w.pod("other-again", role("reports"))
		w.wait("aws-iam-orders")
		if now := w.secret("aws-iam-orders"); accessKey(now) != accessKey(before) {
			w.t.Error("it was renewed, though not due")
		}
		if n := w.assumed("AccessDenied") + deletions(); n > 0 {
			w.t.Errorf("%d attempts and deletions of what is not due", n)
		}
	})
}

func TestARestartWithAWrongClockRenewsInTime(t *testing.T) {
	eachWrongClock(t, func(w *world, _ time.Duration) {
		stop := w.start()
		w.pod("app", role("orders"))
		s := w.wait("aws-iam-orders")
		stop()
		w.pass(dueBy)
		w.start()
		w.renewedInTime(s)
	})
}

// What has been asked about rights is not taken for newer than a change of them because the clock was set back in between.
func TestARightWithdrawnAfterTheClockWasCorrected(t *testing.T) {
	w := newWorld(t)
	binding := w.grant("orders", w.serviceAccount("shop"))
	w.grant("reports", w.serviceAccount("shop"))
	w.start(modes(policy.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	w.wait("aws-iam-orders")

	w.machineAhead(2 * time.Hour)
	w.pod("other", role("reports"), as("shop"))
	w.wait("aws-iam-reports")
	w.eventually("corrected", func() bool { return w.metric("clock_offset_seconds") > time.Hour.Seconds() })
	w.must(w.Delete(t.Context(), binding))
	w.waitGone("aws-iam-orders")
}

// The clock of the machine is set while nobody asks STS for anything: that is noticed before anything is due, and nothing is removed or renewed late.
func TestAClockThatIsSetWhileTheControllerRuns(t *testing.T) {
	for says, ahead := range wrongClocks {
		t.Run(says, func(t *testing.T) {
			w := newWorld(t)
			deletions := w.watchForDeletions()
			w.start()
			w.pod("app", role("orders"))
			s := w.wait("aws-iam-orders")
			w.setMachine(ahead)
			w.eventually("noticed", func() bool { return math.Abs(w.metric("clock_offset_seconds")-ahead.Seconds()) < 2 })
			if n := w.assumed("*") - 1 + deletions(); n > 0 {
				t.Errorf("%d renewals and deletions of what is not due", n)
			}
			w.pass(urgent)
			w.renewedInTime(s)
		})
	}
}

// STS is away when the controller begins: it works by the machine's clock, and by that of STS as soon as that answers.
func TestSTSIsAwayAtTheStartWithAWrongClock(t *testing.T) {
	for says, ahead := range wrongClocks {
		t.Run(says, func(t *testing.T) {
			t.Setenv("AWS_MAX_ATTEMPTS", "1")
			w := newWorld(t)
			w.machineAhead(ahead)
			w.sts.SetFault(ststest.ConnectionReset)
			w.start()
			w.pod("app", role("orders"))
			w.event("Warning GetCredentialsFailed app:", "GetCallerIdentity")
			w.sts.SetFault(ststest.NoFault)
			s := w.wait("aws-iam-orders")
			w.pass(urgent)
			w.renewedInTime(s)
		})
	}
}

// The seed is good by STS's clock, and not by that of the machine if that is ahead.
func TestASeedAndAWrongClock(t *testing.T) {
	eachWrongClock(t, func(w *world, _ time.Duration) {
		w.replaceSeed(w.process(5 * time.Minute))
		health := freePort(t)
		w.start(w.fromSeed(seedSecret), func(o *controllers.Options) { o.HealthAddress = health })
		w.eventually("ready", func() bool { return ready(health) })
		w.pod("app", role("orders"))
		w.wait("aws-iam-orders")
		s := w.wait(seedSecret)
		w.pass(urgent)
		w.renewedInTime(s)
		for _, line := range w.events() {
			if strings.HasPrefix(line, "Warning") {
				w.t.Error(line)
			}
		}
	})
}
