package rolesanywhere

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// vector is a request that AWS's helper signed: see vectors/.
type vector struct {
	Name, Region, Method, URL, Body string
	Header                          map[string]string
}

// request returns the request, and when it was signed.
func (v *vector) request(t *testing.T) (*http.Request, time.Time) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), v.Method, v.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range v.Header {
		r.Header.Set(name, value)
	}
	at, err := time.Parse("20060102T150405Z", v.Header["X-Amz-Date"])
	if err != nil {
		t.Fatal(err)
	}
	return r, at
}

func TestVerifySignature_OfAWSsHelper(t *testing.T) {
	text, err := os.ReadFile("../../pkg/credentials/testdata/rolesanywhere.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	for i, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			r, at := v.request(t)
			s, err := verifySignature(r, []byte(v.Body), at)
			if err != nil {
				t.Fatal(err)
			}
			if s.region != v.Region || s.certificate.Subject.CommonName != "kube-aws-iam-controller" {
				t.Errorf("it is %+v", s)
			}
			other, _ := vectors[(i+1)%len(vectors)].request(t)
			for name, change := range map[string]func(*http.Request){
				"another time":        func(r *http.Request) { r.Header.Set("X-Amz-Date", at.Add(time.Second).Format("20060102T150405Z")) },
				"another certificate": func(r *http.Request) { r.Header.Set("X-Amz-X509", other.Header.Get("X-Amz-X509")) },
				"another host":        func(r *http.Request) { r.Host = "example.org" },
				"another query":       func(r *http.Request) { r.URL.RawQuery += "&a=b" },
				"a chain not signed":  func(r *http.Request) { r.Header.Add("X-Amz-X509-Chain", r.Header.Get("X-Amz-X509")); dropSigned(r) },
				"no signature":        func(r *http.Request) { r.Header.Del("Authorization") },
			} {
				changed, _ := v.request(t)
				change(changed)
				if _, err := verifySignature(changed, []byte(v.Body), at); err == nil {
					t.Errorf("%s is accepted", name)
				}
			}
			if _, err := verifySignature(r, []byte("{}"), at); err == nil {
				t.Error("another body is accepted")
			}
			if _, err := verifySignature(r, []byte(v.Body), at.Add(maxSkew+time.Second)); err == nil {
				t.Error("it is accepted late")
			}
		})
	}
}

// dropSigned takes the chain out of the signed headers.
func dropSigned(r *http.Request) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), ";x-amz-x509-chain", "", 1))
}
