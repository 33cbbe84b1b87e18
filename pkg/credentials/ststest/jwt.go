package ststest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// jwt is a JSON Web Token in compact form (RFC 7515, 7519), taken apart but not verified.
type jwt struct {
	header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	claims    claims
	signed    string // what the signature is over
	signature []byte
}

// claims are those STS looks at.
type claims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  audience     `json:"aud"`
	Expires   *numericDate `json:"exp"`
	NotBefore *numericDate `json:"nbf"`
}

// numericDate is seconds since 1970, perhaps with a fraction (RFC 7519).
type numericDate float64

func (d numericDate) time() time.Time { return time.UnixMilli(int64(d * 1000)) }

// audience is one string or a list of them (RFC 7519).
type audience []string

// UnmarshalJSON takes both forms.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

func parseJWT(token string) (jwt, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return jwt{}, errors.New("a token has three parts")
	}
	parsed := jwt{signed: parts[0] + "." + parts[1]}
	if err := decodeJSON(parts[0], &parsed.header); err != nil {
		return jwt{}, err
	}
	if err := decodeJSON(parts[1], &parsed.claims); err != nil {
		return jwt{}, err
	}
	var err error
	parsed.signature, err = base64.RawURLEncoding.DecodeString(parts[2])
	return parsed, err
}

func decodeJSON(part string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// signedBy verifies the signature (RFC 7518). The key's type must be the algorithm's: a token cannot choose how it is verified.
func (t jwt) signedBy(key crypto.PublicKey) bool {
	digest := sha256.Sum256([]byte(t.signed))
	switch key := key.(type) {
	case *rsa.PublicKey:
		return t.header.Algorithm == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], t.signature) == nil
	case *ecdsa.PublicKey:
		if t.header.Algorithm != "ES256" || key.Curve != elliptic.P256() || len(t.signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(t.signature[:32]), new(big.Int).SetBytes(t.signature[32:])
		return ecdsa.Verify(key, digest[:], r, s)
	}
	return false
}

// jwk is one key of a JSON Web Key Set (RFC 7517, 7518): RSA or P-256.
type jwk struct {
	ID    string `json:"kid"`
	Type  string `json:"kty"`
	N     string `json:"n"`
	E     string `json:"e"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// ParseJWKS reads a JSON Web Key Set, as an API server publishes it under /openid/v1/jwks: RSA keys and those on P-256, each with a kid.
// Keys of other kinds are passed over, as RFC 7517 wants it. The error is about a document or a key that is broken, or a set without keys.
func ParseJWKS(document []byte) (KeySource, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("ststest: JWKS: %w", err)
	}
	keys := map[string]crypto.PublicKey{}
	for _, k := range set.Keys {
		key, err := k.publicKey()
		if err != nil {
			return nil, fmt.Errorf("ststest: JWKS: key %q: %w", k.ID, err)
		}
		if key != nil {
			keys[k.ID] = key
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("ststest: JWKS: no RSA or P-256 key")
	}
	return func(kid string) (crypto.PublicKey, error) {
		if key, found := keys[kid]; found {
			return key, nil
		}
		return nil, fmt.Errorf("no key %q", kid)
	}, nil
}

// publicKey is nil for kinds of keys that are not supported.
func (k jwk) publicKey() (crypto.PublicKey, error) {
	switch {
	case k.Type == "RSA":
		return k.rsaKey()
	case k.Type == "EC" && k.Curve == "P-256":
		return k.p256Key()
	}
	return nil, nil
}

func (k jwk) rsaKey() (crypto.PublicKey, error) {
	n, err := base64.RawURLEncoding.DecodeString(k.N)
	if err != nil {
		return nil, fmt.Errorf("n: %w", err)
	}
	e, err := base64.RawURLEncoding.DecodeString(k.E)
	if err != nil {
		return nil, fmt.Errorf("e: %w", err)
	}
	if len(n) == 0 || len(e) == 0 || len(e) > 4 {
		return nil, errors.New("n or e has no usable length")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
}

func (k jwk) p256Key() (crypto.PublicKey, error) {
	x, err := base64.RawURLEncoding.DecodeString(k.X)
	if err != nil {
		return nil, fmt.Errorf("x: %w", err)
	}
	y, err := base64.RawURLEncoding.DecodeString(k.Y)
	if err != nil {
		return nil, fmt.Errorf("y: %w", err)
	}
	if len(x) != 32 || len(y) != 32 {
		return nil, errors.New("x and y must have 32 bytes")
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
}
