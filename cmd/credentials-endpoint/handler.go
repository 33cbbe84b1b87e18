package main

import (
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"strings"
	"time"
)

// handler responds to GET / with the credentials of the mounted Secret, if the request has its
// token.
type handler struct {
	secret   secretVolume
	now      func() time.Time
	failures *failureLog
}

func newHandler(secret secretVolume, log *slog.Logger) *handler {
	return &handler{secret: secret, now: time.Now, failures: newFailureLog(log)}
}

// healthPath is what healthcheck requests. It needs no token.
const healthPath = "/healthz"

// respond returns the response to a request.
func (h *handler) respond(r request) response {
	if r.path == healthPath && r.method == "GET" {
		return response{status: statusOK, body: []byte("{}")}
	}
	if failure := checkTarget(r); failure != nil {
		return h.fail(failure)
	}
	secret := h.secret.read()
	if failure := authorize(r.authorization, secret.token); failure != nil {
		return h.fail(failure)
	}
	result := response{status: statusOK}
	body, failure := usableCredentials(secret.containerJSON, h.now())
	if failure == nil {
		result.body = body
	} else {
		result = h.fail(failure)
	}
	result.authorized = true
	return result
}

// fail returns the response for a failure, and logs it.
func (h *handler) fail(f *failure) response {
	h.failures.record(f, h.now())
	return response{status: f.status, body: f.body()}
}

// checkTarget returns nil if the request is for the credentials.
func checkTarget(r request) *failure {
	switch {
	case r.path != "/":
		return notFound
	case r.method != "GET":
		return methodNotAllowed
	}
	return nil
}

// minTokenSize is the length, in bytes, from which on a token cannot be guessed. The controller
// writes 43.
const minTokenSize = 32

// authorize returns nil if the one Authorization header is the token.
func authorize(headers []string, token file) *failure {
	switch {
	case token.err != nil:
		return tokenUnavailable(token.err)
	case len(token.content) < minTokenSize || !isHeaderValue(token.content):
		return tokenInvalid
	case strings.Join(headers, "") == "": // some SDKs send an empty header
		return missingToken
	case len(headers) > 1 || subtle.ConstantTimeCompare([]byte(headers[0]), token.content) != 1:
		return wrongToken
	}
	return nil
}

// isHeaderValue reports whether an SDK can send the token: it has only printable ASCII without
// spaces. SDKs refuse a token that ends in a newline.
func isHeaderValue(token []byte) bool {
	for _, c := range token {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// credentials are the fields that every SDK requires.
type credentials struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}

// usableCredentials returns the content of container.json if it is complete and has not expired.
func usableCredentials(containerJSON file, now time.Time) ([]byte, *failure) {
	if containerJSON.err != nil {
		return nil, credentialsUnavailable(containerJSON.err)
	}
	var c credentials
	// The error is not reported: it can quote the content.
	if err := json.Unmarshal(containerJSON.content, &c); err != nil {
		return nil, credentialsInvalid
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" || c.Token == "" || c.Expiration.IsZero() {
		return nil, credentialsInvalid
	}
	if !now.Before(c.Expiration) {
		return nil, credentialsExpired(c.Expiration)
	}
	return containerJSON.content, nil
}
