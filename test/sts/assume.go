package sts

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"
)

// defaultDuration is the life of a session if the call has no DurationSeconds.
const defaultDuration = time.Hour

// maxChained is the longest session of a role assumed by a role session (IAM User Guide, "Role
// chaining").
const maxChained = time.Hour

// packedAllowance is how many bytes of policies and tags a call can have. STS packs them in an
// undocumented format; this is the same order of magnitude.
const packedAllowance = 4096

// maxToken is the longest session token of STS, in bytes.
const maxToken = 4096

// assumeRole answers AssumeRole.
func (s *Server) assumeRole(req *request) (any, error) {
	if err := s.authenticate(req); err != nil {
		return nil, err
	}
	var v validator
	v.role(req.form)
	v.text("externalId", req.form, "ExternalId", externalIDLimits)
	v.tags(tagsOf(req.form))
	role, err := v.done(req.form)
	if err != nil {
		return nil, err
	}
	packed, err := packedSize(req.form)
	if err != nil {
		return nil, err
	}
	if err := s.trust(req.call, fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: "+
		"%s", req.call.Caller, role.arn)); err != nil {
		return nil, err
	}
	if req.caller.sourceIdentity != "" && s.refusesSourceIdentity(role.arn) {
		return nil, forbidden("AccessDenied", fmt.Sprintf("User: %s is not authorized to perform: sts:SetSourceIdentity on "+
			"resource: %s", req.call.Caller, role.arn))
	}
	result, err := s.issue(req, role, packed)
	if err != nil {
		return nil, err
	}
	return &assumeRoleResponse{Result: result, RequestID: req.id}, nil
}

// issue returns the requested session, if the role allows one of its duration.
func (s *Server) issue(req *request, role role, packed int) (issued, error) {
	duration, err := s.duration(req)
	if err != nil {
		return issued{}, err
	}
	expires := req.now.Add(duration)
	if req.fault == AlreadyExpired {
		expires = req.now.Add(-time.Minute)
	}
	session := newSession(role, req.call.SessionName, req.now, expires)
	if req.caller != nil {
		session.sourceIdentity = req.caller.sourceIdentity
	}
	s.mu.Lock()
	keys := s.keys.add(session, req.now)
	s.mu.Unlock()

	req.call.AccessKeyID = keys.AccessKeyID
	size := len(keys.SessionToken)
	result := issued{
		Credentials: &credentials{
			AccessKeyID:     keys.AccessKeyID,
			SecretAccessKey: keys.SecretAccessKey,
			SessionToken:    keys.SessionToken,
			Expiration:      formatTime(session.expires),
		},
		AssumedRoleUser:         assumedRoleUser{AssumedRoleID: session.userID, Arn: session.arn},
		PackedPolicySize:        packed,
		SessionTokenSize:        size,
		SessionTokenUtilization: percentOf(size, maxToken),
	}
	if req.fault == MissingExpiration {
		result.Credentials.Expiration = ""
	}
	if req.fault == MissingCredentials {
		result.Credentials = nil
	}
	return result, nil
}

// duration returns how long the session lives: the value of SetSessionLifetime, or the requested
// one, or an hour. It checks the requested one in any case.
func (s *Server) duration(req *request) (time.Duration, error) {
	requested := req.call.Duration
	if requested == 0 {
		requested = defaultDuration
	}
	if req.caller != nil && req.caller.temporary() && requested > maxChained {
		return 0, badRequest(codeValidation,
			"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	}
	longest := s.maxSessionDuration(req.call.RoleARN)
	if req.call.Duration > longest {
		return 0, badRequest(codeValidation,
			"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	s.mu.Lock()
	lifetime := s.behavior.lifetime
	s.mu.Unlock()
	if lifetime > 0 {
		return lifetime, nil
	}
	return min(requested, longest), nil // only the default hour can exceed the role's maximum here
}

// packedSize returns which part of packedAllowance session policies and tags take, in percent and
// rounded up: 0 if there are none.
func packedSize(form url.Values) (int, error) {
	policy := form.Get("Policy")
	if policy != "" && !json.Valid([]byte(policy)) {
		return 0, badRequest("MalformedPolicyDocument", "Syntax errors in policy.")
	}
	size := len(policy)
	for _, arn := range members(form, "PolicyArns", "arn") {
		size += len(arn)
	}
	for _, tag := range tagsOf(form) {
		size += len(tag.key) + len(tag.value)
	}
	percent := percentOf(size, packedAllowance)
	if percent > 100 {
		return 0, badRequest("PackedPolicyTooLarge",
			fmt.Sprintf("Packed size of session tags and policies consumes %d%% of allotted space.", percent))
	}
	return percent, nil
}

// percentOf rounds up.
func percentOf(part, whole int) int {
	return (100*part + whole - 1) / whole
}
