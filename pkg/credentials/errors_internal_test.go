package credentials

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/prometheus/client_golang/prometheus"

	"kube-aws-iam-controller/pkg/metrics"
)

// answered returns an error answer as the SDK returns it.
func answered(err error) error {
	return &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: &awshttp.ResponseError{
		RequestID:     "5e0b3f1c-changes-with-every-call",
		ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusBadRequest}}, Err: err},
	}}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		code string
		want Kind
	}{
		{"AccessDenied", Denied},
		{"AccessDeniedException", Denied},
		{"RegionDisabledException", Rejected},
		{"MalformedPolicyDocument", Rejected},
		{"PackedPolicyTooLarge", Rejected},
		{"ValidationError", Rejected},
		{"InvalidIdentityToken", Rejected},
		{"IDPRejectedClaim", Rejected},
		{"ExpiredToken", Expired},
		{"ExpiredTokenException", Expired},
		{"InvalidClientTokenId", Expired},
		{"UnrecognizedClientException", Expired},
		{"SignatureDoesNotMatch", Expired},
		{"Throttling", Throttled},
		{"ThrottlingException", Throttled},
		{"RequestLimitExceeded", Throttled},
		{"IDPCommunicationError", Unavailable},
		{"InternalFailure", Unavailable},
		{"SomethingNew", Unavailable},
	} {
		t.Run(c.code, func(t *testing.T) {
			kind, code := classify(answered(&smithy.GenericAPIError{Code: c.code}))
			if kind != c.want || code != c.code {
				t.Errorf("got %d, %s, want %d", kind, code, c.want)
			}
		})
	}
	for _, c := range []struct {
		name string
		err  error
		kind Kind
		code string
	}{
		{"too late", answered(&smithy.CanceledError{Err: context.DeadlineExceeded}), Unavailable, "Timeout"},
		{"called off", answered(&smithy.CanceledError{Err: context.Canceled}), Unavailable, "Timeout"},
		{"something else", errors.New("x"), Unavailable, "NoAnswer"},
		{"known already", fmt.Errorf("x: %w", &Error{Kind: Expired, Code: "ExpiredToken"}), Expired, "ExpiredToken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if kind, code := classify(c.err); kind != c.kind || code != c.code {
				t.Errorf("got %d, %s", kind, code)
			}
		})
	}
}

func TestNewError_IsBounded(t *testing.T) {
	long := strings.Repeat("ß", 5000)
	invented := &smithy.GenericAPIError{Code: "Invented" + long + "\nx", Message: long + "\nx"}
	for name, c := range map[string]struct {
		err  *Error
		cuts bool // the message is longer than what is kept
	}{
		"a message":          {NewError(Denied, "Invented"+long, long), true},
		"a format":           {newError(Denied, "Invented"+long, "%s", long), true},
		"an answer":          {explain(answered(invented), Session{}, Caller{}), false},
		"one to the session": {explainSession(answered(invented), Session{}, &Claims{Subject: long}), true},
		"a code of lines":    {explain(answered(&smithy.GenericAPIError{Code: "Invented\nline"}), Session{}, Caller{}), false},
	} {
		t.Run(name, func(t *testing.T) {
			if len(c.err.Code) > maxCode || !strings.HasPrefix(c.err.Code, "Invented") || strings.Contains(c.err.Code, "\n") {
				t.Errorf("the code is %q", c.err.Code)
			}
			text := c.err.Error()
			if n := len(text); n > maxMessage || c.cuts != (n >= maxMessage-10) || !utf8.ValidString(text) || strings.Contains(text, "\n") {
				t.Errorf("the message has %d bytes: %q", n, text)
			}
		})
	}
}

// Codes with a reaction of their own can be told apart in the metrics.
func TestKinds_HaveSeriesOfTheirOwn(t *testing.T) {
	for code := range kinds {
		registry := prometheus.NewRegistry()
		metrics.New(registry).STS("AssumeRole", code, 0)
		families, err := registry.Gather()
		if err != nil || !strings.Contains(fmt.Sprint(families), strconv.Quote(code)) {
			t.Errorf("%s has no series: %v, %v", code, families, err)
		}
	}
}

// A message that changes with every call would be a new event for every call.
func TestDetail_IsTheSameForEveryCall(t *testing.T) {
	local, remote := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 41234}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
	sent := func(err error) error {
		return answered(&smithyhttp.RequestSendError{Err: &url.Error{Op: "Post", URL: "https://sts.eu-central-1.amazonaws.com/", Err: err}})
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"STS's own words", answered(&smithy.GenericAPIError{Code: "ValidationError", Message: "1 validation error"}), "ValidationError: 1 validation error"},
		{"a connection that broke", sent(&net.OpError{Op: "read", Net: "tcp", Source: local, Addr: remote, Err: os.NewSyscallError("read", syscall.ECONNRESET)}), "read 192.0.2.1:443: read: connection reset by peer"},
		{
			"a connection that broke while a body was sent",
			sent(&net.OpError{Op: "readfrom", Net: "tcp", Addr: remote, Err: &net.OpError{Op: "write", Net: "tcp", Source: local, Addr: remote, Err: os.NewSyscallError("write", syscall.EPIPE)}}),
			"write 192.0.2.1:443: write: broken pipe",
		},
		{"connection refused", sent(&net.OpError{Op: "dial", Net: "tcp", Addr: remote, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}), "dial 192.0.2.1:443: connect: connection refused"},
		{
			"a name that is not resolved",
			sent(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "read udp 10.1.2.3:41234->10.0.0.10:53: i/o timeout", Name: "sts.eu-central-1.amazonaws.com", Server: "10.0.0.10:53"}}),
			"the name sts.eu-central-1.amazonaws.com cannot be resolved",
		},
		{"a connection that was closed", sent(errors.New("EOF")), `Post "https://sts.eu-central-1.amazonaws.com/": EOF`},
		{"an answer that is not STS's", answered(&smithy.DeserializationError{Err: errors.New("changes-with-every-call")}), "the answer is not one of STS"},
		{"a wrong signature, whose message may quote what was signed", answered(&smithy.GenericAPIError{Code: "SignatureDoesNotMatch", Message: "x-amz-security-token:changes-with-every-call"}), "SignatureDoesNotMatch"},
		{"an answer that goes on", answered(&smithy.GenericAPIError{Code: "Rejected", Message: "no\nchanges-with-every-call"}), "Rejected: no"},
		{"a process, whose output is not shown", &processcreds.ProviderError{Err: errors.New("changes-with-every-call")}, "the credential_process failed, or did not print the JSON that it should"},
		{"a file that is not there", &fs.PathError{Op: "open", Path: "/token", Err: errors.New("no such file")}, "open /token: no such file"},
		{"a profile that is not there", config.SharedConfigProfileNotExistError{Profile: "x", Err: errors.New("changes-with-every-call")}, `there is no profile "x" in the AWS files`},
		{"time that ran out", answered(&smithy.CanceledError{Err: context.DeadlineExceeded}), "it took too long"},
		{"anything else, which may quote what it could not read", errors.New("changes-with-every-call"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.TrimPrefix(detail(c.err), ": ")
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if strings.Contains(got, "41234") || strings.Contains(got, "changes-with-every-call") {
				t.Errorf("changes with every call: %s", got)
			}
		})
	}
}
