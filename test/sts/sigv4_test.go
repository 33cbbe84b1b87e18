package sts_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	ststest "kube-aws-iam-controller/test/sts"
)

func TestSignature_KeysAndSecrets(t *testing.T) {
	srv := start(t)
	alice, bob := srv.AddUser(account, "alice"), srv.AddUser(account, "bob")
	session, err := srv.AddSession(roleARN, "node", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, err := srv.AddSession(roleARN, "node", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	revoked := srv.AddUser(account, "carol")
	srv.Revoke(revoked.AccessKeyID)

	with := func(k ststest.Keys, change func(*ststest.Keys)) ststest.Keys { change(&k); return k }
	for name, test := range map[string]struct {
		keys ststest.Keys
		code string
	}{
		"user":                    {alice, ""},
		"role session":            {session, ""},
		"another user's secret":   {with(alice, func(k *ststest.Keys) { k.SecretAccessKey = bob.SecretAccessKey }), "SignatureDoesNotMatch"},
		"session, wrong secret":   {with(session, func(k *ststest.Keys) { k.SecretAccessKey = other.SecretAccessKey }), "SignatureDoesNotMatch"},
		"unknown key":             {with(alice, func(k *ststest.Keys) { k.AccessKeyID = "AKIAQQQQQQQQQQQQQQQQ" }), "InvalidClientTokenId"},
		"revoked key":             {revoked, "InvalidClientTokenId"},
		"session, no token":       {with(session, func(k *ststest.Keys) { k.SessionToken = "" }), "InvalidClientTokenId"},
		"session, other's token":  {with(session, func(k *ststest.Keys) { k.SessionToken = other.SessionToken }), "InvalidClientTokenId"},
		"user with foreign token": {with(alice, func(k *ststest.Keys) { k.SessionToken = other.SessionToken }), "InvalidClientTokenId"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client(srv, test.keys).GetCallerIdentity(t.Context(), nil)
			if test.code != "" {
				wantError(t, err, 403, test.code, "")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignature_RejectsAChangedRequest(t *testing.T) {
	srv := start(t)
	session, err := srv.AddSession(roleARN, "node", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	authorization := func(old, replacement string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, replacement, 1))
		}
	}
	for name, test := range map[string]struct {
		change func(*http.Request)
		status int
		code   string
	}{
		"no authorization":      {func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingAuthenticationToken"},
		"another algorithm":     {authorization("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), 400, "IncompleteSignature"},
		"no signature":          {authorization("Signature=", "Signed="), 400, "IncompleteSignature"},
		"no signed headers":     {authorization("SignedHeaders=", "Headers="), 400, "IncompleteSignature"},
		"short scope":           {authorization("/aws4_request", ""), 400, "IncompleteSignature"},
		"no date":               {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, 400, "IncompleteSignature"},
		"another service":       {authorization("/sts/", "/s3/"), 403, "SignatureDoesNotMatch"},
		"another Region":        {authorization("/eu-central-1/", "/eu-west-1/"), 403, "SignatureDoesNotMatch"},
		"another day":           {authorization("/20", "/19"), 403, "SignatureDoesNotMatch"},
		"host not signed":       {authorization("host;", ""), 403, "SignatureDoesNotMatch"},
		"token not signed":      {authorization(";x-amz-security-token", ""), 403, "SignatureDoesNotMatch"},
		"a header more":         {authorization("host;", "host;x-amz-meta-more;"), 403, "SignatureDoesNotMatch"},
		"a header twice":        {authorization("host;", "host;host;"), 403, "SignatureDoesNotMatch"},
		"another path":          {func(r *http.Request) { r.URL.Path = "/elsewhere" }, 403, "SignatureDoesNotMatch"},
		"another query":         {func(r *http.Request) { r.URL.RawQuery = "a=b" }, 403, "SignatureDoesNotMatch"},
		"another signed header": {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 403, "SignatureDoesNotMatch"},
		"another host":          {func(r *http.Request) { r.Host = "sts.amazonaws.com" }, 403, "SignatureDoesNotMatch"},
		"another body": {func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("Action=GetCallerIdentity&Version=2011-06-15&x=1"))
			r.ContentLength = -1
		}, 403, "SignatureDoesNotMatch"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client(srv, session, tampering(test.change)).GetCallerIdentity(t.Context(), nil)
			wantError(t, err, test.status, test.code, "")
			for secret := range srv.IssuedSecrets() {
				if strings.Contains(err.Error(), secret) {
					t.Error("the error contains a secret")
				}
			}
		})
	}
}

// Signers differ in which headers they sign and how they write them. Paths and queries can come
// from proxies in between.
func TestSignature_CoversTheHeadersThatTheClientNames(t *testing.T) {
	srv := start(t)
	keys := srv.AddUser(account, "alice")
	const body = "Action=GetCallerIdentity&Version=2011-06-15"
	const bodyHash = "ab821ae955788b0e33ebd34c208442ccfc2d406e2edc5e7a39bd6458fbb4f843"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/a%20b/ü~c/?z=1&y=%20+ä&y=&z=0", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Amz-Content-Sha256", bodyHash)
	r.Header["User-Agent"] = nil                        // Go's own
	r.Header["user-agent"] = []string{"aws-sdk-java/1"} // which Go's signer signs in lower case only
	r.Header["X-Amz-Meta-Two"] = []string{"first", "  sec   ond "}
	signing := aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), signing, r, bodyHash, "sts", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Header.Get("Authorization"), ";user-agent;") {
		t.Fatal("the request is signed without its User-Agent")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer := readAll(t, response); response.StatusCode != http.StatusOK {
		t.Errorf("answer is %d %s", response.StatusCode, answer)
	}
}

func TestSignature_ExpiredSessionIsKnownForAnHour(t *testing.T) {
	srv := start(t)
	clock := fakeClock(srv)
	issued := assume(t, user(srv), request(lasting(900))).Credentials
	session := client(srv, keysOf(issued))

	clock.Step(899 * time.Second)
	if _, err := session.GetCallerIdentity(t.Context(), nil); err != nil {
		t.Fatalf("in its last second: %v", err)
	}
	clock.Step(time.Second)
	_, err := session.GetCallerIdentity(t.Context(), nil)
	wantError(t, err, 403, "ExpiredToken", "The security token included in the request is expired")
	_, err = session.AssumeRole(t.Context(), request())
	wantError(t, err, 403, "ExpiredToken", "")

	clock.Step(2 * time.Hour)
	assume(t, user(srv), request()) // old keys are forgotten when new ones are issued
	_, err = session.GetCallerIdentity(t.Context(), nil)
	wantError(t, err, 403, "InvalidClientTokenId", "")
	if _, known := srv.IssuedTo(*issued.AccessKeyId); known {
		t.Error("a key that expired two hours ago is still known")
	}
}

func TestSignature_RejectsASkewedRequest(t *testing.T) {
	srv := start(t)
	keys := srv.AddUser(account, "alice")
	for name, test := range map[string]struct {
		offset time.Duration
		want   string
	}{
		"four minutes late":  {4 * time.Minute, ""},
		"four minutes early": {-4 * time.Minute, ""},
		"six minutes late":   {6 * time.Minute, "Signature expired: "},
		"six minutes early":  {-6 * time.Minute, "Signature not yet current: "},
	} {
		t.Run(name, func(t *testing.T) {
			srv.SetClock(func() time.Time { return time.Now().Add(test.offset) })
			_, err := client(srv, keys).GetCallerIdentity(t.Context(), nil)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, 403, "SignatureDoesNotMatch", "")
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
}

func TestSignature_SDKCorrectsItsClock(t *testing.T) {
	srv := start(t)
	srv.SetClock(func() time.Time { return time.Now().Add(24 * time.Hour) })
	c := client(srv, srv.AddUser(account, "alice"), func(o *sts.Options) { o.Retryer = eager() })
	if _, err := c.GetCallerIdentity(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
