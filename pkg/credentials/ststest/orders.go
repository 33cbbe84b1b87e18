package ststest

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// defaultMaxSkew is how far a request's X-Amz-Date may be from the server's clock: "within five minutes of the time stamp in the
// request" (IAM User Guide, Signature Version 4). STS itself has been seen to grant 15.
const defaultMaxSkew = 5 * time.Minute

// defaultMaxSession is the MaxSessionDuration of a role for which nothing else was set (IAM API Reference, CreateRole).
const defaultMaxSession = time.Hour

// defaultAudience is what the AWS SDKs' and EKS's service account tokens are made out to.
const defaultAudience = "sts.amazonaws.com"

// Fault is something that goes wrong with a call. The first group are things STS does on a bad day, the second are answers that a correct
// STS never gives and a robust client survives.
type Fault int

// The faults. Where none of STS's error codes is answered, the recorded Call.Code is the fault's String.
const (
	NoFault            Fault = iota
	Throttled                // 400 Throttling, "Rate exceeded"
	InternalFailure          // 500 InternalFailure
	ServiceUnavailable       // 503 ServiceUnavailable
	ConnectionReset          // no answer: the connection is reset
	Hang                     // no answer until the client gives up or the server closes

	MissingCredentials // success without a Credentials element
	MissingExpiration  // credentials without an Expiration
	AlreadyExpired     // credentials that expired a minute ago
	NotXML             // status 200 and a page of HTML, as a proxy in between gives
)

var faultNames = [...]string{
	"NoFault", "Throttled", "InternalFailure", "ServiceUnavailable", "ConnectionReset", "Hang",
	"MissingCredentials", "MissingExpiration", "AlreadyExpired", "NotXML",
}

// String names the fault as its constant does.
func (f Fault) String() string {
	if f < 0 || int(f) >= len(faultNames) {
		return "Fault(" + strconv.Itoa(int(f)) + ")"
	}
	return faultNames[f]
}

func (f Fault) breaksConnection() bool {
	return f == ConnectionReset || f == Hang
}

// refusal is the error answer that the fault stands for, nil if it is none.
func (f Fault) refusal() error {
	switch f {
	case Throttled:
		return badRequest("Throttling", "Rate exceeded")
	case InternalFailure:
		return &apiError{http.StatusInternalServerError, "InternalFailure", "The request processing has failed because of an unknown error."}
	case ServiceUnavailable:
		return &apiError{http.StatusServiceUnavailable, "ServiceUnavailable", "The request has failed due to a temporary failure of the server."}
	default:
		return nil
	}
}

// orders is how the server was told to behave.
type orders struct {
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
	allowance   float64 // calls that may be answered now
	replenished time.Time

	denied     map[string]string // role -> what the answer says; empty for what STS says of a missing trust
	trust      map[string]func(Call) bool
	maxSession map[string]time.Duration
	issuers    map[string]KeySource
	audiences  []string
}

func newOrders() orders {
	return orders{
		clock:      time.Now,
		maxSkew:    defaultMaxSkew,
		denied:     map[string]string{},
		trust:      map[string]func(Call) bool{},
		maxSession: map[string]time.Duration{},
		issuers:    map[string]KeySource{},
		audiences:  []string{defaultAudience},
	}
}

func (s *Server) order(change func(*orders)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.orders)
}

// SetClock replaces time.Now as the server's clock, by which it issues, expires, limits its rate and checks signatures. The Date of its
// answers follows, so that SDKs correct themselves as they do for a machine whose clock is wrong: with one refused attempt, unless
// SetMaxSkew switches the check off.
func (s *Server) SetClock(now func() time.Time) {
	s.order(func(o *orders) { o.clock = now })
}

// SetMaxSkew sets how far the time of a request may be from the server's clock, at first 5 minutes; 0 accepts any.
func (s *Server) SetMaxSkew(d time.Duration) {
	s.order(func(o *orders) { o.maxSkew = d })
}

// SetLatency delays every later call by d, by the real clock, or only those of some operations.
func (s *Server) SetLatency(d time.Duration, operations ...string) {
	s.order(func(o *orders) { o.latency, o.latencyOf = d, operations })
}

// SetSessionLifetime makes every later session live d, cut to whole seconds at its end, whatever was asked for; 0 means as asked. What was
// asked is checked all the same. It makes sessions shorter than STS's 15 minutes possible.
func (s *Server) SetSessionLifetime(d time.Duration) {
	s.order(func(o *orders) { o.lifetime = d })
}

