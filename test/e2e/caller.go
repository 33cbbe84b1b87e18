package e2e

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	ststest "kube-aws-iam-controller/test/sts"
)

// caller is a program that calls STS through all faults, and what was seen of it.
type caller struct {
	sdkPod
	session    time.Duration   // how long its sessions last
	refused    int             // calls that STS refused; some SDKs repeat these, and their program gets no error
	lastCall   time.Time       // when the number of calls last grew
	callsAtRow int             // successful calls before the row began
	used       map[string]bool // access key IDs
	lags       []time.Duration // for each rotation, from when STS issued new keys to their first use
	left       time.Duration   // the least of a session that was left when its keys were used

	uid     types.UID       // of the Secret, "" if there is none
	current ststest.Session // whose credentials the Secret has
	deleted int             // how often the Secret was deleted by the controller, in this row
	byTest  int             // how many deletions by the test itself are still to be seen
	stale   time.Duration   // how long past half of its session the Secret was at the worst, in this row
}

// silence is how long a program can make no call, which it does every second.
const silence = 20 * time.Second

// rolePrefix begins the names of all callers' roles.
const rolePrefix = "sdk-"

func newCaller(p *program, session time.Duration) *caller {
	return &caller{sdkPod: sdkPod{program: *p}, session: session, left: session, used: map[string]bool{}}
}

// role returns the name of the role that only this caller has, and of its pod.
func (c *caller) role() string { return rolePrefix + c.name }

// failed returns how many calls have failed or were refused.
func (c *caller) failed() int { return len(c.failures) + c.refused }

// beginRow begins another row of the report.
func (c *caller) beginRow() { c.callsAtRow, c.deleted, c.stale = len(c.identities), 0, 0 }

// observeOutput takes in what the program has printed by now, and returns an error for what it must
// never print, and for silence.
func (c *caller) observeOutput(lines []string, now time.Time) error {
	before := len(c.identities)
	c.setOutput(lines)
	if err := c.failure(); err != nil {
		return err
	}
	switch {
	case len(c.identities) > before:
		c.lastCall = now
	case !c.lastCall.IsZero() && now.Sub(c.lastCall) > silence:
		return fmt.Errorf("%s has not called for %s", c.name, silence)
	}
	return nil
}

// observeCall takes in a call that STS got from any program, and returns an error if STS refused
// one of this caller's.
func (c *caller) observeCall(call *ststest.Call, issuedTo func(string) (ststest.Session, bool)) error {
	switch {
	case call.CallerRoleARN != roleARN(c.role()):
		return nil
	case call.Code != "":
		c.refused++
		return fmt.Errorf("%s: STS refused a call: %s", c.name, call.Code)
	}
	session, known := issuedTo(call.CallerKeyID)
	if !known {
		return nil
	}
	c.left = min(c.left, session.Expires.Sub(call.Time))
	if len(c.used) > 0 && !c.used[call.CallerKeyID] {
		c.lags = append(c.lags, call.Time.Sub(session.Issued))
	}
	c.used[call.CallerKeyID] = true
	return nil
}

// observeSecret takes in which Secret there is, "" for none, and whose credentials it has, if STS
// knows them.
func (c *caller) observeSecret(uid types.UID, session *ststest.Session) {
	switch {
	case c.uid == "" || c.uid == uid:
	case c.byTest > 0:
		c.byTest--
	default:
		c.deleted++
	}
	c.uid = uid
	if !session.Issued.IsZero() {
		c.current = *session
	}
}

// overdue returns how long half of the current session is over.
func (c *caller) overdue(now time.Time) time.Duration {
	if c.current.Issued.IsZero() {
		return 0
	}
	return max(0, now.Sub(c.current.Issued)-c.lifetime()/2)
}

// lifetime returns how long the current session lasts.
func (c *caller) lifetime() time.Duration { return c.current.Expires.Sub(c.current.Issued) }

// fresh reports whether the Secret is not due for renewal, as it is after a quarter of its session
// at the latest.
func (c *caller) fresh(now time.Time) bool {
	return now.Sub(c.current.Issued) < c.lifetime()/4+2*time.Second
}
