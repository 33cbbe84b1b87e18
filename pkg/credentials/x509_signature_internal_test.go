package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// digestSigner is a key that notes what it is to sign.
type digestSigner struct {
	public crypto.PublicKey
	digest []byte
}

func (s *digestSigner) Public() crypto.PublicKey { return s.public }

func (s *digestSigner) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	s.digest = digest
	return []byte("signature"), nil
}

// AWS's helper signed the vectors: see test/rolesanywhere/vectors. The requests signed here are the
// same, and its signatures are ones of what is signed here.
func TestSignX509_AgreesWithAWSsHelper(t *testing.T) {
	text, err := os.ReadFile("testdata/rolesanywhere.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Region, Method, URL, Body string
		Header                          map[string]string
	}
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors) < 5 {
		t.Fatalf("%d vectors: %v", len(vectors), err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			leaf := decode(t, v.Header["X-Amz-X509"])[0]
			signer := &digestSigner{public: leaf.PublicKey}
			pair := &keyPair{leaf: leaf, key: signer}
			if chain := v.Header["X-Amz-X509-Chain"]; chain != "" {
				pair.chain = decode(t, chain)
			}
			at, err := time.Parse(signedTime, v.Header["X-Amz-Date"])
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequestWithContext(t.Context(), v.Method, v.URL, strings.NewReader(v.Body))
			if err != nil {
				t.Fatal(err)
			}
			if contentType := v.Header["Content-Type"]; contentType != "" {
				r.Header.Set("Content-Type", contentType)
			}
			if err := signX509(r, []byte(v.Body), pair, v.Region, at); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"X-Amz-Date", "X-Amz-X509", "X-Amz-X509-Chain"} {
				if got := r.Header.Get(name); got != v.Header[name] {
					t.Errorf("%s is %s, want %s", name, got, v.Header[name])
				}
			}
			want, signature, _ := strings.Cut(v.Header["Authorization"], "Signature=")
			if got, _, _ := strings.Cut(r.Header.Get("Authorization"), "Signature="); got != want {
				t.Errorf("Authorization is %s, want %s", got, want)
			}
			if raw, err := hex.DecodeString(signature); err != nil || !isSignatureOf(leaf, signer.digest, raw) {
				t.Errorf("the helper signed something else: %v", err)
			}
		})
	}
}

func decode(t *testing.T, header string) (all []*x509.Certificate) {
	t.Helper()
	for encoded := range strings.SplitSeq(header, ",") {
		der, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func isSignatureOf(c *x509.Certificate, digest, raw []byte) bool {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest, raw) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, raw)
	default:
		return false
	}
}
