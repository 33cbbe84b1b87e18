package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"kube-aws-iam-controller/pkg/secret/keys"
)

// failure is a response without credentials. SDKs repeat a request after a status of 500 or more,
// so what can pass by itself has 503, and what cannot has 4xx. Neither the code nor the message has
// anything of a key, a token or the request.
type failure struct {
	status  int
	code    string
	message string
}

const seeController = "; see the events of the pod and the log of kube-aws-iam-controller"

var (
	badRequest       = &failure{statusBadRequest, "BadRequest", "this is not an HTTP/1.1 request"}
	headersTooLarge  = &failure{statusHeadersTooLarge, "HeadersTooLarge", "the headers of the request are too large"}
	notFound         = &failure{statusNotFound, "NotFound", "the credentials are at the path /"}
	methodNotAllowed = &failure{statusMethodNotAllowed, "MethodNotAllowed", "the credentials are served to GET"}
	missingToken     = &failure{
		statusForbidden, "MissingToken",
		"the request has no token in its Authorization header; set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to the file " + keys.EndpointToken + " of the mounted Secret",
	}
	wrongToken = &failure{
		statusForbidden, "WrongToken",
		"the Authorization header is not the content of " + keys.EndpointToken + " in the Secret that the endpoint's container mounts",
	}
	tokenInvalid = &failure{
		statusServiceUnavailable, "TokenUnavailable",
		keys.EndpointToken + " is not at least 32 printable characters without space and newline" + seeController,
	}
	credentialsInvalid = &failure{
		statusServiceUnavailable, "CredentialsUnavailable", keys.ContainerJSON + " has no complete credentials" + seeController,
	}
)

func tokenUnavailable(err error) *failure {
	return &failure{statusServiceUnavailable, "TokenUnavailable", keys.EndpointToken + " cannot be read: " + reason(err)}
}

func credentialsUnavailable(err error) *failure {
	return &failure{statusServiceUnavailable, "CredentialsUnavailable", keys.ContainerJSON + " cannot be read: " + reason(err)}
}

func credentialsExpired(at time.Time) *failure {
	return &failure{
		statusServiceUnavailable, "CredentialsExpired",
		"the credentials expired at " + at.UTC().Format(time.RFC3339) + " and are not renewed yet" + seeController,
	}
}

// reason returns why a file cannot be read, and what to do about it.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file; mount the whole Secret, without items or subPath"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied; set fsGroup in the pod's securityContext, or a defaultMode that the endpoint's user can read"
	}
	return err.Error()
}

// body returns the failure as JSON. JavaScript's SDK reads Code and Message, Java's code and
// message, all others either.
func (f *failure) body() []byte {
	text, _ := json.Marshal(map[string]string{"Code": f.code, "Message": f.message, "code": f.code, "message": f.message}) //nolint:errchkjson // strings only
	return text
}

// logInterval is how long a code is not logged again.
const logInterval = time.Minute

// failureLog logs failures, each code at most once in logInterval, so that no client can fill the
// log.
type failureLog struct {
	log    *slog.Logger
	mu     sync.Mutex
	logged map[string]time.Time // by code
}

func newFailureLog(log *slog.Logger) *failureLog {
	return &failureLog{log: log, logged: map[string]time.Time{}}
}

func (l *failureLog) record(f *failure, now time.Time) {
	l.mu.Lock()
	last, found := l.logged[f.code]
	if found && now.Sub(last) < logInterval {
		l.mu.Unlock()
		return
	}
	l.logged[f.code] = now
	l.mu.Unlock()
	l.log.Warn("Request failed", "status", f.status, "code", f.code, "reason", f.message)
}
