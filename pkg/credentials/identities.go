package credentials

import (
	"context"
	"fmt"
	"strings"

	"kube-aws-iam-controller/pkg/role"
)

// Identities are the identities in AWS that the controller works with.
type Identities struct {
	// Assumer assumes the roles of pods. SeedAssumer is the same without --assume-role, and renews
	// the seed.
	Assumer, SeedAssumer Identity
	// Base returns where roles lie that are asked for by name, or zero if that is not known
	// without asking STS.
	Base func() role.Base
	// IsOwnRole reports whether a role is the controller's own, and IsKnownOwnRole does so as far
	// as that is known without asking STS. UsesKey reports whether the controller works with an
	// access key.
	IsOwnRole      func(context.Context, role.ARN) (bool, error)
	IsKnownOwnRole func(role.ARN) bool
	UsesKey        func(accessKeyID string) bool
}

// Identity is an identity in AWS.
type Identity struct {
	// Caller returns who it is.
	Caller func(context.Context) (Caller, error)
	// Assume returns credentials of a role.
	Assume func(context.Context, Session) (Credentials, error)
}

// Identities returns those of a Client.
func (c *Client) Identities() Identities {
	base := c.BaseClient()
	return Identities{
		Assumer:        Identity{c.Caller, c.Assume},
		SeedAssumer:    Identity{base.Caller, base.Assume},
		Base:           c.Base,
		IsOwnRole:      c.IsOwnRole,
		IsKnownOwnRole: c.IsKnownOwnRole,
		UsesKey:        c.UsesKey,
	}
}

// OwnRole returns the role that a reference names, if it is the caller's own: by its name it lies
// under the base role ARN or, as the roles of pods can lie in another account, at the root of its
// own.
func (c Caller) OwnRole(reference string) (role.ARN, error) {
	home, err := role.BaseOf(c.ARN)
	if err != nil {
		return role.ARN{}, err
	}
	for _, base := range []role.Base{c.Base, home} {
		if arn, err := base.Resolve(reference); err == nil && c.Is(arn) {
			return arn, nil
		}
	}
	return role.ARN{}, fmt.Errorf("the seed is of %s and is renewed with credentials of no other role than its own, not of %s: "+
		"name the Secret after its role", c.ARN, reference)
}

// OwnRoleError is the error of a request for the controller's own role.
type OwnRoleError struct{ Role role.ARN }

// Error implements error.
func (e *OwnRoleError) Error() string {
	return fmt.Sprintf("role %s is the controller's own: with it, a pod could assume every role that trusts the controller. "+
		"It is given to no one who asks for it, in any authorization mode; ask for another role", e.Role)
}

// CheckHeld returns an error if a Secret that is not the seed holds credentials of the controller's
// own role. While it is not known whether it does, CheckHeld returns none: then nothing is issued,
// and nothing deleted. inUse is true if the controller itself works with them.
func (i *Identities) CheckHeld(ctx context.Context, secret, held, accessKeyID string) (inUse bool, problem error) {
	arn, err := role.ParseARN(held)
	own, unknown := i.IsOwnRole(ctx, arn)
	inUse = i.UsesKey(accessKeyID) // the keys in use are known once it is known whose they are
	isHeld := err == nil && unknown == nil && own
	switch {
	case isHeld && inUse:
		_, name, _ := strings.Cut(secret, "/")
		return true, fmt.Errorf("the Secret %q holds the credentials that the controller itself works with, of its role %s, "+
			"and is not renewed. Start the controller with --seed-secret=%s to have it renew them; see docs/bootstrap.md", name, arn, secret)
	case isHeld:
		return false, &OwnRoleError{Role: arn}
	default:
		return inUse, nil
	}
}
