package sts

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// assumeRoleWithWebIdentity answers AssumeRoleWithWebIdentity. The call is not signed: the token
// identifies the caller.
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

// identify verifies the token, sets the call's Issuer and Subject, and returns the accepted one of
// the token's audiences.
func (s *Server) identify(req *request) (string, error) {
	const invalid = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
	token, err := jwt.ParseSigned(req.form.Get("WebIdentityToken"), signatureAlgorithms)
	if err != nil {
		return "", invalidToken(invalid)
	}
	var claims jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil { // they name the issuer
		return "", invalidToken(invalid)
	}
	s.mu.Lock()
	keys, trusted := s.behavior.issuers[claims.Issuer]
	audiences := s.behavior.audiences
	s.mu.Unlock()
	if !trusted {
		return "", invalidToken("No OpenIDConnect provider found in your account for " + claims.Issuer)
	}
	key, err := keys(token.Headers[0].KeyID)
	if err != nil {
		return "", invalidToken("Couldn't retrieve verification key from your identity provider, " +
			"please reference AssumeRoleWithWebIdentity documentation for requirements")
	}
	if err := token.Claims(key); err != nil {
		return "", invalidToken("The ID Token's signature is invalid")
	}
	audience, err := checkClaims(&claims, audiences, req.now)
	if err != nil {
		return "", err
	}
	req.call.Issuer, req.call.Subject = claims.Issuer, claims.Subject
	return audience, nil
}

// checkClaims checks the claims of a token whose signature is valid, and returns the first of its
// audiences that is accepted. Unlike jwt.Claims.Validate it rejects a token at the second it
// expires.
func checkClaims(claims *jwt.Claims, audiences []string, now time.Time) (string, error) {
	if claims.Subject == "" || claims.Expiry == nil {
		return "", invalidToken("Missing a required claim: sub and exp must be present")
	}
	if expires := claims.Expiry.Time(); !now.Before(expires) {
		return "", badRequest("ExpiredTokenException",
			fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d",
				now.Unix(), expires.Unix()))
	}
	if start := claims.NotBefore.Time(); now.Before(start) { // 0001 if there is none
		return "", forbidden("IDPRejectedClaim",
			fmt.Sprintf("Token is not valid before %d, current date/time is %d", start.Unix(), now.Unix()))
	}
	for _, audience := range claims.Audience {
		if slices.Contains(audiences, audience) {
			return audience, nil
		}
	}
	return "", invalidToken("Incorrect token audience")
}

func invalidToken(message string) error {
	return badRequest("InvalidIdentityToken", message)
}
