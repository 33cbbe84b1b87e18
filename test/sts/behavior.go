package sts

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// defaultMaxSkew is how far a request's X-Amz-Date can be from the server's clock: "within five
// minutes of the time stamp in the request" (IAM User Guide, Signature Version 4). STS itself has
// been observed to accept 15.
const defaultMaxSkew = 5 * time.Minute

// defaultMaxSession is the default MaxSessionDuration of a role (IAM API Reference, CreateRole).
const defaultMaxSession = time.Hour

// defaultAudience is the audience of the service account tokens of the AWS SDKs and EKS.
const defaultAudience = "sts.amazonaws.com"

// Fault is a failure of a call. The first group are failures of STS, the second are answers that a
// correct STS never gives and a robust client survives.
type Fault int

// The faults. Where the answer has no error code of STS, the recorded Call.Code is the fault's
// String.
const (
	NoFault            Fault = iota
	Throttled                // 400 Throttling, "Rate exceeded"
	InternalFailure          // 500 InternalFailure
	ServiceUnavailable       // 503 ServiceUnavailable
	IDPCommunication         // 400 IDPCommunicationError, of AssumeRoleWithWebIdentity
	ConnectionReset          // no answer: the connection is reset
	Hang                     // no answer until the client gives up or the server closes

	MissingCredentials // success without a Credentials element
	MissingExpiration  // credentials without an Expiration
	AlreadyExpired     // credentials that expired a minute ago
	NotXML             // status 200 and a page of HTML, as from a proxy
)

var faultNames = [...]string{
	"NoFault", "Throttled", "InternalFailure", "ServiceUnavailable", "IDPCommunication", "ConnectionReset", "Hang",
	"MissingCredentials", "MissingExpiration", "AlreadyExpired", "NotXML",
}

// String returns the name of the fault's constant.
func (f Fault) String() string {
	if f < 0 || int(f) >= len(faultNames) {
		return "Fault(" + strconv.Itoa(int(f)) + ")"
	}
	return faultNames[f]
}

func (f Fault) breaksConnection() bool {
	return f == ConnectionReset || f == Hang
}

// refusal returns the error answer of the fault, or nil if it has none.
func (f Fault) refusal() error {
	switch f {
	case Throttled:
		return badRequest("Throttling", "Rate exceeded")
	case InternalFailure:
		return &apiError{http.StatusInternalServerError, "InternalFailure", "The request processing has failed because " +
			"of an unknown error."}
	case ServiceUnavailable:
		return &apiError{http.StatusServiceUnavailable, "ServiceUnavailable", "The request has failed due to a " +
			"temporary failure of the server."}
	case IDPCommunication:
		return badRequest("IDPCommunicationError", "The identity provider couldn't be reached to verify the token")
	default:
		return nil
	}
}

// behavior is how the server behaves, as set by the test.
type behavior struct {
	clock    func() time.Time
	maxSkew  time.Duration
	latency  time.Duration
	lifetime time.Duration

	latencyOf   []string // the operations that latency is for, none for all
	fault       Fault
	faultOf     []string
	next        Fault // instead of fault, nextCount times
	nextCount   int
	rate        float64 // calls per second, 0 = unlimited
	rateOf      []string
	allowance   float64 // calls left now
	replenished time.Time

	denied     map[string]string // role -> message; empty for that of a missing trust
	trust      map[string]func(Call) bool
	nameless   map[string]bool // roles that refuse a source identity
	maxSession map[string]time.Duration
	issuers    map[string]KeySource
	audiences  []string
}

func newBehavior() behavior {
	return behavior{
		clock:      time.Now,
		maxSkew:    defaultMaxSkew,
		denied:     map[string]string{},
		trust:      map[string]func(Call) bool{},
		nameless:   map[string]bool{},
		maxSession: map[string]time.Duration{},
		issuers:    map[string]KeySource{},
		audiences:  []string{defaultAudience},
	}
}

func (s *Server) configure(change func(*behavior)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.behavior)
}

// SetClock replaces time.Now as the server's clock, which determines issue and expiry times, the
// rate limit and the check of signatures. The Date of its answers follows, so that SDKs correct
// themselves as on a machine with a wrong clock: with one refused attempt, unless SetMaxSkew
// disables the check.
func (s *Server) SetClock(now func() time.Time) {
	s.configure(func(o *behavior) { o.clock = now })
}

// SetMaxSkew sets how far the time of a request can be from the server's clock, by default 5
// minutes; 0 accepts any.
func (s *Server) SetMaxSkew(d time.Duration) {
	s.configure(func(o *behavior) { o.maxSkew = d })
}

// SetLatency delays every later call by d of real time, or only those of some operations.
func (s *Server) SetLatency(d time.Duration, operations ...string) {
	s.configure(func(o *behavior) { o.latency, o.latencyOf = d, operations })
}

// SetSessionLifetime makes every later session live for d, cut to whole seconds at its end,
// whatever duration is requested; 0 restores the requested one. The requested duration is still
// checked. It allows sessions that are shorter than STS's 15 minutes.
func (s *Server) SetSessionLifetime(d time.Duration) {
	s.configure(func(o *behavior) { o.lifetime = d })
}

// SetTokenSize makes one session token in four n bytes long, at most the 4,096 that STS can return.
// It must be called before the first session begins.
func (s *Server) SetTokenSize(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > maxToken || s.keys.sessions > 0 {
		panic("sts: the size of session tokens cannot become " + strconv.Itoa(n))
	}
	s.keys.tokenSize = n
}

