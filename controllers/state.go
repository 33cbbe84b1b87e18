package controllers

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/records"
	"kube-aws-iam-controller/pkg/renewal"
)

// state is all that a decision about one Secret depends on. Its times are those of STS's clock.
type state struct {
	now time.Time
	// clockTrusted is false if now can be wrong by any amount.
	clockTrusted bool
	// role is the ARN of the role that is asked for, if that is known.
	role string
	// wanted reports whether an object asks for the Secret; if not, unusedSince is since when.
	wanted      bool
	unusedSince time.Time
	// seed is true for the Secret of the controller's own credentials, which is kept while the
	// controller runs.
	seed bool
	// seedInMemory is true if the seed does not exist, and the controller still has good
	// credentials that were in it.
	seedInMemory bool
	// unadoptable is why an existing seed is not adopted.
	unadoptable string
	// invalid is why the request can never be served as it is, with the reason of its event.
	invalid       error
	invalidReason string
	// unready is why the controller cannot tell which role is meant, or assume any.
	unready error
	// undecided is why it is not known whether the role is allowed; otherwise access says so.
	undecided error
	access    authorization.Decision
	// confirmed is true if a refusal was confirmed, so that it deletes the Secret. deleteAt is
	// when it can be deleted, as such deletions are limited.
	confirmed bool
	deleteAt  time.Time
	// reviewAt is when to ask for the next review, if it is not known whether the role is allowed
	// or if a refusal is to be confirmed.
	reviewAt time.Time
	// recheckAt is when to ask for a review because of a recent change; zero if there was none.
	recheckAt time.Time
	// podsUnlisted is true if pods are to be listed for the ServiceAccount, and such lists had
	// reached their limit.
	podsUnlisted bool
	// unmanaged is why a Secret of another writer that has the name is left alone.
	unmanaged string
	// current is the controller's own Secret, if it exists. unfit is why it must not stay, with the
	// reason: it is of the controller's own role, or of a ServiceAccount that was replaced.
	current     *current
	unfit       error
	unfitReason string
	// failure is why the last attempt failed, if none succeeded since.
	failure *records.Failure
	// issueAt and repairAt are when the Secret can be written again, with new credentials and with
	// those that it holds; zero for now.
	issueAt, repairAt time.Time
	// limit and grace are --refresh-limit and --unused-grace-period; spread is the Secret's own.
	limit, grace time.Duration
	spread       float64
}

// current is an existing Secret of the controller's own.
type current struct {
	secret *corev1.Secret
	// credentials are zero if the Secret holds none that can be read.
	credentials credentials.Credentials
	// role is the ARN of the role that the credentials are of, and allowed reports whether it is
	// still allowed while another is asked for.
	role    string
	allowed bool
	// intact is true if the Secret is what the controller would write for its target; otherwise
	// repairable is true if that can be written with the credentials that it holds. inUse is true
	// if the controller itself works with them.
	intact, repairable, inUse bool
}

func (c *current) lifetime() renewal.Lifetime {
	return renewal.Lifetime{Issued: c.credentials.Issued, Expires: c.credentials.Expires}
}

// deleting reports whether the Secret is being deleted, and only a finalizer keeps it.
func (c *current) deleting() bool { return c.secret != nil && c.secret.DeletionTimestamp != nil }

// dead reports whether a pod that starts now could not use the credentials.
func (c *current) dead(now time.Time) bool { return c.left(now) == 0 }

// left returns how long a pod can use the credentials; 0 if there are none.
func (c *current) left(now time.Time) time.Duration {
	if c == nil {
		return 0
	}
	return max(0, c.credentials.UsableUntil().Sub(now))
}

// left returns how long the credentials are of use: to pods, and those in the seed to the
// controller, until they expire.
func (s *state) left() time.Duration {
	if s.seed && s.current != nil {
		return max(0, s.current.credentials.Expires.Sub(s.now))
	}
	return s.current.left(s.now)
}

// due returns when the credentials are to be renewed.
func (s *state) due() time.Time { return s.current.lifetime().Due(s.limit, s.spread) }

// expired reports whether a Secret surely holds nothing that a pod could use. A seed can renew
// itself until it expires.
func (s *state) expired() bool {
	return s.current != nil && !s.seed && s.current.dead(s.now) && (s.clockTrusted || s.current.credentials.Expires.IsZero())
}

// needsCredentials reports whether new credentials are to be issued now, if the role is allowed:
// those that are there are missing, changed or due, and no pause after a write or a failure is to
// be waited for.
func (s *state) needsCredentials() bool {
	if s.current != nil && s.now.Before(s.due()) && (s.current.intact || (s.current.repairable && !s.current.dead(s.now))) {
		return false
	}
	if s.failure == nil || s.failure.Transient() {
		return !s.now.Before(s.issueAt)
	}
	return !s.expired() && !s.now.Before(s.failure.RetryAt)
}

// beforeDeath returns when pods can no longer use the credentials if that is before a time.
func (s *state) beforeDeath(at time.Time) time.Time {
	if s.current != nil && !s.seed && !s.current.dead(s.now) {
		return renewal.Earlier(at, s.current.credentials.UsableUntil())
	}
	return at
}
