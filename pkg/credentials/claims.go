package credentials

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

// Claims are what a web identity token says of itself. They are no secret: without the signature
// they cannot be used.
type Claims struct {
	Issuer    string
	Subject   string
	Audiences []string
	// ServiceAccountUID is the UID of the ServiceAccount, in tokens of Kubernetes.
	ServiceAccountUID string
}

// ReadClaims returns the claims of a token. It does not verify them.
func ReadClaims(token Redacted) (Claims, error) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) < 2 {
		return Claims{}, errNoToken
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Claims{}, errNoToken
	}
	var claims struct {
		Issuer     string    `json:"iss"`
		Subject    string    `json:"sub"`
		Audiences  audiences `json:"aud"`
		Kubernetes struct {
			ServiceAccount struct {
				UID string `json:"uid"`
			} `json:"serviceaccount"`
		} `json:"kubernetes.io"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return Claims{}, errNoToken
	}
	return Claims{claims.Issuer, claims.Subject, claims.Audiences, claims.Kubernetes.ServiceAccount.UID}, nil
}

// errNoToken quotes nothing of what is no token: it can be another secret.
var errNoToken = errors.New("it is no JSON Web Token")

// audiences are one text or a list of them. Source: RFC 7519, "aud".
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}
