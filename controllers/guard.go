package controllers

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/credentials"
)

// trouble is what keeps the seed from being renewed.
type trouble struct {
	action, note string
	// refused is true if STS does not take the seed: then nothing can be had with it, however long it would live.
	refused bool
}

// troubleOf is what came of looking at the seed; nil if it is good for now.
func troubleOf(g *gathered, d decision, o outcome) *trouble {
	switch {
	case o.failure != nil:
		return &trouble{action: cmp.Or(o.failure.action, "Renew"), note: o.failure.note}
	case d.note != "":
		return &trouble{action: cmp.Or(d.action, "Renew"), note: d.note, refused: g.unready != nil && credentials.KindOf(g.unready) == credentials.Expired}
	}
	return nil
}

// What events about the seed say.
const (
	ReasonSeedNotRenewed = "SeedNotRenewed"
	ReasonSeedExpired    = "SeedExpired"
)

// seedGuard warns as long as the seed is not renewed when it should have been: nothing else would tell before it is too late.
type seedGuard struct {
	seed *seedWatch
	// ask asks STS with the seed.
	ask    func(context.Context) (credentials.Caller, error)
	events announcer
	// self is the controller's own pod, if it is one.
	self *corev1.Pod
	// trouble is why the seed was not renewed when that was last tried, or nil.
	trouble atomic.Pointer[trouble]
	// changed wakes the guard.
	changed chan struct{}
}

// warningsInALife bounds how often a warning is repeated: every five minutes in the life of an hour, which is the longest that a seed can have.
const warningsInALife = 12

// hear notes what came of looking at the seed. That STS refuses it does not wait.
func (g *seedGuard) hear(t *trouble) {
	was := g.trouble.Swap(t)
	if t != nil && t.refused && (was == nil || !was.refused) {
		g.wake()
	}
}

func (g *seedGuard) wake() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// run watches over the seed until the context is done. It asks STS first, as the machine's clock may say that a good seed has expired.
func (g *seedGuard) run(ctx context.Context) error {
	select {
	case <-g.seed.known:
	case <-ctx.Done():
		return nil
	}
	_, _ = g.ask(ctx) // others tell of its errors
	g.seed.readNow()
	g.seed.listen(g.wake)
	for {
		seed := g.seed.now()
		w := warn(seed, g.seed.clock.Now(), g.trouble.Load())
		if w.reason != "" && seed.secret != nil {
			g.seed.log.Error(nil, w.note, "reason", w.reason)
			g.events.warned(seed.secret, g.self, w.reason, w.action, w.note)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.changed:
		case <-time.After(w.again):
		}
	}
}

// warning is what is to be told about a seed now, if anything, and after which time to look again.
type warning struct {
	reason, action, note string
	again                time.Duration
}

// warn is pure. Within the first quarter of its life a seed is renewed; if it is not at half of it, something must be wrong. One that was read later than
// that is given a tenth of what it had left. The action of an event keeps causes apart: those that agree in it are one event, with the note of the first.
func warn(s planted, now time.Time, t *trouble) warning {
	expires, life := s.Credentials.Expires, s.Credentials.Expires.Sub(s.Credentials.Issued)
	late := s.Credentials.Issued.Add(life / 2)
	if read := s.since.Add(expires.Sub(s.since) / 10); read.After(late) {
		late = read
	}
	again := max(time.Second, life/warningsInALife)
	switch err := s.Usable(now); {
	case s.Lacking != "":
		return warning{ReasonSeedExpired, codeOf(err), err.Error(), seedMissingAgain}
	case err != nil:
		return warning{ReasonSeedExpired, codeOf(err), err.Error(), again}
	case t != nil && t.refused:
		return warning{ReasonSeedExpired, t.action, t.note, again}
	case now.Before(late):
		return warning{again: late.Sub(now)}
	case t == nil:
		t = &trouble{action: "Renew", note: "no attempt was made yet"}
	}
	return warning{ReasonSeedNotRenewed, t.action, fmt.Sprintf("The controller's own AWS credentials, in %s, expire at %s and are not renewed, though half of their life is over. If that "+
		"lasts until then, no role can be assumed any more. %s. What kept them from being renewed: %s", s.Name, expires.Format(time.RFC3339), s.Remedy(), t.note), min(again, expires.Sub(now))}
}

// seedMissingAgain is how often it is told that there is no seed.
const seedMissingAgain = 5 * time.Minute
