package credentials

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The files of a certificate directory: the keys of a Secret of type kubernetes.io/tls.
const (
	certificateFile = "tls.crt"
	keyFile         = "tls.key"
)

// keyPair is a certificate with its private key, and the certificates that lead from it to a trust
// anchor.
type keyPair struct {
	leaf  *x509.Certificate
	chain []*x509.Certificate
	key   crypto.Signer
}

// certificateDir reads a key pair from a directory, again at each use: the kubelet replaces the
// files when their Secret changes. Files that are wrong, or not all replaced yet, leave the last
// good pair in use.
type certificateDir struct {
	path string

	mu      sync.Mutex
	current *keyPair // nil until a pair was good
}

// Certificate is the controller's own certificate for IAM Roles Anywhere.
type Certificate struct {
	// Dir is the directory that it is read from.
	Dir string
	// Subject and Serial are empty if there was no usable certificate yet.
	Subject, Serial string
	// NotBefore and NotAfter are when it and the intermediate certificates above it are all valid;
	// zero if there was no usable certificate yet.
	NotBefore, NotAfter time.Time
	// NotBeforeOf and NotAfterOf are the subjects of the intermediate certificates that NotBefore
	// and NotAfter come from; empty for the controller's own.
	NotBeforeOf, NotAfterOf string
	// Lifetime is that of the certificate that NotAfter comes from, from its own NotBefore on.
	Lifetime time.Duration
	// Problem is what is wrong with the files as they are, in words for the user; empty if nothing.
	// The certificate is then the last one that could be used.
	Problem string
}

// certificateRemedy is what to do about files that cannot be used.
const certificateRemedy = "The files are those of a Secret of type kubernetes.io/tls, mounted as a folder, as in " +
	"config/overlays/roles-anywhere; they are read again without a restart"

