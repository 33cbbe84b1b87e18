// Package authorization decides which subject may assume which role. Each authorization mode is an
// Authorizer, and Union joins them; a Reviewer keeps their decisions until something changes.
package authorization

import (
	"context"

	"kube-aws-iam-controller/pkg/role"
)

// Subject is the ServiceAccount, or the group of all ServiceAccounts of a namespace, that asks for
// a role.
type Subject struct {
	// Namespace is the namespace of the Secret.
	Namespace string
	// ServiceAccount is the pod's ServiceAccount. It is empty for an AWSIAMRole, whose subject is
	// the group.
	ServiceAccount string
}

// User returns the user name of the ServiceAccount, or an empty string for the group.
func (s Subject) User() string {
	if s.ServiceAccount == "" {
		return ""
	}
	return "system:serviceaccount:" + s.Namespace + ":" + s.ServiceAccount
}

// Groups returns the groups that every ServiceAccount of the namespace is in.
func (s Subject) Groups() []string {
	return []string{"system:serviceaccounts:" + s.Namespace, "system:serviceaccounts", "system:authenticated"}
}

// String returns the Subject as users know it.
func (s Subject) String() string {
	if s.ServiceAccount == "" {
		return "group system:serviceaccounts:" + s.Namespace
	}
	return "ServiceAccount " + s.Namespace + "/" + s.ServiceAccount
}

// Request is the question whether a Subject may assume a role.
type Request struct {
	Subject Subject
	Role    role.ARN
	// Base is the base role ARN. A role under it can be granted by its name, too.
	Base role.Base
}

// Decision is the answer to a Request. The zero value denies it.
type Decision struct {
	// Allowed is true if the Subject may assume the role.
	Allowed bool
	// Reason says why, in a sentence for the user, without a full stop.
	Reason string
	// Hint says what would allow a denied Request, with commands if they fit. It can be empty.
	Hint string
}

// Message returns the Reason with the Hint.
func (d Decision) Message() string {
	if d.Hint == "" {
		return d.Reason
	}
	return d.Reason + beforeHint + d.Hint
}

const beforeHint = ". To allow it: "

// Authorizer decides one Request. It returns an error if it could not decide, which neither allows
// nor denies the Request.
type Authorizer func(context.Context, Request) (Decision, error)

// The authorization modes, as in --authorization-mode.
const (
	ModeRBAC        = "RBAC"
	ModeNamespace   = "Namespace"
	ModeAlwaysAllow = "AlwaysAllow"
)

// AlwaysAllow is the Authorizer that allows everything: only the roles' own trust policies decide.
func AlwaysAllow(context.Context, Request) (Decision, error) {
	return Decision{Allowed: true, Reason: "authorization mode " + ModeAlwaysAllow}, nil
}

// Union joins authorizers as kube-apiserver joins its modes: the first that allows a Request
// decides. If none allows it and one could not decide, the error is an *UndecidedError, as that one
// might have allowed it. Otherwise the Request is denied with the reasons and hints of all that fit
// into an event.
func Union(authorizers ...Authorizer) Authorizer {
	return func(ctx context.Context, r Request) (Decision, error) {
		var errs []error
		var denied Decision
		for _, authorize := range authorizers {
			d, err := authorize(ctx, r)
			switch {
			case err != nil:
				errs = append(errs, err)
			case d.Allowed:
				return d, nil
			default:
				denied = joinDenied(denied, d)
			}
		}
		if len(errs) > 0 {
			return Decision{}, undecided(r, errs...)
		}
		return denied, nil
	}
}

// joinDenied joins two denials. It returns only the first if an event has no room for both, as a
// command that is cut is of no use.
func joinDenied(first, second Decision) Decision {
	const or = "\nOr: "
	switch {
	case first.Reason == "":
		return second
	case len(first.Message())+len(or)+len(second.Message()) > maxMessage:
		return first
	case first.Hint == "":
		return Decision{Reason: first.Reason + or + second.Reason, Hint: second.Hint}
	default:
		return Decision{Reason: first.Reason, Hint: first.Hint + or + second.Message()}
	}
}
