package sts_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	ststest "kube-aws-iam-controller/test/sts"
)

// getObject calls S3's GetObject, signed for a service.
func getObject(t *testing.T, srv *ststest.Server, keys ststest.Keys, service, payload string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/bucket/a%20key", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Content-Sha256", payload)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(t.Context(), aws.Credentials{
		AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken,
	}, r, payload, service, "eu-central-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func TestGetObject_IsTheCaller(t *testing.T) {
	srv := start(t)
	session, err := srv.AddSession(roleARN, "node", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, err := srv.AddSession(roleARN, "node", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	mixed := session
	mixed.SecretAccessKey = other.SecretAccessKey
	empty := sha256.Sum256(nil)
	const arn = "arn:aws:sts::123456789012:assumed-role/app/node"
	for name, c := range map[string]struct {
		keys             ststest.Keys
		service, payload string
		status           int
		body             string
	}{
		"signed":           {session, "s3", hex.EncodeToString(empty[:]), http.StatusOK, arn},
		"unsigned payload": {session, "s3", "UNSIGNED-PAYLOAD", http.StatusOK, arn},
		"another service":  {session, "sts", "UNSIGNED-PAYLOAD", http.StatusForbidden, "<Error><Code>SignatureDoesNotMatch</Code>"},
		"another secret":   {mixed, "s3", "UNSIGNED-PAYLOAD", http.StatusForbidden, "<Error><Code>SignatureDoesNotMatch</Code>"},
		"another payload":  {session, "s3", strings.Repeat("0", 64), http.StatusForbidden, "<Error><Code>SignatureDoesNotMatch</Code>"},
	} {
		t.Run(name, func(t *testing.T) {
			response := getObject(t, srv, c.keys, c.service, c.payload)
			if body := readAll(t, response); response.StatusCode != c.status || !strings.HasPrefix(body, c.body) {
				t.Errorf("answer is %d %s", response.StatusCode, body)
			}
			if c.status == http.StatusOK && (response.Header.Get("Etag") == "" || response.Header.Get("Last-Modified") == "") {
				t.Errorf("headers are %v", response.Header)
			}
			call := srv.Calls()[len(srv.Calls())-1]
			if call.Operation != "GetObject" || call.CallerRoleARN != roleARN || (call.Code == "") != (c.status == http.StatusOK) {
				t.Errorf("call is %+v", call)
			}
		})
	}
}
