package sts

import (
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// timeForm is STS's format of times: UTC, whole seconds.
const timeForm = "2006-01-02T15:04:05Z"

// codeValidation is the error code for every parameter that is missing or wrong.
const codeValidation = "ValidationError"

// apiError is an error answer of STS. Its message never contains a secret.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func badRequest(code, message string) error {
	return &apiError{http.StatusBadRequest, code, message}
}

func forbidden(code, message string) error {
	return &apiError{http.StatusForbidden, code, message}
}

// asAPIError returns err as STS answers it, and nil for nil.
func asAPIError(err error) *apiError {
	if err == nil {
		return nil
	}
	if failure, ok := errors.AsType[*apiError](err); ok {
		return failure
	}
	return &apiError{http.StatusInternalServerError, "InternalFailure", "The request processing has failed because of " +
		"an unknown error."}
}

// credentials are the Credentials element.
type credentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string `xml:",omitempty"`
}

// assumedRoleUser is the AssumedRoleUser element.
type assumedRoleUser struct {
	AssumedRoleID string `xml:"AssumedRoleId"`
	Arn           string
}

// issued is the common part of the answers that assume a role.
type issued struct {
	Credentials             *credentials
	AssumedRoleUser         assumedRoleUser
	PackedPolicySize        int `xml:",omitempty"`
	SessionTokenSize        int // bytes
	SessionTokenUtilization int // percent of maxToken
}

type assumeRoleResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	Result    issued   `xml:"AssumeRoleResult"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type webIdentityResponse struct {
	XMLName   xml.Name          `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleWithWebIdentityResponse"`
	Result    webIdentityResult `xml:"AssumeRoleWithWebIdentityResult"`
	RequestID string            `xml:"ResponseMetadata>RequestId"`
}

type webIdentityResult struct {
	issued
	Subject  string `xml:"SubjectFromWebIdentityToken"`
	Audience string
	Provider string
}

type callerIdentityResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Arn       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type errorResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// newRequestID returns a random UUID, version 4 (RFC 9562).
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// respond writes the answer, or the failure if there is one.
func respond(w http.ResponseWriter, req *request, answer any, failure *apiError) {
	status := http.StatusOK
	if failure != nil {
		status = failure.status
		answer = failure.response(req)
	}

	header := w.Header()
	header.Set("Date", req.now.UTC().Format(http.TimeFormat)) // SDKs correct their clocks by it
	header.Set("X-Amzn-Requestid", req.id)
	if failure == nil && req.fault == NotXML {
		header.Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!DOCTYPE html><html><body>Please log in<br></body></html>")
		return
	}
	if found, ok := answer.(object); ok {
		found.write(w, req.now)
		return
	}
	header.Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(answer) // fails only if the client has disconnected
}

func (e *apiError) response(req *request) any {
	if req.service == s3Service {
		return &s3Error{Code: e.code, Message: e.message, RequestID: req.id}
	}
	kind := "Sender"
	if e.status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	return &errorResponse{Type: kind, Code: e.code, Message: e.message, RequestID: req.id}
}

func formatTime(t time.Time) string { return t.UTC().Format(timeForm) }
