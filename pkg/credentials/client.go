package credentials

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/logging"
	"golang.org/x/sync/singleflight"

	"kube-aws-iam-controller/pkg/fairrate"
	"kube-aws-iam-controller/pkg/role"
)

// Options of a Client. The AWS settings proper (Region, endpoint, profile, credentials) come from the SDK's own environment variables.
type Options struct {
	// Base is where roles are found that are asked for by name; if it is zero, the Client finds out.
	Base role.Base
	// Intermediate, if it has a role, is what the Client assumes first and from which it assumes all others. Its name is also that of a session that the
	// Client has by a web identity, unless AWS_ROLE_SESSION_NAME says otherwise.
	Intermediate Session
	// Seeded lets the Client have no credentials but those that Plant gives it.
	Seeded bool
	// QPS is how many roles are assumed in a second at most; the burst is the same. Namespaces
	// that wait take turns.
	QPS float64
	// Now is the time by the machine's clock, which may be wrong.
	Now func() time.Time
	// Elapsed is the time that has passed since some moment, by the machine's monotonic clock. Default: what Now tells of it.
	Elapsed func() time.Duration
	// ClockCorrected, if set, is called when STS's answers show that the machine's clock is wrong, and by how much it is ahead (behind if that is negative),
	// or that it is right again: zero.
	ClockCorrected func(ahead time.Duration)
	// Observe, if set, is called after each attempt at a call of STS, with the error code or "OK".
	Observe func(operation, code string, took time.Duration)
}

// Client is the one caller of STS. It is safe for concurrent use.
type Client struct {
	options     Options
	config      aws.Config
	clock       *Clock
	base        *aws.CredentialsCache // what the environment gives, or the seed
	credentials *aws.CredentialsCache // what roles are assumed with: base, or the intermediate role
	sts         *sts.Client
	limit       *fairrate.Limiter
	seed        *atomic.Pointer[Seed]
	refusedSeed *atomic.Pointer[Seed]      // the one that STS refused last
	expires     *atomic.Pointer[time.Time] // when what base last gave expires
	origin      *atomic.Pointer[string]    // what the SDK calls the place that base's credentials came from
	own         *Client                    // the same with base's credentials
	identities  atomic.Int64               // how often the caller may have become another
	caller      atomic.Pointer[callerAnswer]
	place       atomic.Pointer[role.Base] // the last one known
	asking      singleflight.Group
	identity    *ownIdentity
}

const (
	// attemptTimeout bounds one attempt at a call of STS, which usually takes well below a second.
	attemptTimeout = 5 * time.Second
	// maxAttempts, unless AWS_MAX_ATTEMPTS says otherwise, is for what passes within seconds. What lasts longer is the work queue's to retry.
	maxAttempts  = 3
	maxBackoff   = 2 * time.Second
	idleConns    = 100
	expiryWindow = 5 * time.Minute
)

// New reads the AWS settings. It returns an error if they are wrong or name no Region. It asks nobody yet, unless they name no Region: then the
// instance's metadata service.
func New(ctx context.Context, o Options) (*Client, error) {
	client := awshttp.NewBuildableClient().WithTimeout(attemptTimeout).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = idleConns
	})
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(client),
		config.WithLogger(logging.Nop{}), // all it says is in the errors
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, errors.New("the AWS settings in the environment are wrong: " + settingsTrouble(ctx, err))
	}
	if cfg.Region == "" {
		if cfg.Region, err = instanceRegion(ctx, metadata(&cfg)); err != nil {
			return nil, fmt.Errorf("no AWS Region is set: set the environment variable AWS_REGION, such as AWS_REGION=eu-central-1. It would also come from the instance's metadata service, but that %s", instanceTrouble(err))
		}
	}
	load = append(load, config.WithRegion(cfg.Region), config.WithRetryer(func() aws.Retryer {
		return retry.AddWithMaxAttempts(retry.AddWithMaxBackoffDelay(retry.NewStandard(), maxBackoff), cmp.Or(cfg.RetryMaxAttempts, maxAttempts))
	}))
	c := &Client{
		options: o, config: cfg, limit: fairrate.New(o.QPS, max(1, int(o.QPS))),
		clock: newClock(&o),
		seed:  &atomic.Pointer[Seed]{}, refusedSeed: &atomic.Pointer[Seed]{}, expires: &atomic.Pointer[time.Time]{}, origin: &atomic.Pointer[string]{},
		identity: &ownIdentity{hub: o.Intermediate.Role.ID()},
	}
	load = append(load, c.ofTheSDKsOwnCalls()...)
	c.base = c.cached(c.timed(func(ctx context.Context) (aws.Credentials, error) {
		if o.Seeded {
			return c.fromSeed(ctx)
		}
		return c.fromEnvironment(ctx, load...)
	}))
	c.credentials, c.own = c.base, c
	if !o.Intermediate.Role.IsZero() {
		c.own = c.beforeIntermediate()
		c.credentials = c.cached(c.throughIntermediate())
	}
	c.sts = c.client(c.credentials)
	return c, nil
}

// beforeIntermediate is a Client that is what this one is before it assumes the intermediate role. It shares all that is about the base.
func (c *Client) beforeIntermediate() *Client {
	o := c.options
	o.Intermediate = Session{}
	own := &Client{
		options: o, config: c.config, clock: c.clock, limit: c.limit, base: c.base, credentials: c.base,
		seed: c.seed, refusedSeed: c.refusedSeed, expires: c.expires, origin: c.origin,
		identity: c.identity,
	}
	own.own, own.sts = own, own.client(c.base)
	return own
}

