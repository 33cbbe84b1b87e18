package ststest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What Signature Version 4 is made of (IAM User Guide, "Create a signed AWS API request").
const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	service    = "sts"
	amzDate    = "20060102T150405Z"
)

// authorization is an Authorization header taken apart.
type authorization struct {
	accessKeyID string
	day         string // the parts of the credential scope
	region      string
	service     string
	headers     []string // the names of the signed headers, lower case, in the client's order
	signature   string
}

func (a authorization) scope() string {
	return strings.Join([]string{a.day, a.region, a.service, terminator}, "/")
}

// authenticate finds out who signed the call and fills in req.caller. The errors are STS's: MissingAuthenticationToken,
// IncompleteSignature, InvalidClientTokenId, ExpiredToken, SignatureDoesNotMatch.
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
	maxSkew := s.orders.maxSkew
	s.mu.Unlock()

	token := req.http.Header.Get("X-Amz-Security-Token")
	if !known || subtle.ConstantTimeCompare([]byte(token), []byte(keys.SessionToken)) != 1 {
		return forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	req.caller, req.call.Caller, req.call.CallerRoleARN, req.call.CallerKeyID = caller, caller.arn, caller.roleARN, caller.id
	if caller.temporary() && !req.now.Before(caller.expires) {
		return forbidden("ExpiredToken", "The security token included in the request is expired")
	}
	return verifySignature(req, auth, keys.SecretAccessKey, maxSkew)
}

// parseAuthorization reads "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…". The error does not repeat the header.
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

// verifySignature signs the request anew with the secret and compares.
func verifySignature(req *request, auth authorization, secret string, maxSkew time.Duration) error {
	signed, err := time.Parse(amzDate, req.http.Header.Get("X-Amz-Date"))
	if err != nil {
		return incomplete("Authorization header requires existence of an 'X-Amz-Date' header in the form " + amzDate + ".")
	}
	if err := checkScope(auth, signed); err != nil {
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
	toSign := algorithm + "\n" + signed.Format(amzDate) + "\n" + auth.scope() + "\n" + hexHash(canonicalRequest(req, auth.headers))
	expected := hex.EncodeToString(sign(signingKey(secret, auth), toSign))
	if subtle.ConstantTimeCompare([]byte(expected), []byte(auth.signature)) != 1 {
		return mismatch("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access " +
			"Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

func checkScope(auth authorization, signed time.Time) error {
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

// canonicalRequest is the request as the client must have signed it, with the headers it names.
func canonicalRequest(req *request, headers []string) []byte {
	var b bytes.Buffer
	b.WriteString(req.http.Method + "\n")
	b.WriteString(canonicalPath(req.http.URL) + "\n")
	b.WriteString(canonicalQuery(req.http.URL) + "\n")
	for _, name := range headers {
		b.WriteString(name + ":" + canonicalHeader(req.http, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(headers, ";") + "\n")
	b.WriteString(hexHash(req.body))
	return b.Bytes()
}

// canonicalPath encodes the path as it was sent once more, as every service but S3 wants it.
func canonicalPath(u *url.URL) string {
	segments := strings.Split(u.EscapedPath(), "/")
	for i := range segments {
		segments[i] = uriEncode(segments[i])
	}
	if path := strings.Join(segments, "/"); path != "" {
		return path
	}
	return "/"
}

func canonicalQuery(u *url.URL) string {
	var pairs []string
	for name, values := range u.Query() {
		for _, value := range values {
			pairs = append(pairs, uriEncode(name)+"="+uriEncode(value))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// canonicalHeader is the header's values with inner runs of white space made one blank. net/http keeps two headers elsewhere.
func canonicalHeader(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	var values []string
	for _, value := range r.Header.Values(name) {
		values = append(values, strings.Join(strings.Fields(value), " "))
	}
	return strings.Join(values, ",")
}

// uriEncode is Signature Version 4's UriEncode: RFC 3986, with everything but the unreserved characters encoded.
func uriEncode(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), "%7E", "~")
}

// signingKey is derived for a day, Region and service.
func signingKey(secret string, auth authorization) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{auth.day, auth.region, auth.service, terminator} {
		key = sign(key, part)
	}
	return key
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func hexHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func incomplete(message string) error {
	return badRequest("IncompleteSignature", message)
}

func mismatch(message string) error {
	return forbidden("SignatureDoesNotMatch", message)
}
