package controllers

import (
	"errors"
	"fmt"
	"testing"
	"time"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/records"
	"kube-aws-iam-controller/pkg/secretstore"
)

// noon is when every decision of these tests is made. Credentials live an hour, so they are due
// after a quarter of it and usable until five minutes before its end.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// good is a state in which nothing is to be done: a Secret that a pod wants, five minutes after its
// credentials were issued.
func good(change ...func(*state)) state {
	s := state{
		now:          noon,
		clockTrusted: true,
		wanted:       true,
		access:       authorization.Decision{Allowed: true},
		current:      currentSince(noon.Add(-5 * time.Minute)),
		limit:        30 * time.Minute,
		grace:        5 * time.Minute,
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func currentSince(issued time.Time) *current {
	return &current{intact: true, credentials: credentials.Credentials{Issued: issued, Expires: issued.Add(time.Hour)}}
}

func issuedAgo(d time.Duration) func(*state) {
	return func(s *state) { s.current = currentSince(noon.Add(-d)) }
}

func missing(s *state) { s.current = nil }
func edited(s *state) {
	if s.current != nil {
		s.current.intact = false
	}
}
func emptied(s *state) { s.current = &current{} }
func forbidden(s *state) {
	s.access, s.reviewAt = authorization.Decision{Reason: "not yours"}, s.now.Add(authorization.PropagationDelay)
}
func confirmed(s *state) { s.confirmed, s.reviewAt = true, s.now.Add(authorization.RepeatInterval) }
func undecidable(s *state) {
	s.access, s.undecided, s.reviewAt = authorization.Decision{}, errors.New("who may"), s.now.Add(2*time.Second)
}

func ofOwnRole(s *state) {
	if s.current != nil {
		s.unfit, s.unfitReason = errors.New("the controller's own"), v1.ReasonInvalidRole
	}
}

func ofPredecessor(s *state) {
	if s.current != nil {
		s.unfit, s.unfitReason = errors.New("its ServiceAccount is another"), reasonReplaced
	}
}

func inUse(s *state) {
	if s.current != nil {
		s.current.inUse = true
	}
}

func strippedOfLabels(s *state) {
	if s.current != nil {
		s.current.intact, s.current.repairable = false, true
	}
}

func writtenOften(s *state) {
	s.issueAt, s.repairAt = s.now.Add(20*time.Second), s.now.Add(20*time.Second)
}
func unsure(s *state)  { s.clockTrusted = false }
func invalid(s *state) { s.invalidReason, s.invalid = v1.ReasonInvalidRole, errors.New("no such role") }
func unready(s *state) { s.unready = errors.New("who am I") }
func foreign(s *state) {
	s.current, s.unmanaged, s.failure = nil, "another writer's", &records.Failure{Reason: v1.ReasonSecretNotManaged, RetryAt: noon}
}

func unusedFor(d time.Duration) func(*state) {
	return func(s *state) { s.wanted, s.unusedSince = false, noon.Add(-d) }
}

func ownSeed(s *state) { s.seed = true }

func failedUntil(d time.Duration) func(*state) {
	return func(s *state) {
		s.failure = &records.Failure{Reason: v1.ReasonGetCredentialsFailed, Note: "STS is down", RetryAt: noon.Add(d)}
	}
}

func TestDecide(t *testing.T) {
	const retry = rejectionRetry
	for _, test := range []struct {
		name   string
		state  state
		action action
		reason string
		in     time.Duration // when to look again; 0 for never
	}{
		{"a fresh Secret is kept until a quarter of its life is over", good(), actionNone, "", 10 * time.Minute},
		{"a spread brings that forward by up to half", good(func(s *state) { s.spread = 1 }), actionNone, "", 150 * time.Second},
		{"a longer limit brings it forward, too", good(func(s *state) { s.limit = 40 * time.Minute }), actionNone, "", 5 * time.Minute},
		{"credentials are renewed at a quarter of their life", good(issuedAgo(15 * time.Minute)), actionIssue, secretstore.Refresh, 0},
		{"a missing Secret is made", good(missing), actionIssue, secretstore.New, 0},
		{"an edited Secret is restored", good(edited), actionIssue, secretstore.Restored, 0},
		{"an emptied Secret is restored", good(emptied), actionIssue, secretstore.Restored, 0},
		{"expired credentials are renewed", good(issuedAgo(2 * time.Hour)), actionIssue, secretstore.Refresh, 0},

		{"no object asks for it and it does not exist", good(missing, unusedFor(time.Minute)), actionNone, reasonUnused, 0},
		{"an unused Secret is kept for the grace period", good(unusedFor(time.Minute)), actionNone, reasonUnused, 4 * time.Minute},
		{"and removed when that is over", good(unusedFor(5 * time.Minute)), actionDelete, reasonUnused, retry},
		{"an unused Secret is not kept until it is dead", good(issuedAgo(53*time.Minute), unusedFor(time.Minute)), actionNone, reasonUnused, 2 * time.Minute},
		{"but removed before", good(issuedAgo(55*time.Minute), unusedFor(time.Minute)), actionDelete, reasonUnused, retry},
		{"an unused Secret is never renewed", good(issuedAgo(40*time.Minute), unusedFor(0)), actionNone, reasonUnused, 5 * time.Minute},
		{"an unused Secret that cannot be read is removed", good(emptied, unusedFor(0)), actionDelete, reasonUnused, retry},
		{"unused goes before forbidden", good(unusedFor(time.Minute), forbidden), actionNone, reasonUnused, 4 * time.Minute},
		{"and before a controller without an identity", good(unusedFor(5*time.Minute), unready), actionDelete, reasonUnused, retry},

		{"a role that cannot be is refused", good(missing, invalid), actionReject, v1.ReasonInvalidRole, retry},
		{"what was written before it became invalid serves on", good(invalid), actionReject, v1.ReasonInvalidRole, retry},
		{"until it is dead", good(issuedAgo(55*time.Minute), invalid), actionDelete, reasonExpired, retry},

		{"a forbidden role is refused", good(missing, forbidden), actionReject, v1.ReasonRoleForbidden, retry},
		{"a refusal is confirmed before it takes anything away", good(forbidden), actionReject, v1.ReasonRoleForbidden, authorization.PropagationDelay},
		{"but stops renewal at once", good(issuedAgo(40*time.Minute), forbidden), actionReject, v1.ReasonRoleForbidden, authorization.PropagationDelay},
		{"a confirmed refusal removes the Secret", good(forbidden, confirmed), actionDelete, v1.ReasonRoleForbidden, retry},
		{"unless deletions are too many", good(forbidden, confirmed, func(s *state) { s.deleteAt = s.now.Add(20 * time.Second) }), actionReject, v1.ReasonRemovalDelayed, 20 * time.Second},
		{"which are looked at again in time", good(forbidden, confirmed, func(s *state) { s.deleteAt = s.now.Add(time.Hour) }), actionReject, v1.ReasonRemovalDelayed, authorization.RepeatInterval},
		{"a refused Secret that is dead is removed at once", good(issuedAgo(55*time.Minute), forbidden), actionDelete, reasonExpired, retry},
		{"what was wanted before, and is allowed, serves on", good(forbidden, confirmed, func(s *state) { s.role, s.current.allowed = "another", true }), actionReject, v1.ReasonRoleForbidden, retry},
		{"until it is dead, too", good(issuedAgo(55*time.Minute), forbidden, func(s *state) { s.role, s.current.allowed = "another", true }), actionDelete, reasonExpired, retry},
		{"what was wanted before, and is refused as well, goes", good(forbidden, confirmed, func(s *state) { s.role = "another" }), actionDelete, v1.ReasonRoleForbidden, retry},

		{"what is not known gives nothing new", good(missing, undecidable), actionReject, v1.ReasonAuthorizationUnknown, 2 * time.Second},
		{"and takes nothing away", good(undecidable), actionNone, "", retry},
		{"also when it is due", good(issuedAgo(40*time.Minute), undecidable), actionReject, v1.ReasonAuthorizationUnknown, 2 * time.Second},
		{"until it is dead, as always", good(issuedAgo(55*time.Minute), undecidable), actionDelete, reasonExpired, retry},

		{"credentials of the controller's own role are removed", good(ofOwnRole), actionDelete, v1.ReasonInvalidRole, retry},
		{"whoever may have it", good(ofOwnRole, unusedFor(0)), actionDelete, v1.ReasonInvalidRole, retry},
		{"but not those that it works with", good(ofOwnRole, inUse), actionReject, v1.ReasonInvalidRole, retry},
		{"whatever happens", good(inUse, unusedFor(time.Hour)), actionReject, reasonUnused, retry},
		{"even when they are dead", good(issuedAgo(2*time.Hour), inUse, invalid), actionReject, reasonExpired, retry},
		{"nor the seed", good(ofOwnRole, ownSeed), actionNone, "", 10 * time.Minute},
		{"credentials of a ServiceAccount that was created again are removed", good(ofPredecessor), actionDelete, reasonReplaced, retry},
		{"also while none can be issued", good(ofPredecessor, unready), actionDelete, reasonReplaced, retry},
		{"and while no pod asks for them", good(ofPredecessor, unusedFor(0)), actionDelete, reasonReplaced, retry},

		{"what surrounds credentials is repaired with them", good(strippedOfLabels), actionRepair, secretstore.Repaired, 0},
		{"renewal repairs it, too", good(issuedAgo(40*time.Minute), strippedOfLabels), actionIssue, secretstore.Restored, 0},
		{"what was repaired often waits", good(strippedOfLabels, writtenOften), actionNone, reasonPaused, 20 * time.Second},
		{"what was issued often waits", good(edited, writtenOften), actionNone, reasonPaused, 20 * time.Second},
		{"also what was deleted often", good(missing, writtenOften), actionNone, reasonPaused, 20 * time.Second},
		{"what was overwritten and cannot be read is removed before", good(emptied, writtenOften), actionDelete, reasonExpired, 20 * time.Second},
		{"a failure has pauses of its own", good(missing, writtenOften, failedUntil(0)), actionIssue, secretstore.New, 0},
		{"a good Secret does not wait", good(writtenOften), actionNone, "", 10 * time.Minute},

		{"no decision is a refusal", good(missing, func(s *state) { s.access = authorization.Decision{} }), actionReject, v1.ReasonRoleForbidden, retry},

		{"a controller without an identity issues nothing", good(missing, unready), actionReject, v1.ReasonGetCredentialsFailed, credentials.CallerRetry},
		{"and leaves what is good alone", good(unready), actionNone, "", retry},
		{"and warns once it is due", good(issuedAgo(40*time.Minute), unready), actionReject, v1.ReasonGetCredentialsFailed, unreadyRetry},
		{"and looks more often when little is left", good(issuedAgo(55*time.Minute-24*time.Second), unready), actionReject, v1.ReasonGetCredentialsFailed, 3 * time.Second},
		{"and looks again in time", good(issuedAgo(55*time.Minute-time.Second), unready), actionReject, v1.ReasonGetCredentialsFailed, time.Second},
		{"and removes what is dead", good(issuedAgo(55*time.Minute), unready), actionDelete, reasonExpired, retry},

		{"what looks dead stays while the time is not known", good(issuedAgo(2*time.Hour), unready, unsure), actionReject, v1.ReasonGetCredentialsFailed, unreadyRetry},
		{"also if the role has become invalid", good(issuedAgo(2*time.Hour), invalid, unsure), actionReject, v1.ReasonInvalidRole, retry},
		{"and waits between two attempts", good(issuedAgo(2*time.Hour), failedUntil(time.Second), unsure), actionReject, v1.ReasonGetCredentialsFailed, time.Second},
		{"and is tried again when it is time", good(issuedAgo(2*time.Hour), failedUntil(0), unsure), actionIssue, secretstore.Refresh, 0},
		{"but what cannot be read is dead at any time", good(emptied, unready, unsure), actionDelete, reasonExpired, retry},

		{"the seed is renewed as others are", good(ownSeed, issuedAgo(40*time.Minute)), actionIssue, secretstore.Refresh, 0},
		{"is adopted by renewing it", good(ownSeed, edited), actionIssue, secretstore.Restored, 0},
		{"but not made", good(ownSeed, missing), actionNone, "", credentials.CallerRetry},
		{"but written again from memory", good(ownSeed, missing, func(s *state) { s.seedInMemory = true }), actionRepair, secretstore.Restored, 0},
		{"waits for better credentials", good(ownSeed, unready, issuedAgo(2*time.Hour)), actionNone, "", credentials.CallerRetry},
		{"and stays when it is dead", good(ownSeed, issuedAgo(2*time.Hour), failedUntil(time.Minute)), actionReject, v1.ReasonGetCredentialsFailed, time.Minute},

		{"a Secret of another writer is left alone", good(foreign), actionReject, v1.ReasonSecretNotManaged, retry},
		{"also if the failure was dropped", good(foreign, func(s *state) { s.failure = nil }), actionReject, v1.ReasonSecretNotManaged, retry},

		{"after a failure a new Secret waits", good(missing, failedUntil(time.Second)), actionReject, v1.ReasonGetCredentialsFailed, time.Second},
		{"and is tried again when it is time", good(missing, failedUntil(0)), actionIssue, secretstore.New, 0},
		{"after a failure a due Secret stays", good(issuedAgo(40*time.Minute), failedUntil(time.Second)), actionReject, v1.ReasonGetCredentialsFailed, time.Second},
		{"a look is taken when it dies, if that is sooner", good(issuedAgo(55*time.Minute-time.Second), failedUntil(time.Minute)), actionReject, v1.ReasonGetCredentialsFailed, time.Second},
		{"and what is dead is removed", good(issuedAgo(55*time.Minute), failedUntil(time.Second)), actionDelete, reasonExpired, retry},
		{"what was emptied and cannot be restored is removed", good(emptied, failedUntil(time.Second)), actionDelete, reasonExpired, retry},
		{"a dead one is removed before it is tried again", good(issuedAgo(55*time.Minute), failedUntil(0)), actionDelete, reasonExpired, retry},
		{"a deletion that was denied is not tried before it is time", good(unusedFor(time.Hour), func(s *state) {
			s.failure = &records.Failure{Reason: v1.ReasonUpdateSecretFailed, Action: secretstore.ActionDelete, Note: "no", RetryAt: noon.Add(time.Second)}
		}), actionReject, v1.ReasonUpdateSecretFailed, time.Second},
		{"a change of rights is looked at again when it has settled", good(func(s *state) { s.recheckAt = noon.Add(time.Second) }), actionNone, "", time.Second},
		{"a passing failure keeps nothing from being tried", good(emptied, func(s *state) { s.failure = &records.Failure{RetryAt: noon.Add(time.Minute)} }), actionIssue, secretstore.Restored, 0},
		{"a failure matters no longer when the Secret is good", good(failedUntil(time.Minute)), actionNone, "", 10 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := decide(&test.state)
			if d.action != test.action || d.reason != test.reason {
				t.Errorf("decided to %s for %q, not to %s for %q", d.action, d.reason, test.action, test.reason)
			}
			var at time.Time
			if test.in != 0 {
				at = noon.Add(test.in)
			}
			if !d.requeueAt.Equal(at) {
				t.Errorf("looks again at %s, not at %s", d.requeueAt, at)
			}
			if refused := d.action == actionReject; refused && d.note == "" {
				t.Error("a refusal without a word to the user")
			}
		})
	}
}

// TestDecide_ZeroValueRejects: the zero value of everything gives no credentials.
func TestDecide_ZeroValueRejects(t *testing.T) {
	if d := decide(&state{wanted: true}); d.action != actionReject {
		t.Errorf("knowing nothing, it decides to %s", d.action)
	}
	if d := (decision{}); d.action != actionReject {
		t.Errorf("the zero decision is to %s", d.action)
	}
	if s := fmt.Sprint(action(42)); s != "action 42" {
		t.Error(s)
	}
}

// TestDecide_InEveryState: whatever the state, credentials are issued only for what is wanted,
// valid, known and allowed; what is wanted and alive is deleted only by a confirmed refusal; and
// while anything can change, there is a time to reconcile again.
func TestDecide_InEveryState(t *testing.T) {
	same := func(*state) {}
	dimensions := [][]func(*state){
		{same, missing, edited, emptied, strippedOfLabels, issuedAgo(40 * time.Minute), issuedAgo(56 * time.Minute)},
		{same, ofOwnRole, inUse, ofPredecessor},
		{same, forbidden, both(forbidden, confirmed), undecidable},
		{same, invalid, unready},
		{same, failedUntil(time.Minute), failedUntil(0)},
		{same, writtenOften},
		{same, unusedFor(time.Minute), unusedFor(time.Hour)},
		{same, ownSeed},
		{same, unsure},
	}
	everyState(dimensions, good(), func(s state) {
		for _, problem := range violations(&s, decide(&s)) {
			t.Errorf("%s: %+v", problem, s)
		}
	})
}

// violations returns the invariants that a decision breaks.
func violations(s *state, d decision) (broken []string) {
	entitled := s.wanted && s.invalid == nil && s.unready == nil && s.undecided == nil && s.access.Allowed
	writes := d.action == actionIssue || d.action == actionRepair
	alive := s.current != nil && !s.current.dead(s.now)
	for problem, is := range map[string]bool{
		"written without a right": writes && !entitled,
		"deleted what is wanted and alive": d.action == actionDelete && alive && s.wanted && s.unfit == nil &&
			(entitled || !s.confirmed || s.undecided != nil),
		"deleted what the controller needs":      d.action == actionDelete && (s.seed || s.current.inUse),
		"issued a seed":                          d.action == actionIssue && s.seed && s.current == nil,
		"deleted what can be alive":              d.action == actionDelete && d.reason == reasonExpired && !s.clockTrusted && !s.current.credentials.Expires.IsZero(),
		"reconciled again without a pause":       !writes && !d.requeueAt.IsZero() && !d.requeueAt.After(s.now),
		"deleted nothing":                        d.action == actionDelete && s.current == nil,
		"never reconciled again":                 !writes && d.requeueAt.IsZero() && (s.wanted || s.current != nil),
		"issued without asking for reviews":      d.action == actionIssue && !s.needsCredentials(),
		"asked for reviews and then not issued":  entitled && !s.seed && s.unfit == nil && s.needsCredentials() && d.action != actionIssue,
		"a rejection without a word to the user": d.action == actionReject && d.note == "" && d.reason != reasonUnused,
	} {
		if is {
			broken = append(broken, problem+" ("+d.action.String()+")")
		}
	}
	return broken
}

func both(f, g func(*state)) func(*state) { return func(s *state) { f(s); g(s) } }

// everyState calls visit with each combination of one change of each dimension.
func everyState(dimensions [][]func(*state), s state, visit func(state)) {
	if len(dimensions) == 0 {
		visit(s)
		return
	}
	for _, change := range dimensions[0] {
		next := s
		if s.current != nil {
			current := *s.current
			next.current = &current
		}
		change(&next)
		everyState(dimensions[1:], next, visit)
	}
}

// String returns the name of an action.
func (a action) String() string {
	switch a {
	case actionReject:
		return "reject"
	case actionNone:
		return "none"
	case actionIssue:
		return "issue"
	case actionRepair:
		return "repair"
	case actionDelete:
		return "delete"
	}
	return fmt.Sprintf("action %d", int(a))
}
