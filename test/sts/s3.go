package sts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	s3Service          = "s3"
	getObjectOperation = "GetObject"

	payloadHeader   = "X-Amz-Content-Sha256"
	unsignedPayload = "UNSIGNED-PAYLOAD"
)

// isGetObject reports whether a request is S3's GetObject, of a bucket in the path. Those of STS
// are POST, or GET without a path.
func isGetObject(r *http.Request) bool {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return r.Method == http.MethodGet && bucket != "" && key != ""
}

// object is the content of an object of S3.
type object string

// getObject returns the ARN of who signed the call, as the content of every object of every bucket.
func (s *Server) getObject(req *request) (any, error) {
	if err := s.authenticate(req); err != nil {
		return nil, err
	}
	return object(req.caller.arn), nil
}

// write answers with the object, and the headers that clients of S3 require.
func (o object) write(w http.ResponseWriter, now time.Time) {
	hash := sha256.Sum256([]byte(o))
	header := w.Header()
	header.Set("Content-Type", "text/plain")
	header.Set("Last-Modified", now.UTC().Format(http.TimeFormat))
	header.Set("ETag", `"`+hex.EncodeToString(hash[:16])+`"`)
	_, _ = io.WriteString(w, string(o)) //nolint:gosec // it is plain text; an error only says that the client has disconnected
}

// s3Error is an error answer of S3 (S3 API Reference, "Error responses").
type s3Error struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	RequestID string `xml:"RequestId"`
}

// payloadHash returns what a signature of the request has for its body. S3 lets clients leave the
// body unsigned.
func (req *request) payloadHash() string {
	if req.service == s3Service && req.http.Header.Get(payloadHeader) == unsignedPayload {
		return unsignedPayload
	}
	hash := sha256.Sum256(req.body)
	return hex.EncodeToString(hash[:])
}

// signerOptions sets what is special in the signatures of a service: those of S3 have the path as
// it is, those of others have it escaped once more.
func (req *request) signerOptions(o *v4.SignerOptions) {
	o.DisableURIPathEscaping = req.service == s3Service
}
