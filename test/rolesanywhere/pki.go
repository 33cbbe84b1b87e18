package rolesanywhere

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// CA is a certificate authority.
type CA struct {
	Certificate *x509.Certificate
	key         crypto.Signer
	between     []*x509.Certificate // itself and those above it, without the root
}

// NewCA returns a root. It panics if it cannot be made, as all of this file does.
func NewCA(name string) *CA {
	ca := &CA{key: newKey()}
	ca.Certificate = sign(authority(name), nil, ca.key.Public(), ca.key)
	return ca
}

// Intermediate returns a CA below another.
func (ca *CA) Intermediate(name string, changes ...func(*x509.Certificate)) *CA {
	below, template := &CA{key: newKey()}, authority(name)
	for _, change := range changes {
		change(template)
	}
	below.Certificate = sign(template, ca.Certificate, below.key.Public(), ca.key)
	below.between = append([]*x509.Certificate{below.Certificate}, ca.between...)
	return below
}

// Renew returns another certificate of a CA below it, of the same name and key, in PEM form.
func (ca *CA) Renew(below *CA) []byte {
	return EncodeCertificates(sign(authority(below.Certificate.Subject.CommonName), ca.Certificate, below.key.Public(), ca.key))
}

// Issue returns the content of tls.crt for a key, as cert-manager writes it: the certificate, valid
// for 90 days, and the intermediate ones.
func (ca *CA) Issue(name string, key crypto.Signer, changes ...func(*x509.Certificate)) []byte {
	template := base(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, change := range changes {
		change(template)
	}
	all := append([]*x509.Certificate{sign(template, ca.Certificate, key.Public(), ca.key)}, ca.between...)
	return EncodeCertificates(all...)
}

// Valid sets the time in which a certificate is valid.
func Valid(from, to time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

// EncodeCertificates returns certificates in PEM form.
func EncodeCertificates(all ...*x509.Certificate) []byte {
	var text bytes.Buffer
	for _, c := range all {
		must(pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return text.Bytes()
}

// EncodeKey returns a private key in PEM form, as PKCS #8.
func EncodeKey(key crypto.Signer) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Mount writes the files of a Secret into a directory, as the kubelet does: into a folder of its
// own, to which it then moves a link.
func Mount(dir string, files map[string][]byte) {
	folder, err := os.MkdirTemp(dir, "..")
	must(err)
	for name, content := range files {
		must(os.WriteFile(filepath.Join(folder, name), content, 0o600))
		if link := filepath.Join(dir, name); !exists(link) {
			must(os.Symlink(filepath.Join("..data", name), link))
		}
	}
	link := filepath.Join(dir, "..data_tmp")
	must(os.Symlink(filepath.Base(folder), link))
	must(os.Rename(link, filepath.Join(dir, "..data")))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func newKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

func authority(name string) *x509.Certificate {
	c := base(name)
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	return c
}

func base(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	must(err)
	now := time.Now().Truncate(time.Second)
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour),
	}
}

// sign returns a certificate; without a parent, one signed by its own key.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	must(err)
	c, err := x509.ParseCertificate(der)
	must(err)
	return c
}

func must(err error) {
	if err != nil {
		panic(fmt.Errorf("rolesanywhere: %w", err))
	}
}
