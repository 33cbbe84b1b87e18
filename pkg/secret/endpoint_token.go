package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/secret/keys"
)

// tokenBytes is the size of an endpoint token before it is encoded: it cannot be guessed.
const tokenBytes = 32

// newEndpointToken returns a random token in characters that an HTTP header can have, without a
// newline: SDKs reject a token with one.
func newEndpointToken() []byte {
	random := make([]byte, tokenBytes)
	_, _ = rand.Read(random) // never fails
	return base64.RawURLEncoding.AppendEncode(nil, random)
}

// isEndpointToken reports whether a value has the form that newEndpointToken returns.
func isEndpointToken(value []byte) bool {
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(string(value))
	return err == nil && len(decoded) == tokenBytes && !bytes.ContainsAny(value, "\r\n")
}

// endpointToken returns the token of the Secret that is replaced, which can be reduced, or a new
// one if that has none or is nil.
func endpointToken(replaced *corev1.Secret) []byte {
	if replaced != nil && isEndpointToken(replaced.Data[keys.EndpointToken]) {
		return bytes.Clone(replaced.Data[keys.EndpointToken])
	}
	return newEndpointToken()
}
