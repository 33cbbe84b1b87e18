package ststest

import (
	"crypto"
	"fmt"
	"slices"
	"time"
)

// KeySource finds an issuer's public key, an *rsa.PublicKey or an *ecdsa.PublicKey on P-256, by the kid of a token's header, which is
// empty when the token has none. An error refuses the token.
type KeySource func(kid string) (crypto.PublicKey, error)

// assumeRoleWithWebIdentity answers AssumeRoleWithWebIdentity. The call is not signed: the token says who asks.
func (s *Server) assumeRoleWithWebIdentity(req *request) (any, error) {
	var v validator
	v.role(req.form)
	v.text("webIdentityToken", req.form, "WebIdentityToken", tokenLimits)
	role, err := v.done(req.form)
	if err != nil {
		return nil, err
	}
	packed, err := packedSize(req.form)
	if err != nil {
		return nil, err
	}
	audience, err := s.identify(req)
	if err != nil {
		return nil, err
	}
	if err := s.trust(req.call, "Not authorized to perform sts:AssumeRoleWithWebIdentity"); err != nil {
		return nil, err
	}
	session, err := s.issue(req, role, packed)
	if err != nil {
		return nil, err
	}
	return &webIdentityResponse{
		Result:    webIdentityResult{issued: session, Subject: req.call.Subject, Audience: audience, Provider: req.call.Issuer},
		RequestID: req.id,
	}, nil
}

// identify verifies the token, fills in who asks, and gives the audience that was found to be right.
func (s *Server) identify(req *request) (string, error) {
	token, err := parseJWT(req.form.Get("WebIdentityToken"))
	if err != nil {
		return "", invalidToken("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	s.mu.Lock()
	keys, trusted := s.orders.issuers[token.claims.Issuer]
	audiences := s.orders.audiences
	s.mu.Unlock()
	if !trusted {
		return "", invalidToken("No OpenIDConnect provider found in your account for " + token.claims.Issuer)
	}
	key, err := keys(token.header.KeyID)
	if err != nil {
		return "", invalidToken("Couldn't retrieve verification key from your identity provider, " +
			"please reference AssumeRoleWithWebIdentity documentation for requirements")
	}
	if !token.signedBy(key) {
		return "", invalidToken("The ID Token's signature is invalid")
	}
	audience, err := token.claims.check(audiences, req.now)
	if err != nil {
		return "", err
	}
	req.call.Issuer, req.call.Subject = token.claims.Issuer, token.claims.Subject
	return audience, nil
}

// check judges the claims of a token whose signature is good.
func (c claims) check(audiences []string, now time.Time) (string, error) {
	if c.Subject == "" || c.Expires == nil {
		return "", invalidToken("Missing a required claim: sub and exp must be present")
	}
	if !now.Before(c.Expires.time()) {
		return "", badRequest("ExpiredTokenException",
			fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d",
				now.Unix(), c.Expires.time().Unix()))
	}
	if c.NotBefore != nil && now.Before(c.NotBefore.time()) {
		return "", forbidden("IDPRejectedClaim",
			fmt.Sprintf("Token is not valid before %d, current date/time is %d", c.NotBefore.time().Unix(), now.Unix()))
	}
	for _, audience := range c.Audience {
		if slices.Contains(audiences, audience) {
			return audience, nil
		}
	}
	return "", invalidToken("Incorrect token audience")
}

func invalidToken(message string) error {
	return badRequest("InvalidIdentityToken", message)
}
