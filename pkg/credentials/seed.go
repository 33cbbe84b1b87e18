package credentials

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Seed holds the credentials of a Client that does not get them from the environment.
type Seed struct {
	// Credentials are zero if there are none; Problem then explains why.
	Credentials Credentials
	Problem     string
	// Name is how messages refer to the place that holds the credentials.
	Name string
	// Remedy returns what to do when the credentials cannot be used; nil for a default.
	Remedy func() string
}

// Check returns nil if the credentials have not expired, or an *Error that says what is wrong and
// what to do.
func (s Seed) Check(now time.Time) error {
	switch {
	case s.Problem != "":
		return newError(Absent, "NoSeed", "The controller has no AWS credentials of its own: %s %s. "+
			"%s", s.Name, s.Problem, s.remedy())
	case !now.Before(s.Credentials.Expires):
		return newError(Absent, "SeedExpired", "The controller's own AWS credentials, in %s, expired at %s and could "+
			"not be renewed before. %s",
			s.Name, s.Credentials.Expires.Format(time.RFC3339), s.remedy())
	}
	return nil
}

func (s Seed) remedy() string {
	if s.Remedy == nil {
		return "Put others in place"
	}
	return s.Remedy()
}

// SetSeed replaces the Client's own credentials for all calls that begin from now on. The Client's
// Options must have Seeded set. All seeds must have the identity of the first one that STS
// accepted: others are refused with an Error of Kind Expired and Code SeedOfAnotherRole.
func (c *Client) SetSeed(s Seed) {
	c.seed.Store(&s)
	if s.Problem == "" {
		c.baseExpires.Store(&s.Credentials.Expires)
	}
	c.invalidate()
}

// checkSeed returns an *Error if STS cannot accept the seed. It trusts the expiry only after STS
// refused the seed: by a local clock that is ahead a valid seed looks expired, and only an answer
// of STS corrects the clock.
func (c *Client) checkSeed(s *Seed) error {
	if s.Problem == "" && c.refusedSeed.Load() != s {
		return nil
	}
	return s.Check(c.clock.Now())
}

// seedCredentials implements aws.CredentialsProviderFunc.
func (c *Client) seedCredentials(ctx context.Context) (aws.Credentials, error) {
	s := c.seed.Load()
	if s == nil {
		return aws.Credentials{}, NewError(Absent, "NoSeed", "the controller has not read its seed "+
			"credentials yet; tried again")
	}
	if err := c.checkSeed(s); err != nil {
		return aws.Credentials{}, err
	}
	keys := aws.Credentials{
		AccessKeyID:     s.Credentials.AccessKeyID,
		SecretAccessKey: s.Credentials.SecretAccessKey.Reveal(),
		SessionToken:    s.Credentials.SessionToken.Reveal(),
		CanExpire:       true,
		Expires:         s.Credentials.Expires,
	}
	if err := c.identifySeed(ctx, s, keys); err != nil {
		return aws.Credentials{}, err
	}
	return keys, nil
}

// recordRefusedSeed records that STS refuses the seed and returns the Error, or nil if there is no
// seed.
func (c *Client) recordRefusedSeed(code string) *Error {
	s := c.seed.Load()
	if s == nil {
		return nil
	}
	c.refusedSeed.Store(s)
	return newError(Expired, code, "STS of Region %s refuses the controller's own AWS credentials, in %s (%s): they "+
		"have expired, were revoked, or are of another "+
		"partition than the Region. Set another AWS_REGION, or: %s", c.Region(), s.Name, code, s.remedy())
}
