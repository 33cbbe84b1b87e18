package credentials

import (
	"fmt"
	"strings"
)

// explainSession returns the Error of an AssumeRoleWithWebIdentity for a token with some claims.
func explainSession(err error, s Session, claims *Claims) *Error {
	kind, code := classify(err)
	if kind == Expired { // it is the token, not the controller's own credentials
		kind = Rejected
	}
	return NewError(kind, code, sessionMessage(err, kind, code, s, claims))
}

func sessionMessage(err error, kind Kind, code string, s Session, claims *Claims) string {
	text := denialOf(err).text
	refused := fmt.Sprintf("STS gives no session of role %s for ServiceAccount %s (", s.Role, claims.name())
	switch code {
	case "InvalidIdentityToken":
		return quoteAnswer(refused, text, "). "+claims.issuerAdvice(text, s.Role.Account()))
	case "ExpiredTokenException", "ExpiredToken":
		return refused + code + "). The token was issued a moment ago, so the clock of the API server is behind: check the time synchronization of " +
			"the control plane. Tried again about every minute"
	case "IDPRejectedClaim":
		return quoteAnswer(refused, text, "). If the token is not valid yet, the clock of the API server is ahead: check the time synchronization of "+
			"the control plane. Tried again about every minute")
	case codeIDPCommunication:
		return quoteAnswer(refused, text, fmt.Sprintf("). AWS did not reach the issuer of the token, %s, in time; tried again", claims.Issuer))
	}
	switch kind {
	case Denied:
		return quoteAnswer(refused, text, "). "+claims.trustAdvice(denialOf(err), s.Role.Partition(), s.Role.Account())+". Tried again about every minute")
	case Rejected:
		return refused[:len(refused)-2] + detail(err)
	case Throttled:
		return fmt.Sprintf("STS throttles requests with web identity tokens (%s): credentials of role %s are late; if this stays, lower "+
			"--web-identity-qps", code, s.Role)
	default:
		return fmt.Sprintf("STS cannot be asked for a session of role %s for ServiceAccount %s, tried again%s", s.Role, claims.name(), detail(err))
	}
}

// name returns the ServiceAccount as <namespace>/<name>.
func (c *Claims) name() string {
	return strings.Replace(strings.TrimPrefix(c.Subject, "system:serviceaccount:"), ":", "/", 1)
}

// audience returns the audience of a token; several with commas.
func (c *Claims) audience() string { return strings.Join(c.Audiences, ",") }

// provider returns the name of the issuer in IAM: its URL without the scheme.
func (c *Claims) provider() string { return strings.TrimPrefix(c.Issuer, "https://") }

// issuerAdvice returns what to do about a token whose issuer AWS does not know or cannot ask.
// Source: the errors of AssumeRoleWithWebIdentity, as users report them.
func (c *Claims) issuerAdvice(text, account string) string {
	switch {
	case strings.Contains(text, "No OpenIDConnect provider"):
		return fmt.Sprintf("Account %s has no identity provider for the cluster's issuer %s: aws iam create-open-id-connect-provider --url %[2]s "+
			"--client-id-list %s", account, c.Issuer, c.audience())
	case strings.Contains(text, "verification key"):
		return fmt.Sprintf("AWS cannot fetch the keys of the cluster's issuer: %s/.well-known/openid-configuration, and the jwks_uri that it names, must be "+
			"public by HTTPS, with the key that the API server signs with", strings.TrimSuffix(c.Issuer, "/"))
	case strings.Contains(text, "audience"):
		return fmt.Sprintf("The identity provider of the issuer %s in account %s lacks the audience %s: aws iam add-client-id-to-open-id-connect-provider "+
			"--client-id %[3]s --open-id-connect-provider-arn <its ARN>", c.Issuer, account, c.audience())
	default:
		return fmt.Sprintf("The cluster's issuer %s must be an identity provider in IAM, in account %s, with the audience %s, and AWS must be able to fetch "+
			"its keys, with the one that the API server signs with", c.Issuer, account, c.audience())
	}
}

// trustAdvice returns what to do about an AccessDenied: usually what the role's trust policy must
// have, in its own form.
func (c *Claims) trustAdvice(d denial, partition, account string) string {
	if d.explicit || d.policy != "" && !isTrustPolicy(d.policy) {
		return d.advice(deniedCaller{name: "ServiceAccount " + c.name(), principal: c.provider()})
	}
	return fmt.Sprintf(`Does the role exist? Its trust policy must allow sts:AssumeRoleWithWebIdentity to Principal {"Federated":"arn:%s:iam::%s:oidc-provider/%s"} `+
		`with Condition {"StringEquals":{"%[3]s:sub":%[4]q,"%[3]s:aud":%[5]q}}`, partition, account, c.provider(), c.Subject, c.audience())
}
