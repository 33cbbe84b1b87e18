package credentials

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Seed is what a Client is given as credentials of its own, where the environment is not to give them.
type Seed struct {
	// Credentials are zero if there are none; then Lacking says why.
	Credentials Credentials
	Lacking     string
	// Name is what messages call the place where it lies.
	Name string
	// Remedy says what to do when it is of no use; nil for nothing.
	Remedy func() string
}

// Usable tells whether STS still takes the credentials, or why not and what to do.
func (s Seed) Usable(now time.Time) error {
	switch {
	case s.Lacking != "":
		return &Error{Kind: Absent, Code: "NoSeed", message: fmt.Sprintf("The controller has no AWS credentials of its own: %s %s. %s", s.Name, s.Lacking, s.remedy())}
	case !now.Before(s.Credentials.Expires):
		return &Error{Kind: Absent, Code: "SeedExpired", message: fmt.Sprintf("The controller's own AWS credentials, in %s, expired at %s and could not be renewed before. %s",
			s.Name, s.Credentials.Expires.Format(time.RFC3339), s.remedy())}
	}
	return nil
}

func (s Seed) remedy() string {
	if s.Remedy == nil {
		return "Put others in place"
	}
	return s.Remedy()
}

// Plant gives the Client other credentials of its own, for all calls that begin from now on. It
// is for a Client whose Options say Seeded. All must be of who the first were that STS knew:
// others are refused with an Error of Kind Expired and Code SeedOfAnotherRole.
func (c *Client) Plant(s Seed) {
	c.seed.Store(&s)
	if s.Lacking == "" {
		c.expires.Store(&s.Credentials.Expires)
	}
	c.forget()
}

// usable tells whether it is worth to ask STS with a seed. That the seed has expired is believed only after STS refused it: by a clock that is ahead a good
// one looks expired, and only STS's answer can set the clock right.
func (c *Client) usable(s *Seed) error {
	if s.Lacking == "" && c.refusedSeed.Load() != s {
		return nil
	}
	return s.Usable(c.clock.Now())
}

// fromSeed implements aws.CredentialsProviderFunc.
func (c *Client) fromSeed(ctx context.Context) (aws.Credentials, error) {
	s := c.seed.Load()
	if s == nil {
		return aws.Credentials{}, &Error{Kind: Absent, Code: "NoSeed", message: "the controller has not read its seed credentials yet; tried again"}
	}
	if err := c.usable(s); err != nil {
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

// unknownSeed notes that STS refuses the seed and says what to do about it; it is nil where there is no seed.
func (c *Client) unknownSeed(code string) *Error {
	s := c.seed.Load()
	if s == nil {
		return nil
	}
	c.refusedSeed.Store(s)
	return &Error{Kind: Expired, Code: code, message: fmt.Sprintf("STS of Region %s refuses the controller's own AWS credentials, in %s (%s): they have expired, were revoked, or are of another "+
		"partition than the Region. Set another AWS_REGION, or: %s", c.Region(), s.Name, code, s.remedy())}
}
