// Package ststest provides an in-process AWS Security Token Service for tests, demonstrations and benchmarks, in the manner of
// net/http/httptest.
//
// It speaks the AWS Query protocol over plain HTTP, so any unmodified AWS SDK uses it through the environment variable
// AWS_ENDPOINT_URL_STS, and it refuses what STS refuses: it verifies every signature, knows which keys it issued to whom and until when, and
// checks each parameter. It takes orders while it runs: denials, throttling, outages, latency, another clock.
//
// It answers AssumeRole, AssumeRoleWithWebIdentity and GetCallerIdentity. Beyond trust as ordered there is no IAM: every role exists, and
// every known caller may assume it. Of AssumeRole's parameters SerialNumber, TokenCode, SourceIdentity, TransitiveTagKeys,
// ProvidedContexts and MinimumSessionTokenSize are ignored.
//
// Source of what it checks and answers, where nothing else is named: AWS STS API Reference, version 2011-06-15.
package ststest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// apiVersion is the only version of the API that STS has.
const apiVersion = "2011-06-15"

// maxBody bounds a request, in bytes: well above a 20,000 character token with 50 tags.
const maxBody = 256 << 10

// Server is a running STS. Its methods may be called from any goroutine, also while calls are under way.
type Server struct {
	// URL is where it listens, as "http://127.0.0.1:41234": the value for AWS_ENDPOINT_URL_STS.
	URL string

	http    *http.Server
	closing chan struct{} // closed under mu
	once    sync.Once
	running sync.WaitGroup // the accept loop and every handler

	mu     sync.Mutex // guards all below
	orders orders
	keys   keyring
	log    callLog
}

// request is one call on its way through the server.
type request struct {
	id   string // names the answer
	http *http.Request
	body []byte
	form url.Values
	now  time.Time // the server's clock on arrival

	fault  Fault // what goes wrong with this call
	caller *key  // whose key signed it; nil when unsigned or unknown
	call   Call  // what is recorded
}

// operation answers one action: a value to be written as XML, or an error, an *apiError where it is STS's own.
type operation func(*Server, *request) (any, error)

var operations = map[string]operation{
	"AssumeRole":                (*Server).assumeRole,
	"AssumeRoleWithWebIdentity": (*Server).assumeRoleWithWebIdentity,
	"GetCallerIdentity":         (*Server).getCallerIdentity,
}

// New starts a server on a free port of the loopback interface. It panics if there is none, as httptest.NewServer does.
func New() *Server {
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return s
}

// Listen starts a server on address, a host:port as net.Listen takes it. The error is net.Listen's.
func Listen(address string) (*Server, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ststest: %w", err)
	}
	s := &Server{
		URL:     "http://" + listener.Addr().String(),
		closing: make(chan struct{}),
		orders:  newOrders(),
		keys:    newKeyring([]byte(rand.Text())),
		log:     newCallLog(),
	}
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	s.running.Go(func() { _ = s.http.Serve(listener) })
	return s, nil
}

// Close stops the server, drops every connection, those of hanging calls too, and returns when no handler runs any more.
func (s *Server) Close() {
	s.once.Do(func() {
		s.mu.Lock()
		close(s.closing)
		s.mu.Unlock()
		_ = s.http.Close()
	})
	s.running.Wait()
}

// serve handles one HTTP request. A call is recorded before it is answered: a client that has its answer finds its call in Calls.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.running.Done()

	req, err := s.read(w, r)
	if !s.wait(r, s.latency(req.call.Operation)) {
		panic(http.ErrAbortHandler)
	}
	if req.fault.breaksConnection() {
		req.call.Code = req.fault.String()
		s.record(req.call)
		s.breakConnection(w, req)
		return
	}

	var answer any
	if err == nil {
		answer, err = s.answer(req)
	}
	failure := asAPIError(err)
	if failure != nil {
		req.call.Code = failure.code
	}
	s.record(req.call)
	respond(w, req, answer, failure)
}

// enter counts a handler in, unless the server is closing: what Close waits for must not grow while it waits.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
		return false
	default:
		s.running.Add(1)
		return true
	}
}

// read takes the request in. What it returns is never nil: also a call that cannot be understood is recorded.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (*request, error) {
	now := s.now()
	req := &request{id: newRequestID(), http: r, now: now, call: Call{Time: now}}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return req, &apiError{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request body could not be read."}
	}
	query, err := url.ParseQuery(string(body))
	if err != nil {
		return req, badRequest("MalformedQueryString", "The request body is not a valid form.")
	}
	req.body, req.form = body, query
	req.call.describe(query)
	req.fault = s.nextFault(now, req.call.Operation)
	return req, nil
}

// answer finds the operation and carries it out, unless an ordered fault comes first.
func (s *Server) answer(req *request) (any, error) {
	if err := req.fault.refusal(); err != nil {
		return nil, err
	}
	action, version := req.form.Get("Action"), req.form.Get("Version")
	if action == "" {
		return nil, badRequest("MissingAction", "The request must contain the parameter Action.")
	}
	do, known := operations[action]
	if !known || version != apiVersion {
		return nil, badRequest("InvalidAction",
			fmt.Sprintf("Could not find operation %s for version %s", action, version))
	}
	return do(s, req)
}

// wait lets d pass, or less if the client goes away: its call is carried out all the same, as STS does. False when the server closes.
func (s *Server) wait(r *http.Request, d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		case <-s.closing:
		}
	}
	select {
	case <-s.closing:
		return false
	default:
		return true
	}
}

// breakConnection ends a call without any answer, at once or, for Hang, when the client gives up or the server closes.
func (s *Server) breakConnection(w http.ResponseWriter, req *request) {
	if req.fault == Hang {
		select {
		case <-req.http.Context().Done():
		case <-s.closing:
		}
		panic(http.ErrAbortHandler)
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // closes with a reset instead of a FIN
	}
	_ = conn.Close()
}