// Own is the Client as itself, and not as the intermediate role. Without an intermediate role it is the same.
func (c *Client) Own() *Client { return c.own }

// Clock is that of STS, as far as its answers tell.
func (c *Client) Clock() *Clock { return c.clock }

// timed notes when the base credentials expire, and their access key.
func (c *Client) timed(retrieve aws.CredentialsProviderFunc) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		got, err := retrieve(ctx)
		switch {
		case err != nil: // what there was before expires when it does
		case got.CanExpire:
			c.expires.Store(&got.Expires)
		default:
			c.expires.Store(nil)
		}
		if err == nil {
			c.noteBaseKey(got.AccessKeyID)
		}
		return got, err
	})
}

// BaseExpires is when the credentials expire that the Client itself has, before any --assume-role; zero if they never do, or none were had yet.
func (c *Client) BaseExpires() time.Time {
	if at := c.expires.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// instanceRegion is the Region of the instance that the controller runs on.
func instanceRegion(ctx context.Context, instance *imds.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	answer, err := instance.GetRegion(ctx, &imds.GetRegionInput{})
	if err != nil {
		return "", err
	}
	return answer.Region, nil
}

// metadata is a client of the instance's metadata service. Elsewhere than on EC2 nobody answers, which it finds out within seconds.
func metadata(cfg *aws.Config) *imds.Client {
	return imds.NewFromConfig(*cfg, func(o *imds.Options) { o.Retryer = retry.NewStandard() })
}

// cached keeps credentials until shortly before they expire. The SDK's cache knows no clock but the machine's, so it is told an expiry by that one.
func (c *Client) cached(p aws.CredentialsProvider) *aws.CredentialsCache {
	byTheMachine := func(ctx context.Context) (aws.Credentials, error) {
		got, err := p.Retrieve(ctx)
		got.Expires = got.Expires.Add(c.clock.Ahead())
		return got, err
	}
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(byTheMachine), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = expiryWindow })
}

// Region is the AWS Region of the environment.
func (c *Client) Region() string { return c.config.Region }

// Assume returns credentials for a session, or an *Error. They are complete, not expired, and nobody else has them. If the
// controller's own credentials are refused as expired, it reads them anew and tries once more.
func (c *Client) Assume(ctx context.Context, s Session) (Credentials, error) {
	if err := c.limit.Wait(ctx, s.Namespace); err != nil {
		return Credentials{}, &Error{Kind: Throttled, Code: "LocalRateLimit", message: fmt.Sprintf("more roles are wanted than --sts-qps allows: credentials of role %s are late", s.Role)}
	}
	caller, err := c.Caller(ctx)
	if err != nil {
		return Credentials{}, err
	}
	credentials, err := c.assume(ctx, s)
	if c.forgetIfExpired(err) {
		credentials, err = c.assume(ctx, s)
		c.forgetIfExpired(err)
	}
	if err == nil {
		return credentials, nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return Credentials{}, known
	}
	if kind, code := classify(err); kind == Expired {
		return Credentials{}, c.refused(code, fmt.Sprintf("so it cannot assume role %s", s.Role))
	}
	return Credentials{}, explain(err, s, caller)
}

// forgetIfExpired drops what is remembered of the controller's own credentials, if the error says that they are good no longer.
func (c *Client) forgetIfExpired(err error) bool {
	if err == nil {
		return false
	}
	if kind, _ := classify(err); kind != Expired {
		return false
	}
	c.forget()
	return true
}

// forget drops what is remembered of the controller's own credentials.
func (c *Client) forget() {
	c.base.Invalidate()
	c.credentials.Invalidate()
	c.identity.seed.Store(nil)
	c.forgetCaller()
}

// input is the call that asks for a session.
func input(s Session) *sts.AssumeRoleInput {
	in := &sts.AssumeRoleInput{
		RoleArn:         aws.String(s.Role.String()),
		RoleSessionName: aws.String(s.Name),
		DurationSeconds: aws.Int32(int32(s.Duration.Seconds())),
	}
	if s.ExternalID != "" {
		in.ExternalId = aws.String(s.ExternalID)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
		in.Tags = append(in.Tags, ststypes.Tag{Key: aws.String(key), Value: aws.String(s.Tags[key])})
	}
	return in
}

// assume makes the one call and checks the answer.
func (c *Client) assume(ctx context.Context, s Session) (Credentials, error) {
	if err := c.retrieve(ctx); err != nil {
		return Credentials{}, err
	}
	answer, err := c.sts.AssumeRole(ctx, input(s))
	if err != nil {
		return Credentials{}, err
	}
	issued := c.clock.Now().UTC().Truncate(time.Second)
	got := answer.Credentials
	if got == nil || aws.ToString(got.AccessKeyId) == "" || aws.ToString(got.SecretAccessKey) == "" || aws.ToString(got.SessionToken) == "" ||
		got.Expiration == nil || !got.Expiration.After(issued) {
		return Credentials{}, &Error{Kind: Unavailable, Code: "BadAnswer", message: fmt.Sprintf(
			"STS answered for role %s with credentials that are incomplete or have expired: they are not used, and it is asked again", s.Role)}
	}
	return Credentials{
		AccessKeyID:     *got.AccessKeyId,
		SecretAccessKey: Redact(*got.SecretAccessKey),
		SessionToken:    Redact(*got.SessionToken),
		Issued:          issued,
		Expires:         got.Expiration.UTC().Truncate(time.Second),
	}, nil
}
