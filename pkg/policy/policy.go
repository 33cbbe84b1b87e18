// Package policy decides whether a subject may have a role: one small function per authorization mode, joined.
package policy

import (
	"context"

	"kube-aws-iam-controller/pkg/role"
)

// Subject is who asks for a role.
type Subject struct {
	// Namespace is where the Secret lies.
	Namespace string
	// ServiceAccount is the pod's. Without it, the namespace as a whole asks, as for an AWSIAMRole: all its ServiceAccounts.
	ServiceAccount string
}

// User is the Subject's name in Kubernetes, and empty for a namespace as a whole.
func (s Subject) User() string {
	if s.ServiceAccount == "" {
		return ""
	}
	return "system:serviceaccount:" + s.Namespace + ":" + s.ServiceAccount
}

// Groups are those that every ServiceAccount of the Subject's namespace is in.
func (s Subject) Groups() []string {
	return []string{"system:serviceaccounts:" + s.Namespace, "system:serviceaccounts", "system:authenticated"}
}

// String names the Subject to users.
func (s Subject) String() string {
	if s.ServiceAccount == "" {
		return "group system:serviceaccounts:" + s.Namespace
	}
	return "ServiceAccount " + s.Namespace + "/" + s.ServiceAccount
}

// Request is the question whether a Subject may have a role.
type Request struct {
	Subject Subject
	Role    role.ARN
	// Base is where roles lie that have a name beside their ARN.
	Base role.Base
}

// Verdict is the answer. The zero value is a refusal.
type Verdict struct {
	// Allowed is true if the role may be had.
	Allowed bool
	// Reason says why, in words for the user. A refusal's Reason says what would change it.
	Reason string
}

// Authorizer judges one Request. An error means that it could not decide, which is neither a
// permission nor a refusal.
type Authorizer func(context.Context, Request) (Verdict, error)

// The authorization modes, as in --authorization-mode.
const (
	ModeRBAC        = "RBAC"
	ModeNamespace   = "Namespace"
	ModeAlwaysAllow = "AlwaysAllow"
)

// AlwaysAllow gives every role to everybody, as far as the role's own trust policy does.
func AlwaysAllow(context.Context, Request) (Verdict, error) {
	return Verdict{Allowed: true, Reason: "authorization mode " + ModeAlwaysAllow}, nil
}

// Union joins authorizers as kube-apiserver joins its modes: the first that allows decides. If
// none does and one could not decide, the error is an *UndecidedError, as that one might have
// allowed it; otherwise the reasons of the refusals are joined, while they fit into an event.
func Union(authorizers ...Authorizer) Authorizer {
	return func(ctx context.Context, r Request) (Verdict, error) {
		var unknown []error
		var reason string
		for _, authorize := range authorizers {
			v, err := authorize(ctx, r)
			switch {
			case err != nil:
				unknown = append(unknown, err)
			case v.Allowed:
				return v, nil
			default:
				reason = joinReasons(reason, v.Reason)
			}
		}
		if len(unknown) > 0 {
			return Verdict{}, undecided(r, unknown...)
		}
		return Verdict{Reason: reason}, nil
	}
}

// joinReasons returns both reasons, or the first if an event has no room for both: half a command
// is of no use.
func joinReasons(first, second string) string {
	switch {
	case first == "":
		return second
	case len(first)+len("\nOr: ")+len(second) > maxReason:
		return first
	}
	return first + "\nOr: " + second
}
