// Package policy decides whether a subject may have a role: one small function per authorization mode, joined.
package policy

import (
	"kube-aws-iam-controller/pkg/role"
)

// Verdict is the answer to whether a Subject may have a role. The zero value is a refusal.
type Verdict struct {
	// Allowed is true if the role may be had.
	Allowed bool
	// Reason says why, in words for the user. A refusal's Reason says what would change it.
	Reason string
}

// Subject is who asks for a role: a namespace.
type Subject struct {
	// Namespace is where the Secret lies.
	Namespace string
}

// Authorizer judges one request. An error means that it could not tell, which nobody may take for a permission.
type Authorizer func(Subject, role.ARN) (Verdict, error)

// ModeAlwaysAllow is the one value of --authorization-mode.
const ModeAlwaysAllow = "AlwaysAllow"

// AlwaysAllow gives every role to everybody, as far as the role's own trust policy does.
func AlwaysAllow(Subject, role.ARN) (Verdict, error) {
	return Verdict{Allowed: true, Reason: "authorization mode " + ModeAlwaysAllow}, nil
}
