package credentials

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"kube-aws-iam-controller/pkg/role"
)

// identifiedSeed is a seed and whose it is.
type identifiedSeed struct {
	seed *Seed
	arn  string // what GetCallerIdentity answers
	err  error  // an *Error if it is not accepted
}

// identifySeed makes sure that a seed is of who the first one was. STS is asked about each seed
// once, before it is used for anything.
func (c *Client) identifySeed(ctx context.Context, s *Seed, keys aws.Credentials) error {
	if known := c.identity.seed.Load(); known != nil && known.seed == s {
		return known.err
	}
	caller, err := c.whoIs(ctx, c.client(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil })))
	if err != nil {
		return err
	}
	err = c.acceptSeed(s, caller)
	c.identity.seed.Store(&identifiedSeed{seed: s, arn: caller, err: err})
	return err
}

// seedARN returns who STS says that the seed is, if it was asked about the one that there is now.
func (c *Client) seedARN() (caller string, known bool) {
	identified := c.identity.seed.Load()
	if identified == nil || identified.err != nil || identified.seed != c.seed.Load() {
		return "", false
	}
	return identified.arn, true
}

// acceptSeed pins the Client to who the first seed is, and refuses any other: with the seed of
// another account, roles that pods ask for by name would be another account's. Where the base
// role ARN is given and roles are assumed without an intermediate one, the first must be of that
// account.
func (c *Client) acceptSeed(s *Seed, caller string) error {
	identity := identityOf(caller)
	if base := c.options.Base; c.identity.hub.IsZero() && !base.IsZero() && accountOf(caller) != base.Account() {
		return c.otherSeed(s, fmt.Sprintf("STS says that the controller's own AWS credentials, in %s, are those of %s, and --base-role-arn names account %s: they are not used. "+
			"Put a seed of a role of that account in place, or restart the controller with another --base-role-arn", s.Name, identity, base.Account()))
	}
	if c.identity.pin.CompareAndSwap(nil, &identity) {
		return nil
	}
	if first := *c.identity.pin.Load(); first != identity {
		return c.otherSeed(s, fmt.Sprintf("STS says that the controller's own AWS credentials, in %s, are those of %s, and the controller is %s: they are not used. "+
			"Put a seed of that role in place, or restart the controller to let it become the other", s.Name, identity, first))
	}
	return nil
}

// otherSeed makes the Error of a seed that is not accepted. For BaseExpires it has expired.
func (c *Client) otherSeed(s *Seed, message string) *Error {
	if now := c.clock.Now(); c.seed.Load() == s && now.Before(s.Credentials.Expires) {
		c.expires.Store(&now)
	}
	return &Error{Kind: Expired, Code: "SeedOfAnotherRole", message: message}
}

// identityOf returns the role of a session by account and name, or the ARN itself of what is no
// role.
func identityOf(caller string) string {
	if id := role.SessionRole(caller); !id.IsZero() {
		return id.String()
	}
	return caller
}

func accountOf(caller string) string {
	parsed, _ := arn.Parse(caller) // without an account if it is no ARN
	return parsed.AccountID
}
