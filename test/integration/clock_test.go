package integration_test

import (
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/authorization"
	ststest "kube-aws-iam-controller/test/sts"
)

// wrongClocks are by how much the clock of the controller's machine is ahead of that of STS.
var wrongClocks = map[string]time.Duration{"ahead": 7 * time.Minute, "behind": -7 * time.Minute}

// eachWrongClock runs a test with each of them, from before the controller is started.
func eachWrongClock(t *testing.T, test func(w *testEnv, ahead time.Duration)) {
	t.Helper()
	for says, ahead := range wrongClocks {
		t.Run(says, func(t *testing.T) {
			w := newTestEnv(t)
			w.clocks.putMachineAhead(ahead)
			test(w, ahead)
		})
	}
}

// Of the life of a session, which is an hour: when it is due for renewal at the latest, and when
// that is urgent.
const (
	dueBy  = 16 * time.Minute
	urgent = 46 * time.Minute
)

// A wrong clock of the machine changes neither the length of sessions nor the times that pods see.
func TestClock_WrongClockKeepsTimesRight(t *testing.T) {
	eachWrongClock(t, func(w *testEnv, ahead time.Duration) {
		w.start(func(o *app.Options) { o.Sessions.Duration = 15 * time.Minute })
		w.pod("app", role("orders"))
		c := credentialsOf(w.t, w.wait("aws-iam-orders"))
		if off := c.Issued.Sub(w.clocks.sts()).Abs(); off > 5*time.Second {
			w.t.Errorf("it was issued %s from now", off)
		}
		if life := c.Expires.Sub(c.Issued); (life - 15*time.Minute).Abs() > 2*time.Second {
			w.t.Errorf("it lives for %s", life)
		}
		if early := c.Expires.Sub(c.UsableUntil()); (early - 90*time.Second).Abs() > 2*time.Second {
			w.t.Errorf("the expiry that pods see is %s early", early)
		}
		if off := w.metric("clock_offset_seconds") - ahead.Seconds(); off < -2 || off > 2 {
			w.t.Errorf("the metric is off by %f s", off)
		}
		if n := assumed(w.sts, "*"); n != 1 {
			w.t.Errorf("%d sessions", n)
		}
	})
}

func TestClock_WrongClockRenewsInTime(t *testing.T) {
	eachWrongClock(t, func(w *testEnv, _ time.Duration) {
		deletions := w.countDeletions()
		w.start()
		w.pod("app", role("orders"))
		s := w.wait("aws-iam-orders")
		for range 2 {
			w.clocks.pass(urgent)
			s = waitRenewedInTime(w, s)
		}
		if n := deletions(); n > 0 {
			w.t.Errorf("%d deletions", n)
		}
		if n := assumed(w.sts, "*"); n != 3 {
			w.t.Errorf("%d sessions", n)
		}
	})
}

// waitRenewedInTime returns a Secret as soon as it has other credentials than before, which must be
// while those are good for pods.
func waitRenewedInTime(w *testEnv, before *corev1.Secret) *corev1.Secret {
	w.t.Helper()
	s := w.waitOther(before)
	if late := w.clocks.sts().Sub(credentialsOf(w.t, before).UsableUntil()); late > 0 {
		w.t.Errorf("renewed %s after pods could use it", late)
	}
	return s
}

// A controller with a wrong clock finds Secrets that are alive, though not by its clock if that is
// ahead.
func TestClock_WrongClockAtRestartKeepsSecrets(t *testing.T) {
	eachWrongClock(t, func(w *testEnv, _ time.Duration) {
		w.sts.SetSessionLifetime(6 * time.Minute)
		stop := w.start()
		w.pod("app", role("orders"))
		w.pod("other", role("reports"))
		before := w.wait("aws-iam-orders")
		w.wait("aws-iam-reports")
		stop()

		w.sts.Deny("arn:aws:iam::" + account + ":role/reports") // what is taken for dead would be removed
		w.sts.SetLatency(300 * time.Millisecond)                // the Secrets are found before it has answered
		deletions := w.countDeletions()
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
		if n := assumed(w.sts, "AccessDenied") + deletions(); n > 0 {
			w.t.Errorf("%d attempts and deletions of what is not due", n)
		}
	})
}

