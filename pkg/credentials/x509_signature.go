package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The constants of a signature by a certificate's key. Source: "The IAM Roles Anywhere
// authentication signing process" in its user guide.
const (
	algorithmRSA   = "AWS4-X509-RSA-SHA256"
	algorithmECDSA = "AWS4-X509-ECDSA-SHA256"
	x509Service    = "rolesanywhere"
	signedTime     = "20060102T150405Z"
	signedDay      = "20060102"
)

// signX509 signs a request with the key of a certificate, as IAM Roles Anywhere demands it: Version
// 4 of AWS's signatures with another algorithm and two more headers. All headers that the request
// has are signed.
func signX509(r *http.Request, body []byte, pair *keyPair, region string, at time.Time) error {
	at = at.UTC()
	r.Header.Set("X-Amz-Date", at.Format(signedTime))
	r.Header.Set("X-Amz-X509", encodeCertificates(pair.leaf))
	if len(pair.chain) > 0 {
		r.Header.Set("X-Amz-X509-Chain", encodeCertificates(pair.chain...))
	}
	scope := strings.Join([]string{at.Format(signedDay), region, x509Service, "aws4_request"}, "/")
	canonical, signedHeaders := canonicalRequest(r, body)
	algorithm := pair.algorithm()
	digest := sha256.Sum256([]byte(strings.Join([]string{algorithm, at.Format(signedTime), scope, hexSHA256(canonical)}, "\n")))
	signature, err := pair.key.Sign(rand.Reader, digest[:], crypto.SHA256) // RSA: PKCS #1 v1.5
	if err != nil {
		return errors.New("the key does not sign") // the cause can quote parts of the key
	}
	r.Header.Set("Authorization", algorithm+" Credential="+pair.leaf.SerialNumber.String()+"/"+scope+
		", SignedHeaders="+signedHeaders+", Signature="+hex.EncodeToString(signature))
	return nil
}

// algorithm returns the name of the signature's algorithm.
func (p *keyPair) algorithm() string {
	if _, ok := p.key.Public().(*ecdsa.PublicKey); ok {
		return algorithmECDSA
	}
	return algorithmRSA
}

// canonicalRequest returns what is signed of a request, and the names of the headers in it.
func canonicalRequest(r *http.Request, body []byte) (canonical, signedHeaders string) {
	values := map[string]string{"host": r.URL.Host}
	for name, all := range r.Header {
		if name != "Authorization" && name != "User-Agent" { // a proxy can change User-Agent
			values[strings.ToLower(name)] = strings.Join(strings.Fields(strings.Join(all, ",")), " ")
		}
	}
	names := slices.Sorted(maps.Keys(values))
	signedHeaders = strings.Join(names, ";")
	lines := []string{r.Method, r.URL.EscapedPath(), strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20")}
	for _, name := range names {
		lines = append(lines, name+":"+values[name])
	}
	lines = append(lines, "", signedHeaders, hexSHA256(string(body)))
	return strings.Join(lines, "\n"), signedHeaders
}

func hexSHA256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// encodeCertificates returns certificates as the headers hold them: base64 of DER, with commas.
func encodeCertificates(certificates ...*x509.Certificate) string {
	var encoded []string
	for _, c := range certificates {
		encoded = append(encoded, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return strings.Join(encoded, ",")
}
