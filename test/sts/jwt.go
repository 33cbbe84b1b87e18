package sts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// KeySource returns an issuer's public key, an *rsa.PublicKey or an *ecdsa.PublicKey on P-256, by
// the kid of a token's header, which is empty when the token has none. An error rejects the token.
type KeySource func(kid string) (crypto.PublicKey, error)

// signatureAlgorithms are the only ones that a token can name: those of the keys in a KeySource.
var signatureAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}

// ParseJWKS reads a JSON Web Key Set, as an API server publishes it under /openid/v1/jwks: RSA keys
// and those on P-256. Keys of other kinds are ignored (RFC 7517, section 5). It returns an error if
// the document or a key is broken, or if the set has no usable key.
func ParseJWKS(document []byte) (KeySource, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"` // jose.JSONWebKeySet fails on a key of another kind
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("sts: JWKS: %w", err)
	}
	keys := map[string]crypto.PublicKey{}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		err := key.UnmarshalJSON(raw)
		if err != nil && !errors.Is(err, jose.ErrUnsupportedKeyType) {
			return nil, fmt.Errorf("sts: JWKS: %w", err)
		}
		if isSupported(key.Key) {
			keys[key.KeyID] = key.Key
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("sts: JWKS: no RSA or P-256 key")
	}
	return func(kid string) (crypto.PublicKey, error) {
		if key, found := keys[kid]; found {
			return key, nil
		}
		return nil, fmt.Errorf("no key %q", kid)
	}, nil
}

func isSupported(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return true
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256()
	}
	return false
}