func TestClock_WrongClockAtRestartRenewsInTime(t *testing.T) {
	eachWrongClock(t, func(w *testEnv, _ time.Duration) {
		stop := w.start()
		w.pod("app", role("orders"))
		s := w.wait("aws-iam-orders")
		stop()
		w.clocks.pass(dueBy)
		w.start()
		waitRenewedInTime(w, s)
	})
}

// What has been asked about rights is not taken for newer than a change of them because the clock
// was set back in between.
func TestClock_WithdrawnRightCountsAfterCorrection(t *testing.T) {
	w := newTestEnv(t)
	binding := w.grant("orders", serviceAccount(w.namespace, "shop"))
	w.grant("reports", serviceAccount(w.namespace, "shop"))
	w.start(modes(authorization.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	w.wait("aws-iam-orders")

	w.clocks.putMachineAhead(2 * time.Hour)
	w.pod("other", role("reports"), as("shop"))
	w.wait("aws-iam-reports")
	w.eventually("corrected", func() bool { return w.metric("clock_offset_seconds") > time.Hour.Seconds() })
	w.must(w.Delete(t.Context(), binding))
	w.waitGone("aws-iam-orders")
}

// The clock of the machine is set while STS is not asked for anything: that is noticed before
// anything is due, and nothing is removed or renewed late.
func TestClock_SetAtRuntimeIsNoticed(t *testing.T) {
	for says, ahead := range wrongClocks {
		t.Run(says, func(t *testing.T) {
			w := newTestEnv(t)
			deletions := w.countDeletions()
			w.start()
			w.pod("app", role("orders"))
			s := w.wait("aws-iam-orders")
			w.clocks.setMachine(ahead)
			w.eventually("noticed", func() bool { return math.Abs(w.metric("clock_offset_seconds")-ahead.Seconds()) < 2 })
			if n := assumed(w.sts, "*") - 1 + deletions(); n > 0 {
				t.Errorf("%d renewals and deletions of what is not due", n)
			}
			w.clocks.pass(urgent)
			waitRenewedInTime(w, s)
		})
	}
}

// STS is away when the controller begins: it works by the machine's clock, and by that of STS as
// soon as that answers.
func TestClock_WrongClockAndSTSDownAtStart(t *testing.T) {
	for says, ahead := range wrongClocks {
		t.Run(says, func(t *testing.T) {
			t.Setenv("AWS_MAX_ATTEMPTS", "1")
			w := newTestEnv(t)
			w.clocks.putMachineAhead(ahead)
			w.sts.SetFault(ststest.ConnectionReset)
			w.start()
			w.pod("app", role("orders"))
			w.event("Warning GetCredentialsFailed app:", "GetCallerIdentity")
			w.sts.SetFault(ststest.NoFault)
			s := w.wait("aws-iam-orders")
			w.clocks.pass(urgent)
			waitRenewedInTime(w, s)
		})
	}
}

// The seed is good by STS's clock, and not by that of the machine if that is ahead.
func TestSeed_WrongClockRenewsInTime(t *testing.T) {
	eachWrongClock(t, func(w *testEnv, _ time.Duration) {
		replaceSeed(w, newProcess(w, 5*time.Minute))
		health := freeAddress(w.t)
		w.start(fromSeed(w, seedSecret), func(o *app.Options) { o.HealthAddress = health })
		w.eventually("ready", func() bool { return ready(w.t.Context(), health) })
		w.pod("app", role("orders"))
		w.wait("aws-iam-orders")
		s := w.wait(seedSecret)
		waitSeedInUse(w, s)
		w.clocks.pass(urgent)
		waitRenewedInTime(w, s)
		checkNoEvent(w.t, w.events(), "Warning")
	})
}
