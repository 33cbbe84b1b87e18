package credentials

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"
)

// explainCreateSession returns the Error of a session that IAM Roles Anywhere does not issue: what
// it says, and what to do. The certificate's time is judged after the answer, which has corrected
// the clock if that was wrong.
func (c *Client) explainCreateSession(err error, pair *keyPair, problem string) *Error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	kind, code := classify(err)
	answer, answered := errors.AsType[smithy.APIError](err)
	if answered && kind != Throttled {
		certificate := c.sessions.certificate.describePair(pair, problem)
		if invalid, ok := errors.AsType[*Error](certificate.Check(c.clock.Now())); ok {
			return invalid
		}
	}
	before := fmt.Sprintf("the controller cannot get AWS credentials of its own, tried again: IAM Roles Anywhere of Region %s "+
		"gives it no session of role %s (CreateSession", c.sessions.TrustAnchor.Region, c.sessions.Role)
	switch {
	case answered && kind != Unavailable && kind != Throttled:
		text := strings.TrimSuffix(code+": "+sanitize(answer.ErrorMessage()), ": ")
		return NewError(Absent, code, quoteAnswer(before+": ", strings.TrimSuffix(text, "."), "). "+
			c.sessions.advice(code, answer.ErrorMessage(), pair)))
	case answered:
		return NewError(kind, code, before+detail(err)+")")
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		return NewError(Unavailable, code, before+"): what answers at "+c.sessions.url+" is not IAM Roles "+
			"Anywhere. Is there a proxy, or another AWS_ENDPOINT_URL_ROLESANYWHERE?")
	}
	return NewError(kind, code, before+")"+detail(err))
}

// advice returns what to do about a refusal. AWS's messages are short: "Untrusted signing
// certificate" is a chain that does not lead to the trust anchor, "Untrusted certificate.
// Insufficient certificate" a certificate without a usage, and "Unable to assume role" all that the
// role's trust policy can lack.
func (s *sessionSource) advice(code, message string, pair *keyPair) string {
	lower := strings.ToLower(message)
	switch {
	case code == "ResourceNotFoundException":
		return fmt.Sprintf("Do trust anchor %s and profile %s exist, and are they enabled?", s.TrustAnchor, s.Profile)
	case code == "ValidationException":
		return "Are the ARNs of trust anchor, profile and role right?"
	case pair.leaf.IsCA:
		return "The certificate in " + s.CertificateDir + " is a CA's: issue one for the controller, with the key usage " +
			"digital signature"
	case pair.leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0, strings.Contains(lower, "insufficient"):
		return "The certificate in " + s.CertificateDir + " must be of version 3 and have the key usage digital signature " +
			"and the extended key usage client auth: in cert-manager, usages: [digital signature, client auth]"
	case strings.Contains(lower, "untrusted"):
		return s.chainAdvice(pair)
	case strings.Contains(lower, "revoked"):
		return "Issue another certificate; a new one is used without a restart"
	case strings.Contains(lower, "signature"):
		return "The signature is refused, by the certificate's own key: the time of the node's clock is the likely cause. Or " +
			"a proxy changes the request"
	default:
		return s.roleAdvice(pair)
	}
}

// chainAdvice returns what to do about a certificate that AWS cannot trace to the trust anchor.
func (s *sessionSource) chainAdvice(pair *keyPair) string {
	last := pair.leaf
	if n := len(pair.chain); n > 0 {
		last = pair.chain[n-1]
	}
	return fmt.Sprintf("The chain is incomplete, or of another CA: tls.crt has the controller's certificate and %d intermediate "+
		"certificates, of which the last was issued by %q. Put the missing ones behind it in tls.crt, or make that CA the source "+
		"of trust anchor %s", len(pair.chain), last.Issuer.String(), s.TrustAnchor)
}

// roleAdvice returns what to do if the role, the profile or the trust anchor is what refuses.
func (s *sessionSource) roleAdvice(pair *keyPair) string {
	return fmt.Sprintf("The role's trust policy must allow sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity to "+
		"Service rolesanywhere.amazonaws.com; if it has conditions, for aws:SourceArn %s and "+
		"aws:PrincipalTag/x509Subject/CN %q. The role must be one of profile %s, and profile and trust anchor must be enabled",
		s.TrustAnchor, pair.leaf.Subject.CommonName, s.Profile)
}
