// Command vectors prints requests that AWS's own helper for IAM Roles Anywhere signs, as JSON, for
// the tests of pkg/credentials. It is a module of its own: the helper draws in cgo and a lot more.
//
//	go run . > ../../../pkg/credentials/testdata/rolesanywhere.json
//
// Keys and certificates are made for one run; only certificates and signatures are printed.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	helper "github.com/aws/rolesanywhere-credential-helper/aws_signing_helper"
)

// vector is a request as the helper sends it.
type vector struct {
	Name   string
	Region string
	Method string
	// URL has the host by which it was signed.
	URL    string
	Header map[string]string
	Body   string
}

func main() {
	var all []vector
	for _, c := range []struct {
		name, region string
		key          crypto.Signer
		chain        int
	}{
		{"RSA 2048", "eu-central-1", must(rsa.GenerateKey(rand.Reader, 2048)), 0},
		{"RSA 4096, two intermediate certificates", "us-east-1", must(rsa.GenerateKey(rand.Reader, 4096)), 2},
		{"P-256", "us-gov-west-1", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), 0},
		{"P-384, an intermediate certificate", "cn-north-1", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), 1},
		{"P-521", "eu-central-1", must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), 0},
	} {
		v := capture(c.region, c.key, c.chain)
		v.Name = c.name
		all = append(all, v)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	check(out.Encode(all))
}

// capture returns the request by which the helper asks for a session.
func capture(region string, key crypto.Signer, chain int) vector {
	v := vector{Region: region}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.Method, v.URL, v.Header, v.Body = r.Method, "http://"+r.Host+r.URL.String(), map[string]string{}, string(must(io.ReadAll(r.Body)))
		for name := range r.Header {
			v.Header[name] = r.Header.Get(name)
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	dir := must(os.MkdirTemp("", "vectors"))
	defer func() { check(os.RemoveAll(dir)) }()
	resource := "arn:aws:rolesanywhere:" + region + ":123456789012:"
	options := helper.CredentialsOpts{
		PrivateKeyId: filepath.Join(dir, "tls.key"), CertificateId: filepath.Join(dir, "tls.crt"),
		TrustAnchorArnStr: resource + "trust-anchor/11111111-2222-4333-8444-555555555555",
		ProfileArnStr:     resource + "profile/66666666-7777-4888-9999-000000000000",
		RoleArn:           "arn:aws:iam::123456789012:role/infra/controller",
		SessionDuration:   3600, Endpoint: server.URL, Version: "1.4.0",
	}
	leaf, between := issue(key, chain)
	write(options.CertificateId, "CERTIFICATE", leaf)
	write(options.PrivateKeyId, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	if chain > 0 {
		options.CertificateBundleId = filepath.Join(dir, "chain.crt")
		write(options.CertificateBundleId, "CERTIFICATE", between...)
	}
	signer, algorithm, err := helper.GetSigner(&options)
	check(err)
	if _, err := helper.GenerateCredentials(&options, signer, algorithm); err == nil || v.URL == "" {
		log.Fatal("the helper made no request")
	}
	return v
}

// issue returns a certificate of a key, and the certificates between it and a root.
func issue(key crypto.Signer, chain int) (leaf []byte, between [][]byte) {
	issuer, issuerKey := template("root", true), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for range chain {
		next, nextKey := template("intermediate", true), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		der := must(x509.CreateCertificate(rand.Reader, next, issuer, nextKey.Public(), issuerKey))
		between = append([][]byte{der}, between...)
		issuer, issuerKey = next, nextKey
	}
	return must(x509.CreateCertificate(rand.Reader, template("kube-aws-iam-controller", false), issuer, key.Public(), issuerKey)), between
}

func template(name string, ca bool) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func write(path, kind string, blocks ...[]byte) {
	file := must(os.Create(path))
	for _, der := range blocks {
		check(pem.Encode(file, &pem.Block{Type: kind, Bytes: der}))
	}
	check(file.Close())
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