// Check returns nil if the certificate is valid at a time, or an *Error that says what is wrong and
// what to do.
func (c *Certificate) Check(now time.Time) error {
	switch {
	case c.NotAfter.IsZero():
		return newError(Absent, "NoCertificate", "The controller has no certificate for IAM Roles Anywhere: %s. "+
			"%s", c.Problem, certificateRemedy)
	case now.After(c.NotAfter):
		return newError(Absent, "CertificateExpired", "%s expired at %s. %s", c.FirstToExpire(), c.NotAfter.Format(time.RFC3339),
			c.Remedy())
	case now.Before(c.NotBefore):
		return newError(Absent, "CertificateNotYetValid", "%s is valid only from %s on, by the time of AWS. Wait, or check the "+
			"clock of who issued it", c.name(c.NotBeforeOf), c.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// FirstToExpire returns the beginning of a sentence about the certificate that NotAfter comes from.
func (c *Certificate) FirstToExpire() string { return c.name(c.NotAfterOf) }

// name returns what to call an intermediate certificate in a message, by its subject, or the
// controller's own if that is empty.
func (c *Certificate) name(intermediate string) string {
	own := "controller's certificate for IAM Roles Anywhere, in " + c.Dir + ","
	if intermediate == "" {
		return "The " + own
	}
	return fmt.Sprintf("The intermediate certificate %q of the %s", intermediate, own)
}

// Remedy returns what to do about a certificate that is not renewed.
func (c *Certificate) Remedy() string {
	if c.Problem != "" {
		return "There is a newer one that cannot be used: " + c.Problem
	}
	if c.NotAfterOf != "" {
		return "Renew that CA's certificate, then issue the controller's again: tls.crt must hold the new one in place of the " +
			"old. It is used without a restart"
	}
	return "Renew it, or see why cert-manager does not (kubectl describe certificate); a new one is used without a restart"
}

// read returns the key pair to use, and what is wrong with the files; the pair is nil if there
// never was a good one.
func (d *certificateDir) read() (*keyPair, string) {
	pair, problem := readKeyPair(d.path)
	if problem != "" { // the files can have been replaced between the two reads
		pair, problem = readKeyPair(d.path)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if problem == "" {
		d.current = pair
	}
	return d.current, problem
}

// describe returns the certificate that read returns.
func (d *certificateDir) describe() Certificate {
	return d.describePair(d.read())
}

// describePair returns what is known of a pair, which can be nil.
func (d *certificateDir) describePair(pair *keyPair, problem string) Certificate {
	described := Certificate{Dir: d.path, Problem: problem}
	if pair == nil {
		return described
	}
	described.Subject, described.Serial = pair.leaf.Subject.String(), pair.leaf.SerialNumber.Text(16)
	described.limit(pair.leaf, "")
	for _, c := range pair.issuers() {
		described.limit(c, c.Subject.String())
	}
	return described
}

// limit restricts when the certificate is valid to when another one is. Of two that expire at the
// same time the last one counts: many CAs issue nothing that outlasts their own certificate.
func (c *Certificate) limit(by *x509.Certificate, intermediate string) {
	if by.NotBefore.After(c.NotBefore) {
		c.NotBefore, c.NotBeforeOf = by.NotBefore, intermediate
	}
	if c.NotAfter.IsZero() || !by.NotAfter.After(c.NotAfter) {
		c.NotAfter, c.NotAfterOf, c.Lifetime = by.NotAfter, intermediate, by.NotAfter.Sub(by.NotBefore)
	}
}

// issuers returns the certificates of the chain that lead from the leaf to a trust anchor, in that
// order, without any others. Of several for one key, as of a CA that was renewed, it takes the one
// that expires last.
func (p *keyPair) issuers() (issuers []*x509.Certificate) {
	last := p.leaf
	for range p.chain {
		var issuer *x509.Certificate
		for _, c := range p.chain {
			if bytes.Equal(c.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(c) == nil &&
				(issuer == nil || c.NotAfter.After(issuer.NotAfter)) {
				issuer = c
			}
		}
		if issuer == nil {
			break
		}
		issuers, last = append(issuers, issuer), issuer
	}
	return issuers
}

// readKeyPair reads the files of a directory, and returns what is wrong with them.
func readKeyPair(dir string) (pair *keyPair, problem string) {
	certificates, key := filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile)
	for _, file := range []string{certificates, key} {
		if problem := fileProblem(file); problem != "" {
			return nil, "the file " + file + " " + problem
		}
	}
	certificatePEM, certificateErr := os.ReadFile(certificates) //nolint:gosec // the administrator sets the path
	keyPEM, keyErr := os.ReadFile(key)                          //nolint:gosec // the administrator sets the path
	if certificateErr != nil || keyErr != nil {
		return nil, "the files in " + dir + " were replaced while they were read"
	}
	all, problem := parseCertificates(certificatePEM)
	if problem != "" {
		return nil, "the file " + certificates + " " + problem
	}
	signer, problem := parseKey(keyPEM)
	if problem != "" {
		return nil, "the file " + key + " " + problem
	}
	return assemble(all, signer, dir)
}

// assemble finds the certificate of a key, whatever their order is. It leaves out root
// certificates, which AWS has as trust anchors.
func assemble(all []*x509.Certificate, key crypto.Signer, dir string) (pair *keyPair, problem string) {
	own := slices.IndexFunc(all, func(c *x509.Certificate) bool { return isKeyOf(c, key) })
	if own < 0 {
		return nil, "in " + dir + ", the key in " + keyFile + " is not that of the certificate in " + certificateFile +
			": put both in place, as they were issued together"
	}
	pair = &keyPair{leaf: all[own], key: key}
	for i, c := range all {
		if i != own && !bytes.Equal(c.RawIssuer, c.RawSubject) {
			pair.chain = append(pair.chain, c)
		}
	}
	return pair, ""
}

func isKeyOf(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

// parseCertificates returns the certificates of a file, or what is wrong with it.
func parseCertificates(text []byte) (all []*x509.Certificate, problem string) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, "has a certificate that cannot be parsed"
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, "has no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
	}
	return all, ""
}

// parseKey returns the first private key of a file, or what is wrong with it. It returns no error
// of a parser, which could quote the key.
func parseKey(text []byte) (key crypto.Signer, problem string) {
	const unusable = "has a private key that cannot be used: it must be RSA, or ECDSA on P-256, P-384 or P-521"
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, "has a private key that is encrypted: store it without a passphrase"
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		switch key := parseKeyDER(block.Bytes).(type) {
		case *rsa.PrivateKey:
			return key, ""
		case *ecdsa.PrivateKey:
			if key.Curve != elliptic.P224() {
				return key, ""
			}
		}
		return nil, unusable
	}
	return nil, "has no private key in PEM form (-----BEGIN PRIVATE KEY-----)"
}

// parseKeyDER parses a key in the form of PKCS #8, PKCS #1 or SEC 1. It returns nil for others.
func parseKeyDER(der []byte) any {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}
