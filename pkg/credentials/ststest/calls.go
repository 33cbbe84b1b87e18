package ststest

import (
	"iter"
	"maps"
	"net/url"
	"strconv"
	"time"
)

// keptCalls is how many calls Calls remembers.
const keptCalls = 10_000

// Call is one call as the server saw it, refused ones included. It holds no secret.
type Call struct {
	Time      time.Time // arrival, by the server's clock
	Operation string    // as "AssumeRole"; empty when the request had no Action

	// Caller is the ARN of the user or role session whose access key the call named, and CallerRoleARN the role of that session, empty
	// for a user. Both are empty for unknown keys, for unsigned calls, and for calls refused by a Fault.
	Caller        string
	CallerRoleARN string
	// CallerKeyID is that access key's ID, empty where Caller is.
	CallerKeyID string

	// Issuer and Subject are a verified web identity token's iss and sub.
	Issuer  string
	Subject string

	RoleARN     string // as asked
	SessionName string
	Duration    time.Duration // as asked; 0 when the call left it to STS, or asked for something that is not a number
	ExternalID  string
	Tags        map[string]string

	Code        string // the error code answered, or the Fault's name where there was no answer; empty on success
	AccessKeyID string // of the credentials issued, if any
}

// Outcome is what Counts counts by: an operation and the error code answered, empty on success.
type Outcome struct {
	Operation string
	Code      string
}

// Session is what the server knows about temporary credentials it issued.
type Session struct {
	AccessKeyID string
	RoleARN     string
	SessionName string
	ARN         string // arn:<partition>:sts::<account>:assumed-role/<role name>/<session name>
	Issued      time.Time
	Expires     time.Time // the true one, also where a Fault told another or none
}

// callLog remembers the newest calls and counts all.
type callLog struct {
	calls  []Call
	total  int // calls ever
	counts map[Outcome]int
}

func newCallLog() callLog {
	return callLog{counts: map[Outcome]int{}}
}

func (l *callLog) add(call Call) {
	l.counts[Outcome{call.Operation, call.Code}]++
	if len(l.calls) >= 2*keptCalls { // at twice the number, so that moving them costs next to nothing per call
		l.calls = append(l.calls[:0], l.calls[len(l.calls)-keptCalls:]...)
	}
	l.calls = append(l.calls, call)
	l.total++
}

// after returns copies of the calls that are kept of those after the first n.
func (l *callLog) after(n int) []Call {
	newest := min(max(0, l.total-n), len(l.calls), keptCalls)
	calls := make([]Call, newest)
	for i, call := range l.calls[len(l.calls)-newest:] {
		call.Tags = maps.Clone(call.Tags)
		calls[i] = call
	}
	return calls
}

// describe fills in what the request's form says.
func (c *Call) describe(form url.Values) {
	c.Operation = form.Get("Action")
	c.RoleARN = form.Get("RoleArn")
	c.SessionName = form.Get("RoleSessionName")
	c.ExternalID = form.Get("ExternalId")
	if seconds, err := strconv.ParseInt(form.Get("DurationSeconds"), 10, 32); err == nil {
		c.Duration = time.Duration(seconds) * time.Second
	}
	for _, tag := range tagsOf(form) {
		if c.Tags == nil {
			c.Tags = map[string]string{}
		}
		c.Tags[tag.key] = tag.value
	}
}

func (s *Server) record(call Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.add(call)
}

// Calls returns the newest calls, oldest first: all of them up to 10,000. Counts knows about all, always.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.after(0)
}

// CallsAfter returns the calls after the first n, oldest first, and how many there have been in all: the n for the next time. Who comes back
// before there are 10,000 more misses none.
func (s *Server) CallsAfter(n int) (calls []Call, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.after(n), s.log.total
}

// Counts returns how many calls of each operation had which outcome, since the start.
func (s *Server) Counts() map[Outcome]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.log.counts)
}

// IssuedTo tells whose the access key is. False for users' keys, and for those that were never issued or forgotten an hour after expiry.
func (s *Server) IssuedTo(accessKeyID string) (Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, known := s.keys.find(accessKeyID)
	if !known || !k.temporary() {
		return Session{}, false
	}
	return Session{
		AccessKeyID: accessKeyID,
		RoleARN:     k.roleARN,
		SessionName: k.sessionName,
		ARN:         k.arn,
		Issued:      k.issued,
		Expires:     k.expires,
	}, true
}

// IssuedSecrets ranges over every secret access key and session token that the server ever gave away, forgotten ones and users' included:
// what a test for leaks looks for in logs.
func (s *Server) IssuedSecrets() iter.Seq[string] {
	s.mu.Lock()
	keys := s.keys // the counters and the seed do not change in the copy
	s.mu.Unlock()
	return keys.secrets()
}
