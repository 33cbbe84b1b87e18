package controllers

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/policy"
)

// noon is when every decision of these tests is made. Credentials live an hour, so they are due after a quarter of it and usable until five minutes before its end.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// good is a state in which nothing is to be done: a Secret that a pod wants, five minutes after its credentials were issued.
func good(change ...func(*state)) state {
	s := state{
		now:     noon,
		sure:    true,
		wanted:  true,
		verdict: policy.Verdict{Allowed: true},
		held:    heldSince(noon.Add(-5 * time.Minute)),
		limit:   30 * time.Minute,
		grace:   5 * time.Minute,
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func heldSince(issued time.Time) *held {
	return &held{intact: true, credentials: credentials.Credentials{Issued: issued, Expires: issued.Add(time.Hour)}}
}

func issuedAgo(d time.Duration) func(*state) {
	return func(s *state) { s.held = heldSince(noon.Add(-d)) }
}

func missing(s *state) { s.held = nil }
func edited(s *state) {
	if s.held != nil {
		s.held.intact = false
	}
}
func emptied(s *state) { s.held = &held{} }
func forbidden(s *state) {
	s.verdict, s.askAt = policy.Verdict{Reason: "not yours"}, s.now.Add(confirmation)
}
func confirmed(s *state) { s.confirmed, s.askAt = true, s.now.Add(askAgain) }
func undecidable(s *state) {
	s.verdict, s.undecided, s.askAt = policy.Verdict{}, errors.New("who may"), s.now.Add(2*time.Second)
}

func ofOwnRole(s *state) {
	if s.held != nil {
		s.held.ownRole = errors.New("the controller's own")
	}
}

func inUse(s *state) {
	if s.held != nil {
		s.held.inUse = true
	}
}

func strippedOfLabels(s *state) {
	if s.held != nil {
		s.held.intact, s.held.repairable = false, true
	}
}

func writtenOften(s *state) {
	s.issueAt, s.repairAt = s.now.Add(20*time.Second), s.now.Add(20*time.Second)
}
func unsure(s *state)  { s.sure = false }
func invalid(s *state) { s.invalid = errors.New("no such role") }
func unready(s *state) { s.unready = errors.New("who am I") }
func foreign(s *state) {
	s.held, s.foreign, s.failure = nil, "somebody else's", &failure{reason: ReasonSecretNotManaged, until: noon}
}

func unwantedFor(d time.Duration) func(*state) {
	return func(s *state) { s.wanted, s.unwantedSince = false, noon.Add(-d) }
}

func ownSeed(s *state) { s.seed = true }

func failedUntil(d time.Duration) func(*state) {
	return func(s *state) {
		s.failure = &failure{reason: ReasonGetCredentialsFailed, note: "STS is down", until: noon.Add(d)}
	}
}

func TestDecide(t *testing.T) {
	const retry = refusedRetry
	for _, test := range []struct {
		name   string
		state  state
		verb   verb
		reason string
		in     time.Duration // when to look again; 0 for never
	}{
		{"a fresh Secret is kept until a quarter of its life is over", good(), keep, "", 10 * time.Minute},
		{"a spread brings that forward by up to half", good(func(s *state) { s.spread = 1 }), keep, "", 150 * time.Second},
		{"a longer limit brings it forward, too", good(func(s *state) { s.limit = 40 * time.Minute }), keep, "", 5 * time.Minute},
		{"credentials are renewed at a quarter of their life", good(issuedAgo(15 * time.Minute)), issue, reasonRefresh, 0},
		{"a missing Secret is made", good(missing), issue, reasonNew, 0},
		{"an edited Secret is restored", good(edited), issue, reasonRestored, 0},
		{"an emptied Secret is restored", good(emptied), issue, reasonRestored, 0},
		{"expired credentials are renewed", good(issuedAgo(2 * time.Hour)), issue, reasonRefresh, 0},

		{"nobody wants it and there is none", good(missing, unwantedFor(time.Minute)), keep, reasonUnused, 0},
		{"an unused Secret is kept for the grace period", good(unwantedFor(time.Minute)), keep, reasonUnused, 4 * time.Minute},
		{"and removed when that is over", good(unwantedFor(5 * time.Minute)), remove, reasonUnused, retry},
		{"an unused Secret is not kept until it is dead", good(issuedAgo(53*time.Minute), unwantedFor(time.Minute)), keep, reasonUnused, 2 * time.Minute},
		{"but removed before", good(issuedAgo(55*time.Minute), unwantedFor(time.Minute)), remove, reasonUnused, retry},
		{"an unused Secret is never renewed", good(issuedAgo(40*time.Minute), unwantedFor(0)), keep, reasonUnused, 5 * time.Minute},
		{"an unused Secret that cannot be read is removed", good(emptied, unwantedFor(0)), remove, reasonUnused, retry},
		{"unused goes before forbidden", good(unwantedFor(time.Minute), forbidden), keep, reasonUnused, 4 * time.Minute},
		{"and before a controller that is nobody", good(unwantedFor(5*time.Minute), unready), remove, reasonUnused, retry},

		{"a role that cannot be is refused", good(missing, invalid), refuse, ReasonInvalidRole, retry},
		{"what was written before it became invalid serves on", good(invalid), refuse, ReasonInvalidRole, retry},
		{"until it is dead", good(issuedAgo(55*time.Minute), invalid), remove, reasonExpired, retry},

		{"a forbidden role is refused", good(missing, forbidden), refuse, ReasonRoleForbidden, retry},
		{"a refusal is confirmed before it takes anything away", good(forbidden), refuse, ReasonRoleForbidden, confirmation},
		{"but stops renewal at once", good(issuedAgo(40*time.Minute), forbidden), refuse, ReasonRoleForbidden, confirmation},
		{"a confirmed refusal removes the Secret", good(forbidden, confirmed), remove, ReasonRoleForbidden, retry},
		{"unless deletions are too many", good(forbidden, confirmed, func(s *state) { s.removeAt = s.now.Add(20 * time.Second) }), refuse, ReasonRemovalDelayed, 20 * time.Second},
		{"which are looked at again in time", good(forbidden, confirmed, func(s *state) { s.removeAt = s.now.Add(time.Hour) }), refuse, ReasonRemovalDelayed, askAgain},
		{"a refused Secret that is dead is removed at once", good(issuedAgo(55*time.Minute), forbidden), remove, reasonExpired, retry},
		{"what was wanted before, and is allowed, serves on", good(forbidden, confirmed, func(s *state) { s.role, s.held.allowed = "another", true }), refuse, ReasonRoleForbidden, retry},
		{"until it is dead, too", good(issuedAgo(55*time.Minute), forbidden, func(s *state) { s.role, s.held.allowed = "another", true }), remove, reasonExpired, retry},
		{"what was wanted before, and is refused as well, goes", good(forbidden, confirmed, func(s *state) { s.role = "another" }), remove, ReasonRoleForbidden, retry},

		{"what is not known gives nothing new", good(missing, undecidable), refuse, ReasonAuthorizationUnknown, 2 * time.Second},
		{"and takes nothing away", good(undecidable), keep, "", retry},
		{"also when it is due", good(issuedAgo(40*time.Minute), undecidable), refuse, ReasonAuthorizationUnknown, 2 * time.Second},
		{"until it is dead, as always", good(issuedAgo(55*time.Minute), undecidable), remove, reasonExpired, retry},

		{"credentials of the controller's own role are removed", good(ofOwnRole), remove, ReasonInvalidRole, retry},
		{"whoever may have it", good(ofOwnRole, unwantedFor(0)), remove, ReasonInvalidRole, retry},
		{"but not those that it works with", good(ofOwnRole, inUse), refuse, ReasonInvalidRole, retry},
		{"whatever happens", good(inUse, unwantedFor(time.Hour)), refuse, reasonUnused, retry},
		{"even when they are dead", good(issuedAgo(2*time.Hour), inUse, invalid), refuse, reasonExpired, retry},
		{"nor the seed", good(ofOwnRole, ownSeed), keep, "", 10 * time.Minute},

		{"what surrounds credentials is repaired with them", good(strippedOfLabels), repair, reasonRepaired, 0},
		{"renewal repairs it, too", good(issuedAgo(40*time.Minute), strippedOfLabels), issue, reasonRestored, 0},
		{"what was repaired often waits", good(strippedOfLabels, writtenOften), keep, reasonPaused, 20 * time.Second},
		{"what was issued often waits", good(edited, writtenOften), keep, reasonPaused, 20 * time.Second},
		{"also what was deleted often", good(missing, writtenOften), keep, reasonPaused, 20 * time.Second},
		{"what was overwritten and cannot be read is removed before", good(emptied, writtenOften), remove, reasonExpired, 20 * time.Second},
		{"a failure has pauses of its own", good(missing, writtenOften, failedUntil(0)), issue, reasonNew, 0},
		{"a good Secret does not wait", good(writtenOften), keep, "", 10 * time.Minute},

		{"no verdict is a refusal", good(missing, func(s *state) { s.verdict = policy.Verdict{} }), refuse, ReasonRoleForbidden, retry},

		{"a controller that is nobody makes nothing", good(missing, unready), refuse, ReasonGetCredentialsFailed, credentials.CallerRetry},
		{"and leaves what is good alone", good(unready), keep, "", retry},
		{"and warns once it is due", good(issuedAgo(40*time.Minute), unready), refuse, ReasonGetCredentialsFailed, unreadyRetry},
		{"and looks more often when little is left", good(issuedAgo(55*time.Minute-24*time.Second), unready), refuse, ReasonGetCredentialsFailed, 3 * time.Second},
		{"and looks again in time", good(issuedAgo(55*time.Minute-time.Second), unready), refuse, ReasonGetCredentialsFailed, time.Second},
		{"and removes what is dead", good(issuedAgo(55*time.Minute), unready), remove, reasonExpired, retry},

		{"what looks dead stays as long as nobody knows the time", good(issuedAgo(2*time.Hour), unready, unsure), refuse, ReasonGetCredentialsFailed, unreadyRetry},
		{"also if the role has become invalid", good(issuedAgo(2*time.Hour), invalid, unsure), refuse, ReasonInvalidRole, retry},
		{"and waits between two attempts", good(issuedAgo(2*time.Hour), failedUntil(time.Second), unsure), refuse, ReasonGetCredentialsFailed, time.Second},
		{"and is tried again when it is time", good(issuedAgo(2*time.Hour), failedUntil(0), unsure), issue, reasonRefresh, 0},
		{"but what cannot be read is dead at any time", good(emptied, unready, unsure), remove, reasonExpired, retry},

		{"the seed is renewed as others are", good(ownSeed, issuedAgo(40*time.Minute)), issue, reasonRefresh, 0},
		{"is adopted by renewing it", good(ownSeed, edited), issue, reasonRestored, 0},
		{"but not made", good(ownSeed, missing), keep, "", credentials.CallerRetry},
		{"but written again from memory", good(ownSeed, missing, func(s *state) { s.seedInMemory = true }), repair, reasonRestored, 0},
		{"waits for better credentials", good(ownSeed, unready, issuedAgo(2*time.Hour)), keep, "", credentials.CallerRetry},
		{"and stays when it is dead", good(ownSeed, issuedAgo(2*time.Hour), failedUntil(time.Minute)), refuse, ReasonGetCredentialsFailed, time.Minute},

		{"a Secret of somebody else's is left alone", good(foreign), refuse, ReasonSecretNotManaged, retry},
		{"also if the failure was dropped", good(foreign, func(s *state) { s.failure = nil }), refuse, ReasonSecretNotManaged, retry},

		{"after a failure a new Secret waits", good(missing, failedUntil(time.Second)), refuse, ReasonGetCredentialsFailed, time.Second},
		{"and is tried again when it is time", good(missing, failedUntil(0)), issue, reasonNew, 0},
		{"after a failure a due Secret stays", good(issuedAgo(40*time.Minute), failedUntil(time.Second)), refuse, ReasonGetCredentialsFailed, time.Second},
		{"a look is taken when it dies, if that is sooner", good(issuedAgo(55*time.Minute-time.Second), failedUntil(time.Minute)), refuse, ReasonGetCredentialsFailed, time.Second},
		{"and what is dead is removed", good(issuedAgo(55*time.Minute), failedUntil(time.Second)), remove, reasonExpired, retry},
		{"what was emptied and cannot be restored is removed", good(emptied, failedUntil(time.Second)), remove, reasonExpired, retry},
		{"a dead one is removed before it is tried again", good(issuedAgo(55*time.Minute), failedUntil(0)), remove, reasonExpired, retry},
		{"a deletion that was denied is not tried before it is time", good(unwantedFor(time.Hour), func(s *state) {
			s.failure = &failure{reason: ReasonUpdateSecretFailed, action: actionDelete, note: "no", until: noon.Add(time.Second)}
		}), refuse, ReasonUpdateSecretFailed, time.Second},
		{"a change of rights is looked at again when it has settled", good(func(s *state) { s.recheck = noon.Add(time.Second) }), keep, "", time.Second},
		{"a passing failure keeps nothing from being tried", good(emptied, func(s *state) { s.failure = &failure{until: noon.Add(time.Minute)} }), issue, reasonRestored, 0},
		{"a failure matters no longer when the Secret is good", good(failedUntil(time.Minute)), keep, "", 10 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := decide(test.state)
			if d.verb != test.verb || d.reason != test.reason {
				t.Errorf("decided to %s for %q, not to %s for %q", d.verb, d.reason, test.verb, test.reason)
			}
			var at time.Time
			if test.in != 0 {
				at = noon.Add(test.in)
			}
			if !d.at.Equal(at) {
				t.Errorf("looks again at %s, not at %s", d.at, at)
			}
			if refused := d.verb == refuse; refused && d.note == "" {
				t.Error("a refusal without a word to the user")
			}
		})
	}
}

// The zero value of everything gives nothing to anybody.
func TestNothingIsKnown(t *testing.T) {
	if d := decide(state{wanted: true}); d.verb != refuse {
		t.Errorf("knowing nothing, it decides to %s", d.verb)
	}
	if d := (decision{}); d.verb != refuse {
		t.Errorf("a decision that nobody made is to %s", d.verb)
	}
	if s := fmt.Sprint(verb(42)); s != "verb 42" {
		t.Error(s)
	}
}

// Whatever the state: credentials are issued only to who is wanted, valid, known and allowed; what is wanted and alive is only removed by a
// refusal; and there is always a time to look again while there is anything to look at.
func TestDecideInEveryState(t *testing.T) {
	for _, ways := range combinations([]func(*state){missing, edited, emptied, issuedAgo(40 * time.Minute), issuedAgo(56 * time.Minute), forbidden, confirmed, undecidable, ofOwnRole, inUse, strippedOfLabels, writtenOften, invalid, unready, failedUntil(time.Minute), unwantedFor(time.Minute), unwantedFor(time.Hour), ownSeed, unsure}) {
		s := good()
		for _, f := range ways {
			f(&s)
		}
		d := decide(s)
		entitled := s.wanted && s.invalid == nil && s.unready == nil && s.undecided == nil && s.verdict.Allowed
		if (d.verb == issue || d.verb == repair) && !entitled {
			t.Errorf("issued in %+v", s)
		}
		alive := s.held != nil && !s.held.dead(s.now)
		if d.verb == remove && alive && s.wanted && s.held.ownRole == nil && (entitled || !s.confirmed || s.undecided != nil) {
			t.Errorf("removed what is wanted and alive in %+v", s)
		}
		if d.verb == remove && (s.seed || s.held.inUse) || d.verb == issue && s.seed && s.held == nil {
			t.Errorf("decided to %s the seed in %+v", d.verb, s)
		}
		if d.verb == remove && d.reason == reasonExpired && !s.sure && !s.held.credentials.Expires.IsZero() {
			t.Errorf("removed what may be alive in %+v", s)
		}
		if d.verb != issue && d.verb != repair && !d.at.IsZero() && !d.at.After(s.now) {
			t.Errorf("looked at again without pause: %+v", s)
		}
		if d.verb == remove && s.held == nil {
			t.Errorf("removed nothing in %+v", s)
		}
		if d.verb != issue && d.verb != repair && d.at.IsZero() && (s.wanted || s.held != nil) {
			t.Errorf("never looked at again: %+v", s)
		}
	}
}

// combinations are all subsets, in order.
func combinations(all []func(*state)) [][]func(*state) {
	sets := make([][]func(*state), 0, 1<<len(all))
	for bits := range 1 << len(all) {
		var set []func(*state)
		for i := range all {
			if bits&(1<<i) != 0 {
				set = append(set, all[i])
			}
		}
		sets = append(sets, set)
	}
	return sets
}
