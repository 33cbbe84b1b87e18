package sts

import (
	"iter"
	"maps"
	"net/url"
	"strconv"
	"time"
)

// keptCalls is how many calls Calls returns.
const keptCalls = 10_000

// Call is one call as the server received it, including rejected ones. It contains no secret.
type Call struct {
	Time      time.Time // arrival, by the server's clock
	Operation string    // such as "AssumeRole"; empty if the request has no Action

	// Caller is the ARN of the user or role session of the call's access key, and CallerRoleARN the
	// role of that session, empty for a user. Both are empty for unknown keys, for unsigned calls,
	// and for calls that a Fault rejected.
	Caller        string
	CallerRoleARN string
	// CallerKeyID is the ID of that access key, empty where Caller is.
	CallerKeyID string

	// Issuer and Subject are the iss and sub of a verified web identity token.
	Issuer  string
	Subject string

	RoleARN     string // as requested
	SessionName string
	Duration    time.Duration // as requested; 0 if it is missing or not a number
	ExternalID  string
	Tags        map[string]string

	Code        string // of the answer, or the Fault's name if there was none; empty on success
	AccessKeyID string // of the credentials issued, if any
}

// Outcome is the key of Counts: an operation and the error code of the answer, empty on success.
type Outcome struct {
	Operation string
	Code      string
}

// Session describes temporary credentials that the server issued.
type Session struct {
	AccessKeyID string
	RoleARN     string
	SessionName string
	ARN         string // arn:<partition>:sts::<account>:assumed-role/<role name>/<session name>
	Issued      time.Time
	Expires     time.Time // the real one, even if a Fault answered another or none
}

// callLog keeps the newest calls and counts all.
type callLog struct {
	calls  []Call
	total  int // all calls since the start
	counts map[Outcome]int
}

func newCallLog() callLog {
	return callLog{counts: map[Outcome]int{}}
}

func (l *callLog) add(call Call) {
	l.counts[Outcome{call.Operation, call.Code}]++
	if len(l.calls) >= 2*keptCalls { // at twice the number, so that moving them costs little per call
		l.calls = append(l.calls[:0], l.calls[len(l.calls)-keptCalls:]...)
	}
	l.calls = append(l.calls, call)
	l.total++
}

// after returns copies of the kept calls, without the first n of all calls.
func (l *callLog) after(n int) []Call {
	newest := min(max(0, l.total-n), len(l.calls), keptCalls)
	calls := make([]Call, newest)
	for i, call := range l.calls[len(l.calls)-newest:] {
		call.Tags = maps.Clone(call.Tags)
		calls[i] = call
	}
	return calls
}

// describe sets the fields that the request's form contains.
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

// Calls returns the newest calls, up to 10,000, oldest first. Counts covers all.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.after(0)
}

// CallsAfter returns the calls after the first n, oldest first, and the total so far, which is the
// n for the next time. It misses calls if more than 10,000 came since.
func (s *Server) CallsAfter(n int) (calls []Call, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.after(n), s.log.total
}

// Counts returns the number of calls by operation and outcome since the start.
func (s *Server) Counts() map[Outcome]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.log.counts)
}

// IssuedTo returns the session of an access key. It returns false for users' keys, and for keys
// that were never issued or expired more than an hour ago.
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

// IssuedSecrets ranges over every secret access key and session token that the server ever issued,
// including expired ones and users': what a test for leaks searches for in logs.
func (s *Server) IssuedSecrets() iter.Seq[string] {
	s.mu.Lock()
	keys := s.keys // a copy, whose counters do not change
	s.mu.Unlock()
	return keys.secrets()
}
