// Package rolesanywhere provides an in-process AWS IAM Roles Anywhere for tests, beside the STS of
// package sts, which accepts the sessions that it issues.
//
// A Server is an http.Handler; a client finds it by the environment variable
// AWS_ENDPOINT_URL_ROLESANYWHERE. It answers CreateSession and refuses what the service refuses: it
// verifies the signature and the chain from the certificate to the trust anchor. There are no
// session policies, attribute mappings, instance properties and revocation lists.
//
// Source of what it checks: "The IAM Roles Anywhere authentication process" in its user guide. The
// words of its refusals are those that users report; where none is known, they are its own.
package rolesanywhere

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"kube-aws-iam-controller/test/sts"
)

// Server is an IAM Roles Anywhere of all accounts and Regions. Its methods can be called from any
// goroutine.
type Server struct {
	sts *sts.Server

	mu       sync.Mutex // guards the fields below
	clock    func() time.Time
	anchors  map[string][]*x509.Certificate
	profiles map[string][]string // profile -> roles
	untrust  map[string]bool     // roles whose trust policy refuses
	outage   int                 // status of every answer; 0 for none
	calls    []Call
}

// Call is one call of CreateSession.
type Call struct {
	// Host is where it went, and Region, Algorithm and Serial are those of its signature.
	Host, Region, Algorithm, Serial string
	// Subject is the certificate's, and Chain the number of certificates beside it.
	Subject string
	Chain   int
	// RoleARN is the role that was asked for.
	RoleARN string
	// Code is the error code of the answer, or empty.
	Code string
	// AccessKeyID is the key that was issued.
	AccessKeyID string
}

// New returns a Server that issues sessions of an STS.
func New(issuer *sts.Server) *Server {
	return &Server{
		sts: issuer, clock: time.Now,
		anchors: map[string][]*x509.Certificate{}, profiles: map[string][]string{}, untrust: map[string]bool{},
	}
}

// SetClock replaces time.Now as the server's clock, which is also the Date of its answers.
func (s *Server) SetClock(now func() time.Time) { s.configure(func() { s.clock = now }) }

// SetTrustAnchor adds a trust anchor, or replaces its certificates; none disables it.
func (s *Server) SetTrustAnchor(arn string, roots ...*x509.Certificate) {
	s.configure(func() { s.anchors[arn] = roots })
}

// SetProfile adds a profile, or replaces its roles.
func (s *Server) SetProfile(arn string, roles ...string) {
	s.configure(func() { s.profiles[arn] = roles })
}

// Deny makes the trust policy of a role refuse, or no longer do so.
func (s *Server) Deny(roleARN string, denied bool) {
	s.configure(func() { s.untrust[roleARN] = denied })
}

// SetOutage answers all calls with a status and no error code, as a proxy does; 0 ends that.
func (s *Server) SetOutage(status int) { s.configure(func() { s.outage = status }) }

func (s *Server) configure(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// Calls returns all calls, in order.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// session is the body of a request.
type session struct {
	DurationSeconds int    `json:"durationSeconds"`
	ProfileARN      string `json:"profileArn"`
	RoleARN         string `json:"roleArn"`
	TrustAnchorARN  string `json:"trustAnchorArn"`
}

// apiError is a refusal of the service.
type apiError struct {
	status        int
	code, message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func denied(message string) error {
	return &apiError{http.StatusForbidden, "AccessDeniedException", message}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outage != 0 {
		http.Error(w, "<html>no upstream</html>", s.outage)
		return
	}
	now := s.clock().UTC()
	w.Header().Set("Date", now.Format(http.TimeFormat))
	w.Header().Set("X-Amzn-Requestid", fmt.Sprintf("00000000-0000-4000-8000-%012d", len(s.calls)))
	w.Header().Set("Content-Type", "application/json")
	call := Call{Host: r.Host}
	answer, err := s.createSession(r, &call, now)
	status := http.StatusCreated
	if refusal, ok := errors.AsType[*apiError](err); ok {
		status, call.Code = refusal.status, refusal.code
		w.Header().Set("X-Amzn-Errortype", refusal.code+":http://internal.amazon.com/coral/com.amazonaws.rolesanywhere/")
		answer = map[string]any{"message": refusal.message}
	} else if err != nil {
		status, call.Code = http.StatusInternalServerError, "InternalFailure"
		w.Header().Set("X-Amzn-Errortype", call.Code)
		answer = map[string]any{"message": err.Error()}
	}
	s.calls = append(s.calls, call)
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(http.ErrAbortHandler) // the client has disconnected
	}
}

func (s *Server) createSession(r *http.Request, call *Call, now time.Time) (any, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodPost || r.URL.Path != "/sessions" {
		return nil, &apiError{http.StatusNotFound, "UnknownOperationException", ""}
	}
	signed, err := verifySignature(r, body, now)
	if err != nil {
		return nil, err
	}
	call.Region, call.Algorithm, call.Serial = signed.region, signed.algorithm, signed.serial
	call.Subject, call.Chain = signed.certificate.Subject.String(), len(signed.chain)
	var wanted session
	if err := json.Unmarshal(body, &wanted); err != nil {
		return nil, &apiError{http.StatusBadRequest, "ValidationException", "not JSON"}
	}
	call.RoleARN = wanted.RoleARN
	if err := s.authorize(&wanted, signed, now); err != nil {
		return nil, err
	}
	lifetime := time.Duration(wanted.DurationSeconds) * time.Second
	serial := fmt.Sprintf("%x", signed.certificate.SerialNumber)
	keys, err := s.sts.AddSessionOf(signed.certificate.Subject.CommonName, wanted.RoleARN, serial, lifetime)
	if err != nil {
		return nil, err
	}
	call.AccessKeyID = keys.AccessKeyID
	return map[string]any{"credentialSet": []any{map[string]any{
		"roleArn":        wanted.RoleARN,
		"sourceIdentity": signed.certificate.Subject.CommonName,
		"credentials": map[string]any{
			"accessKeyId": keys.AccessKeyID, "secretAccessKey": keys.SecretAccessKey, "sessionToken": keys.SessionToken,
			"expiration": now.Add(lifetime).Format("2006-01-02T15:04:05Z"),
		},
	}}}, nil
}

// authorize checks the chain of certificates and who may have the role.
func (s *Server) authorize(wanted *session, signed *signature, now time.Time) error {
	if wanted.DurationSeconds < 900 || wanted.DurationSeconds > 43200 {
		return &apiError{http.StatusBadRequest, "ValidationException", "durationSeconds is not from 900 to 43200"}
	}
	roots, known := s.anchors[wanted.TrustAnchorARN]
	roles, knownProfile := s.profiles[wanted.ProfileARN]
	if !known || !knownProfile {
		return &apiError{http.StatusNotFound, "ResourceNotFoundException", "Unable to find resource"}
	}
	if err := signed.verifyChain(roots, now); err != nil {
		return err
	}
	if s.untrust[wanted.RoleARN] || !slices.Contains(roles, wanted.RoleARN) {
		return denied("Unable to assume role for " + wanted.RoleARN)
	}
	return nil
}
