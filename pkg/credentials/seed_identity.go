package credentials

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"kube-aws-iam-controller/pkg/role"
)

// identifiedSeed is a seed with its identity.
type identifiedSeed struct {
	seed *Seed
	arn  string // from GetCallerIdentity
	err  error  // an *Error if the seed is not accepted
}

// identifySeed returns an *Error if a seed does not have the identity of the first one. It asks STS
// once for each seed, before the first use.
func (c *Client) identifySeed(ctx context.Context, s *Seed, keys aws.Credentials) error {
	if known := c.identifiedSeed.Load(); known != nil && known.seed == s {
		return known.err
	}
	caller, err := c.callerARN(ctx, c.client(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil })))
	if err != nil {
		return err
	}
	err = c.acceptSeed(s, caller)
	c.identifiedSeed.Store(&identifiedSeed{seed: s, arn: caller, err: err})
	return err
}

// seedARN returns the identity of the current seed, if STS was asked about it.
func (c *Client) seedARN() (caller string, known bool) {
	identified := c.identifiedSeed.Load()
	if identified == nil || identified.err != nil || identified.seed != c.seed.Load() {
		return "", false
	}
	return identified.arn, true
}

// acceptSeed pins the Client to the identity of the first seed, and refuses any other: with a seed
// of another account, roles that pods request by name would be of that account. If the base role
// ARN is given and there is no intermediate role, the first seed must be of that account.
func (c *Client) acceptSeed(s *Seed, caller string) error {
	identity := identityOf(caller)
	if base := c.options.Base; c.intermediate.IsZero() && !base.IsZero() && accountOf(caller) != base.Account() {
		return c.wrongIdentityError(s, fmt.Sprintf("STS says that the controller's own AWS credentials, in %s, are "+
			"those of %s, and --base-role-arn names account %s: they are not used. "+
			"Put a seed of a role of that account in place, or restart the controller with another "+
			"--base-role-arn", s.Name, identity, base.Account()))
	}
	if c.pinnedIdentity.CompareAndSwap(nil, &identity) {
		return nil
	}
	if first := *c.pinnedIdentity.Load(); first != identity {
		return c.wrongIdentityError(s, fmt.Sprintf("STS says that the controller's own AWS credentials, in %s, are "+
			"those of %s, and the controller is %s: they are not used. "+
			"Put a seed of that role in place, or restart the controller to let it become the other", s.Name, identity, first))
	}
	return nil
}

// wrongIdentityError returns the Error of a seed that is not accepted, and marks the base
// credentials as expired.
func (c *Client) wrongIdentityError(s *Seed, message string) *Error {
	if now := c.clock.Now(); c.seed.Load() == s && now.Before(s.Credentials.Expires) {
		c.baseExpires.Store(&now)
	}
	return NewError(Expired, "SeedOfAnotherRole", message)
}

// identityOf returns the role of a session by account and name, or any other ARN unchanged.
func identityOf(caller string) string {
	if id := role.SessionRole(caller); !id.IsZero() {
		return id.String()
	}
	return caller
}

func accountOf(caller string) string {
	parsed, _ := arn.Parse(caller) // without an account if caller is no ARN
	return parsed.AccountID
}
