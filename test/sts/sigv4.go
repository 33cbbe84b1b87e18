package sts

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// The constants of Signature Version 4 (IAM User Guide, "Create a signed AWS API request").
const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	stsService = "sts"
	amzDate    = "20060102T150405Z"
)

// authorization is a parsed Authorization header.
type authorization struct {
	accessKeyID string
	day         string // the parts of the credential scope
	region      string
	service     string
	headers     []string // the names of the signed headers, lower case, in the client's order
	signature   string
}

// authenticate determines who signed the call and sets req.caller. The errors are STS's:
// MissingAuthenticationToken, IncompleteSignature, InvalidClientTokenId, ExpiredToken,
// SignatureDoesNotMatch.
func (s *Server) authenticate(req *request) error {
	header := req.http.Header.Get("Authorization")
	if header == "" {
		return forbidden("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	auth, err := parseAuthorization(header)
	if err != nil {
		return err
	}
	s.mu.Lock()
	caller, known := s.keys.find(auth.accessKeyID)
	var keys Keys
	if known {
		keys = s.keys.keysOf(caller)
	}
	maxSkew := s.behavior.maxSkew
	s.mu.Unlock()

	token := req.http.Header.Get("X-Amz-Security-Token")
	if !known || subtle.ConstantTimeCompare([]byte(token), []byte(keys.SessionToken)) != 1 {
		return forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	req.caller, req.call.Caller, req.call.CallerRoleARN, req.call.CallerKeyID = caller, caller.arn, caller.roleARN, caller.id
	if caller.temporary() && !req.now.Before(caller.expires) {
		return forbidden("ExpiredToken", "The security token included in the request is expired")
	}
	return verifySignature(req, auth, keys, maxSkew)
}

// parseAuthorization parses "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…". The
// error does not repeat the header.
func parseAuthorization(header string) (authorization, error) {
	scheme, rest, _ := strings.Cut(header, " ")
	if scheme != algorithm {
		return authorization{}, incomplete("Unsupported AWS 'algorithm', only " + algorithm + " is supported.")
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if parts[name] == "" {
			return authorization{}, incomplete("Authorization header requires '" + name + "' parameter.")
		}
	}
	scope := strings.Split(parts["Credential"], "/")
	if len(scope) != 5 || scope[4] != terminator {
		return authorization{}, incomplete("Credential must have exactly 5 slash-delimited elements, " +
			"e.g. keyid/date/region/service/" + terminator + ".")
	}
	return authorization{
		accessKeyID: scope[0],
		day:         scope[1],
		region:      scope[2],
		service:     scope[3],
		headers:     strings.Split(strings.ToLower(parts["SignedHeaders"]), ";"),
		signature:   parts["Signature"],
	}, nil
}

// verifySignature signs the received request again with the known keys and compares the results.
func verifySignature(req *request, auth authorization, keys Keys, maxSkew time.Duration) error {
	signed, err := time.Parse(amzDate, req.http.Header.Get("X-Amz-Date"))
	if err != nil {
		return incomplete("Authorization header requires existence of an 'X-Amz-Date' header in the form " + amzDate + ".")
	}
	if err := checkScope(auth, req.service, signed); err != nil {
		return err
	}
	for _, name := range []string{"host", "x-amz-date", "x-amz-security-token"} {
		present := name == "host" || req.http.Header.Get(name) != ""
		if present && !slices.Contains(auth.headers, name) {
			return mismatch("'" + name + "' must be a 'SignedHeader' in the AWS Authorization.")
		}
	}
	if err := checkSkew(signed, req.now.UTC(), maxSkew); err != nil {
		return err
	}
	expected, err := sign(req, auth, keys, signed)
	if err != nil {
		return err
	}
	if !slices.Equal(auth.headers, expected.headers) ||
		subtle.ConstantTimeCompare([]byte(auth.signature), []byte(expected.signature)) != 1 {
		return mismatch("The request signature we calculated does not match the signature you provided. Check your AWS " +
			"Secret Access " +
			"Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

// sign returns the authorization that the request has if it is signed with the keys, with the same
// signed headers as auth.
func sign(req *request, auth authorization, keys Keys, at time.Time) (authorization, error) {
	target := *req.http.URL
	again := &http.Request{Method: req.http.Method, URL: &target, Host: req.http.Host, Header: http.Header{}}
	for _, name := range auth.headers {
		switch name {
		case "host", "x-amz-date", "x-amz-security-token": // the signer sets them
		case "content-length":
			again.ContentLength = req.http.ContentLength
		default:
			// Under its canonical name the signer would ignore User-Agent and a few more.
			again.Header[name] = req.http.Header.Values(name)
		}
	}
	provided := aws.Credentials{
		AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken,
	}
	err := v4.NewSigner(req.signerOptions).SignHTTP(req.http.Context(), provided, again, req.payloadHash(), auth.service, auth.region, at)
	if err != nil {
		return authorization{}, fmt.Errorf("signing the request again: %w", err)
	}
	return parseAuthorization(again.Header.Get("Authorization"))
}

func checkScope(auth authorization, service string, signed time.Time) error {
	if auth.service != service {
		return mismatch("Credential should be scoped to correct service: '" + service + "'.")
	}
	if auth.day != signed.Format("20060102") {
		return mismatch("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
	}
	return nil
}

func checkSkew(signed, now time.Time, limit time.Duration) error {
	if limit <= 0 {
		return nil
	}
	minutes := strconv.Itoa(int(limit.Minutes()))
	if earliest := now.Add(-limit); signed.Before(earliest.Truncate(time.Second)) {
		return mismatch(fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s min.)",
			signed.Format(amzDate), earliest.Format(amzDate), now.Format(amzDate), minutes))
	}
	if latest := now.Add(limit); signed.After(latest) {
		return mismatch(fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s min.)",
			signed.Format(amzDate), latest.Format(amzDate), now.Format(amzDate), minutes))
	}
	return nil
}

func incomplete(message string) error {
	return badRequest("IncompleteSignature", message)
}

func mismatch(message string) error {
	return forbidden("SignatureDoesNotMatch", message)
}
