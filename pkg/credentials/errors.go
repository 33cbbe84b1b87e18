package credentials

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/smithy-go"
)

// Kind classifies why there are no credentials, by what has to be done about it.
type Kind int

const (
	// Unavailable: STS did not answer, or the answer is not from STS. The call is retried.
	Unavailable Kind = iota
	// Throttled: STS demands fewer calls per second.
	Throttled
	// Denied: the caller is not allowed to assume the role. Only a change in IAM helps.
	Denied
	// Rejected: STS refuses the request as it is. A setting of the role, the account or this
	// controller must change.
	Rejected
	// Expired: the controller's own credentials have expired, or STS does not know them.
	Expired
	// Absent: the controller has no credentials of its own.
	Absent
)

// Error is a failed call of STS, in words for the user: what was requested, what came back, what to
// do. It holds no secrets.
type Error struct {
	Kind Kind
	// Code is the error code of STS, or a name for what went wrong without an answer; at most
	// maxCode bytes.
	Code    string
	message string
}

// NewError returns an Error. The message must hold no secret. Code and message are truncated to
// what an event can hold, as they can quote what a server or a file says: all errors of this
// package are made here.
func NewError(kind Kind, code, message string) *Error {
	return &Error{Kind: kind, Code: truncate(sanitize(code), maxCode), message: truncate(message, maxMessage)}
}

// newError returns the Error of a format and its arguments.
func newError(kind Kind, code, format string, args ...any) *Error {
	return NewError(kind, code, fmt.Sprintf(format, args...))
}

func (e *Error) Error() string { return e.message }

// KindOf returns the kind of an error of this package, and Unavailable for any other.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Unavailable
}

// kinds are the error codes that need another reaction than a retry. Source: the errors of
// AssumeRole and AssumeRoleWithWebIdentity, and "Common errors", in the STS API reference; the
// errors of CreateSession in the user guide of IAM Roles Anywhere.
var kinds = map[string]Kind{
	"AccessDenied":                Denied,
	"AccessDeniedException":       Denied,
	"ExpiredToken":                Expired,
	"ExpiredTokenException":       Expired,
	"InvalidClientTokenId":        Expired,
	"UnrecognizedClientException": Expired,
	"SignatureDoesNotMatch":       Expired,
	"RegionDisabledException":     Rejected,
	"MalformedPolicyDocument":     Rejected,
	"PackedPolicyTooLarge":        Rejected,
	"ValidationError":             Rejected,
	"InvalidIdentityToken":        Rejected,
	"IDPRejectedClaim":            Rejected,
	"ValidationException":         Rejected,
	"ResourceNotFoundException":   Rejected,
}

// classify returns the kind and the code of an error of the SDK, or of an *Error.
func classify(err error) (Kind, string) {
	if known, ok := errors.AsType[*Error](err); ok {
		return known.Kind, known.Code
	}
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case ok && retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == aws.TrueTernary:
		return Throttled, api.ErrorCode()
	case ok:
		return kinds[api.ErrorCode()], api.ErrorCode()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Unavailable, "Timeout"
	default:
		return Unavailable, "NoAnswer"
	}
}

// explain returns the Error of a failed AssumeRole.
func explain(err error, s Session, c Caller) *Error {
	kind, code := classify(err)
	var message string
	switch kind {
	case Denied:
		message = explainDenied(err, s, c)
	case Rejected:
		message = fmt.Sprintf("STS refuses to issue credentials of role %s%s", s.Role, detail(err))
	case Throttled:
		message = fmt.Sprintf("STS throttles the account (%s): credentials of role %s are late; if this stays, lower "+
			"--sts-qps or look for other callers", code, s.Role)
	default:
		message = fmt.Sprintf("STS cannot be asked for credentials of role %s, tried again%s", s.Role, detail(err))
	}
	return NewError(kind, code, message)
}

// detail returns the useful part of an SDK's error, after a colon: code and message of an answer,
// or why there was none. The rest, such as request IDs and local ports, changes with every call.
// For an unknown error it returns "": that can quote what could not be parsed, such as the output
// of a credential_process.
func detail(err error) string {
	if cause := describe(err); cause != "" {
		return ": " + cause
	}
	return ""
}

func describe(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return answerText(api)
	}
	if cause := describeNetworkError(err); cause != "" {
		return cause
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		return "the answer is not one of STS"
	}
	if _, ok := errors.AsType[*processcreds.ProviderError](err); ok {
		return "the credential_process failed, or did not print the JSON that it should"
	}
	if profile, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return fmt.Sprintf("there is no profile %q in the AWS files", profile.Profile)
	}
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return file.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "it took too long"
	}
	return ""
}

// describeNetworkError returns what failed on the network, or "" if nothing did.
func describeNetworkError(err error) string {
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("the name %s cannot be resolved", lookup.Name)
	}
	if connection, ok := errors.AsType[*net.OpError](err); ok && connection.Addr != nil {
		if _, nested := errors.AsType[*net.OpError](connection.Err); nested {
			return describeNetworkError(connection.Err)
		}
		return fmt.Sprintf("%s %s: %s", connection.Op, connection.Addr, connection.Err)
	}
	if sent, ok := errors.AsType[*url.Error](err); ok {
		return sent.Error()
	}
	return ""
}
