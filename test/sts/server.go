// Package sts provides an in-process AWS Security Token Service for tests, demonstrations and
// benchmarks, in the manner of net/http/httptest.
//
// It speaks the AWS Query protocol over plain HTTP, so any unmodified AWS SDK uses it through the
// environment variable AWS_ENDPOINT_URL_STS, and it refuses what STS refuses: it verifies every
// signature, knows the owner and expiry of the keys it issued, and checks each parameter. Its
// behavior can be changed while it runs: denials, throttling, outages, latency, another clock.
//
// It answers AssumeRole, AssumeRoleWithWebIdentity and GetCallerIdentity. Apart from the trust that
// a test sets there is no IAM: every role exists, and every known caller can assume it. Of
// AssumeRole's parameters SerialNumber, TokenCode, SourceIdentity, TransitiveTagKeys,
// ProvidedContexts and MinimumSessionTokenSize are ignored. For clients of S3 that cannot call STS
// it answers GetObject, too, with the ARN of the caller.
//
// Source of what it checks and answers, where nothing else is named: AWS STS API Reference, version
// 2011-06-15.
package sts

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

// apiVersion is the only API version of STS.
const apiVersion = "2011-06-15"

// maxBody bounds a request, in bytes: well above a 20,000 character token with 50 tags.
const maxBody = 256 << 10

// Server is a running STS. Its methods can be called from any goroutine, also during calls.
type Server struct {
	// URL is the address of the server, such as "http://127.0.0.1:41234": the value for
	// AWS_ENDPOINT_URL_STS.
	URL string

	http    *http.Server
	closing chan struct{} // closed under mu
	once    sync.Once
	running sync.WaitGroup // the accept loop and every handler

	mu       sync.Mutex // guards the fields below
	behavior behavior
	keys     keyring
	log      callLog
}

// request is one call while the server handles it.
type request struct {
	id      string // the request ID of the answer
	service string // that the call is signed for
	http    *http.Request
	body    []byte
	form    url.Values
	now     time.Time // the server's clock on arrival

	fault  Fault // of this call
	caller *key  // owner of the key that signed it; nil if unsigned or unknown
	call   Call  // the record in Calls
}

// operation answers one action. It returns a value to write as XML, or an error, which is an
// *apiError where it is STS's own.
type operation func(*Server, *request) (any, error)

var operations = map[string]operation{
	"AssumeRole":                (*Server).assumeRole,
	"AssumeRoleWithWebIdentity": (*Server).assumeRoleWithWebIdentity,
	"GetCallerIdentity":         (*Server).getCallerIdentity,
}

// New starts a server on a free port of the loopback interface. It panics if there is none, as
// httptest.NewServer does.
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
		return nil, fmt.Errorf("sts: %w", err)
	}
	s := &Server{
		URL:      "http://" + listener.Addr().String(),
		closing:  make(chan struct{}),
		behavior: newBehavior(),
		keys:     newKeyring([]byte(rand.Text())),
		log:      newCallLog(),
	}
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	s.running.Go(func() { _ = s.http.Serve(listener) })
	return s, nil
}

// Close stops the server, drops every connection, including those of hanging calls, and returns
// when no handler runs any more.
func (s *Server) Close() {
	s.once.Do(func() {
		s.mu.Lock()
		close(s.closing)
		s.mu.Unlock()
		_ = s.http.Close()
	})
	s.running.Wait()
}

// serve handles one HTTP request. It records a call before the answer: a client that has its answer
// finds its call in Calls.
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

// enter registers a handler, unless the server is closing: the group that Close waits for must not
// grow while it waits.
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

// read parses the request. The result is never nil: a malformed call is recorded too.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (*request, error) {
	now := s.now()
	req := &request{id: newRequestID(), service: stsService, http: r, now: now, call: Call{Time: now}}
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
	if isGetObject(r) {
		req.service, req.call.Operation = s3Service, getObjectOperation
	}
	req.fault = s.nextFault(now, req.call.Operation)
	return req, nil
}

// answer runs the operation, unless a fault comes first.
func (s *Server) answer(req *request) (any, error) {
	if err := req.fault.refusal(); err != nil {
		return nil, err
	}
	if req.service == s3Service {
		return s.getObject(req)
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

// wait delays for d, or less if the client disconnects: its call is executed all the same, as by
// STS. It returns false if the server closes.
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

// breakConnection ends a call without any answer, at once or, for Hang, when the client gives up or
// the server closes.
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