// SetFault lets f happen to every later call, until SetFault(NoFault), or only to those of some operations.
func (s *Server) SetFault(f Fault, operations ...string) {
	s.order(func(o *orders) { o.fault, o.faultOf = f, operations })
}

// FaultNext lets f happen to the next n calls, before what SetFault says takes over again. It replaces an earlier FaultNext.
func (s *Server) FaultNext(n int, f Fault) {
	s.order(func(o *orders) { o.next, o.nextCount = f, n })
}

// ThrottleNext answers the next n calls with Throttling: FaultNext with Throttled.
func (s *Server) ThrottleNext(n int) {
	s.FaultNext(n, Throttled)
}

// SetRateLimit answers Throttling to what exceeds so many calls per second, with bursts of as many; 0 means no limit. STS's own limit
// is 600 for an account and Region. It may be for some operations only.
func (s *Server) SetRateLimit(perSecond int, operations ...string) {
	s.order(func(o *orders) {
		o.rate, o.rateOf, o.allowance, o.replenished = float64(perSecond), operations, float64(perSecond), time.Time{}
	})
}

// Deny lets nobody assume the role any more; the answer is AccessDenied, which STS gives for roles that do not exist, too.
func (s *Server) Deny(roleARN string) { s.DenySaying(roleARN, "") }

// DenySaying is Deny with another message, such as one that names a service control policy. It is
// what STS would say, whatever it is: with line feeds, or with what should have stayed secret.
func (s *Server) DenySaying(roleARN, message string) {
	s.order(func(o *orders) { o.denied[roleARN] = message })
}

// Allow takes a Deny or DenySaying back.
func (s *Server) Allow(roleARN string) {
	s.order(func(o *orders) { delete(o.denied, roleARN) })
}

// Trust sets the role's trust condition: it may be assumed by calls for which trusted returns true; nil takes the condition away. It sees
// the Call before its outcome: Code and AccessKeyID are empty.
func (s *Server) Trust(roleARN string, trusted func(Call) bool) {
	s.order(func(o *orders) {
		if trusted == nil {
			delete(o.trust, roleARN)
			return
		}
		o.trust[roleARN] = trusted
	})
}

// SetMaxSessionDuration sets the role's MaxSessionDuration, at first one hour. STS knows 1 to 12 hours.
func (s *Server) SetMaxSessionDuration(roleARN string, d time.Duration) {
	s.order(func(o *orders) { o.maxSession[roleARN] = d })
}

// TrustIssuer accepts web identity tokens of the issuer, the token's iss, signed by a key that keys finds.
func (s *Server) TrustIssuer(issuer string, keys KeySource) {
	s.order(func(o *orders) { o.issuers[issuer] = keys })
}

// SetAudience sets what a web identity token's aud must name one of, at first sts.amazonaws.com.
func (s *Server) SetAudience(audiences ...string) {
	s.order(func(o *orders) { o.audiences = slices.Clone(audiences) })
}

func (s *Server) now() time.Time {
	s.mu.Lock()
	clock := s.orders.clock
	s.mu.Unlock()
	return clock()
}

// latency is by how much a call is delayed.
func (s *Server) latency(operation string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !concerns(s.orders.latencyOf, operation) {
		return 0
	}
	return s.orders.latency
}

// concerns tells whether an order for some operations, or for all, is one for this.
func concerns(operations []string, operation string) bool {
	return len(operations) == 0 || slices.Contains(operations, operation)
}

// nextFault is what goes wrong with a call that arrives now.
func (s *Server) nextFault(now time.Time, operation string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.orders
	if o.nextCount > 0 {
		o.nextCount--
		return o.next
	}
	fault := o.fault
	if !concerns(o.faultOf, operation) {
		fault = NoFault
	}
	if fault == NoFault && concerns(o.rateOf, operation) && !o.withinRate(now) {
		return Throttled
	}
	return fault
}

// withinRate takes one call from a bucket that holds a second's worth of them.
func (o *orders) withinRate(now time.Time) bool {
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

// trust returns the answer AccessDenied if the role's trust does not let this call assume it. It
// has the message usual, unless another one was ordered. The condition is the test's code and
// runs without the lock.
func (s *Server) trust(call Call, usual string) error {
	s.mu.Lock()
	message, denied := s.orders.denied[call.RoleARN]
	trusted := s.orders.trust[call.RoleARN]
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
	if d, set := s.orders.maxSession[roleARN]; set {
		return d
	}
	return defaultMaxSession
}