// SetFault makes every later call fail with f, until SetFault(NoFault), or only those of some
// operations.
func (s *Server) SetFault(f Fault, operations ...string) {
	s.configure(func(o *behavior) { o.fault, o.faultOf = f, operations })
}

// FaultNext makes the next n calls fail with f; after them SetFault applies again. It replaces an
// earlier FaultNext.
func (s *Server) FaultNext(n int, f Fault) {
	s.configure(func(o *behavior) { o.next, o.nextCount = f, n })
}

// ThrottleNext answers the next n calls with Throttling: FaultNext with Throttled.
func (s *Server) ThrottleNext(n int) {
	s.FaultNext(n, Throttled)
}

// SetRateLimit answers calls above perSecond with Throttling, with bursts of the same size; 0 means
// no limit. It applies to all operations, or only to some. STS's own limit is 600 for an account
// and Region.
func (s *Server) SetRateLimit(perSecond int, operations ...string) {
	s.configure(func(o *behavior) {
		o.rate, o.rateOf, o.allowance, o.replenished = float64(perSecond), operations, float64(perSecond), time.Time{}
	})
}

// Deny answers every attempt to assume the role with AccessDenied, as STS does for roles that do
// not exist too.
func (s *Server) Deny(roleARN string) { s.DenyWithMessage(roleARN, "") }

// DenyWithMessage is Deny with another message, such as one that names a service control policy.
// The answer contains it unchanged, including line feeds or secrets.
func (s *Server) DenyWithMessage(roleARN, message string) {
	s.configure(func(o *behavior) { o.denied[roleARN] = message })
}

// Allow reverts Deny and DenyWithMessage.
func (s *Server) Allow(roleARN string) {
	s.configure(func(o *behavior) { delete(o.denied, roleARN) })
}

// Trust sets the role's trust condition: only calls for which trusted returns true can assume it;
// nil removes the condition. The Call has no outcome yet: Code and AccessKeyID are empty.
func (s *Server) Trust(roleARN string, trusted func(Call) bool) {
	s.configure(func(o *behavior) {
		if trusted == nil {
			delete(o.trust, roleARN)
			return
		}
		o.trust[roleARN] = trusted
	})
}

// RefuseSourceIdentity makes the role's trust policy one that does not allow sts:SetSourceIdentity:
// sessions with a source identity cannot assume it.
func (s *Server) RefuseSourceIdentity(roleARN string) {
	s.configure(func(o *behavior) { o.nameless[roleARN] = true })
}

func (s *Server) refusesSourceIdentity(roleARN string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behavior.nameless[roleARN]
}

// SetMaxSessionDuration sets the role's MaxSessionDuration, by default one hour. STS allows 1 to 12
// hours.
func (s *Server) SetMaxSessionDuration(roleARN string, d time.Duration) {
	s.configure(func(o *behavior) { o.maxSession[roleARN] = d })
}

// TrustIssuer accepts web identity tokens of the issuer, the token's iss, signed by a key of keys.
func (s *Server) TrustIssuer(issuer string, keys KeySource) {
	s.configure(func(o *behavior) { o.issuers[issuer] = keys })
}

// SetAudience sets the accepted audiences of web identity tokens, by default sts.amazonaws.com.
func (s *Server) SetAudience(audiences ...string) {
	s.configure(func(o *behavior) { o.audiences = slices.Clone(audiences) })
}

func (s *Server) now() time.Time {
	s.mu.Lock()
	clock := s.behavior.clock
	s.mu.Unlock()
	return clock()
}

// latency returns the delay of a call.
func (s *Server) latency(operation string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !appliesTo(s.behavior.latencyOf, operation) {
		return 0
	}
	return s.behavior.latency
}

// appliesTo reports whether a setting for some operations, or for all, applies to operation.
func appliesTo(operations []string, operation string) bool {
	return len(operations) == 0 || slices.Contains(operations, operation)
}

// nextFault returns the fault of a call that arrives now.
func (s *Server) nextFault(now time.Time, operation string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.behavior
	if o.nextCount > 0 {
		o.nextCount--
		return o.next
	}
	fault := o.fault
	if !appliesTo(o.faultOf, operation) {
		fault = NoFault
	}
	if fault == NoFault && appliesTo(o.rateOf, operation) && !o.withinRate(now) {
		return Throttled
	}
	return fault
}

// withinRate takes one call from a bucket that holds a second's worth of them.
func (o *behavior) withinRate(now time.Time) bool {
	if o.rate <= 0 {
		return true
	}
	if !o.replenished.IsZero() {
		gained := max(0, now.Sub(o.replenished).Seconds()) * o.rate
		o.allowance = min(o.rate, o.allowance+gained)
	}
	o.replenished = now
	if o.allowance < 1 {
		return false
	}
	o.allowance--
	return true
}

// trust returns AccessDenied if the role's trust does not let this call assume it, with the message
// usual unless DenyWithMessage has set one. The condition is the test's code and runs without the
// lock.
func (s *Server) trust(call Call, usual string) error {
	s.mu.Lock()
	message, denied := s.behavior.denied[call.RoleARN]
	trusted := s.behavior.trust[call.RoleARN]
	s.mu.Unlock()
	call.Tags = maps.Clone(call.Tags)
	if denied || trusted != nil && !trusted(call) {
		return forbidden("AccessDenied", cmp.Or(message, usual))
	}
	return nil
}

func (s *Server) maxSessionDuration(roleARN string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, set := s.behavior.maxSession[roleARN]; set {
		return d
	}
	return defaultMaxSession
}
