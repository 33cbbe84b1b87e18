package sts

// getCallerIdentity returns who signed the call. It needs no permission, and so cannot be denied.
func (s *Server) getCallerIdentity(req *request) (any, error) {
	if err := s.authenticate(req); err != nil {
		return nil, err
	}
	return &callerIdentityResponse{
		Arn:       req.caller.arn,
		UserID:    req.caller.userID,
		Account:   req.caller.account,
		RequestID: req.id,
	}, nil
}
