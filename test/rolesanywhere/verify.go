package rolesanywhere

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// signature is who signed a request, and how.
type signature struct {
	algorithm, serial, region string
	certificate               *x509.Certificate
	chain                     []*x509.Certificate

	scope   string // without the serial number
	headers []string
	raw     []byte
}

// maxSkew is how far the time of a signature can be off.
const maxSkew = 5 * time.Minute

// verifySignature returns who signed a request. It is written by the user guide alone, so that a
// client's mistake is not repeated here.
func verifySignature(r *http.Request, body []byte, now time.Time) (*signature, error) {
	s, err := parseSignature(r)
	if err != nil {
		return nil, err
	}
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	if err != nil || s.scope != date[:8]+"/"+s.region+"/rolesanywhere/aws4_request" || s.serial != s.certificate.SerialNumber.String() {
		return nil, denied("Invalid credential scope")
	}
	if now.Sub(at).Abs() > maxSkew {
		return nil, denied(fmt.Sprintf("Signature expired: %s is now %s", date, now.Format("20060102T150405Z")))
	}
	canonical, err := canonicalOf(r, body, s.headers)
	if err != nil {
		return nil, err
	}
	if !s.signed([]byte(strings.Join([]string{s.algorithm, date, s.scope, hashOf([]byte(canonical))}, "\n"))) {
		return nil, denied("Invalid signature")
	}
	return s, nil
}

// parseSignature reads the headers of a signature.
func parseSignature(r *http.Request) (*signature, error) {
	algorithm, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ", ") {
		name, value, _ := strings.Cut(part, "=")
		parts[name] = value
	}
	serial, scope, _ := strings.Cut(parts["Credential"], "/")
	certificates, err := decodeCertificates(r.Header.Get("X-Amz-X509"))
	if err != nil || len(certificates) != 1 || strings.Count(scope, "/") != 3 {
		return nil, denied("Missing authentication token")
	}
	chain, err := decodeCertificates(r.Header.Get("X-Amz-X509-Chain"))
	if err != nil {
		return nil, denied("Invalid certificate chain")
	}
	raw, err := hex.DecodeString(parts["Signature"])
	if err != nil {
		return nil, denied("Invalid signature")
	}
	return &signature{
		algorithm: algorithm, serial: serial, region: strings.Split(scope, "/")[1], certificate: certificates[0], chain: chain,
		scope: scope, headers: strings.Split(parts["SignedHeaders"], ";"), raw: raw,
	}, nil
}

// canonicalOf returns the canonical form of a request.
func canonicalOf(r *http.Request, body []byte, headers []string) (string, error) {
	needed := []string{"host", "x-amz-date", "x-amz-x509"}
	if r.Header.Get("X-Amz-X509-Chain") != "" {
		needed = append(needed, "x-amz-x509-chain")
	}
	for _, name := range needed {
		if !slices.Contains(headers, name) {
			return "", denied("Not signed: " + name)
		}
	}
	if !slices.IsSorted(headers) {
		return "", denied("Signed headers are not in order")
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n%s\n%s\n", r.Method, r.URL.EscapedPath(), canonicalQuery(r.URL.Query()))
	for _, name := range headers {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		fmt.Fprintf(&text, "%s:%s\n", name, strings.TrimSpace(value))
	}
	fmt.Fprintf(&text, "\n%s\n%s", strings.Join(headers, ";"), hashOf(body))
	return text.String(), nil
}

func canonicalQuery(query url.Values) string {
	var pairs []string
	for name, values := range query {
		for _, value := range values {
			pairs = append(pairs, url.PathEscape(name)+"="+strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// signed reports whether the certificate's key signed a text.
func (s *signature) signed(text []byte) bool {
	digest := sha256.Sum256(text)
	switch key := s.certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		return s.algorithm == "AWS4-X509-RSA-SHA256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], s.raw) == nil
	case *ecdsa.PublicKey:
		return s.algorithm == "AWS4-X509-ECDSA-SHA256" && ecdsa.VerifyASN1(key, digest[:], s.raw)
	default:
		return false
	}
}

// verifyChain checks that the certificate leads to one of the roots and is valid.
func (s *signature) verifyChain(roots []*x509.Certificate, now time.Time) error {
	anchors, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range roots {
		anchors.AddCert(c)
	}
	for _, c := range s.chain {
		between.AddCert(c)
	}
	c := s.certificate
	if c.Version != 3 || c.IsCA || c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return denied("Untrusted certificate. Insufficient certificate")
	}
	if _, err := c.Verify(x509.VerifyOptions{
		Roots: anchors, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return denied("Untrusted signing certificate")
	}
	return nil
}

// decodeCertificates parses a header with certificates; an empty one has none.
func decodeCertificates(header string) (all []*x509.Certificate, err error) {
	if header == "" {
		return nil, nil
	}
	for encoded := range strings.SplitSeq(header, ",") {
		der, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, err
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
