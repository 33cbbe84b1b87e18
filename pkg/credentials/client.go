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

// Options of a Client. The AWS settings proper (Region, endpoint, profile, credentials) come from
// the SDK's own environment variables.
type Options struct {
	// Base is where roles are looked up that are requested by name. Default: that of the caller.
	Base role.Base
	// Intermediate, if it has a role, is assumed first, and all other roles from it. Its name is
	// also that of a web identity session, unless AWS_ROLE_SESSION_NAME is set.
	Intermediate Session
	// Seeded restricts the Client to the credentials that SetSeed sets.
	Seeded bool
	// RolesAnywhere, if set, is where the Client gets its base credentials from.
	RolesAnywhere *RolesAnywhere
	// QPS limits how many roles are assumed in a second; the burst is the same. Namespaces that
	// wait take turns.
	QPS float64
	// Now returns the time of the local clock, which can be wrong.
	Now func() time.Time
	// Elapsed returns the time since some moment by the local monotonic clock. Default: the
	// monotonic reading of Now.
	Elapsed func() time.Duration
	// ClockCorrected, if set, is called when the answers of STS show that the local clock is wrong,
	// with how far it is ahead (negative if it is behind), or that it is right again, with zero.
	ClockCorrected func(ahead time.Duration)
	// Observe, if set, is called after each attempt at a call of STS, with the error code or "OK".
	Observe func(operation, code string, took time.Duration)
}

// Client is the only caller of STS. It is safe for concurrent use.
type Client struct {
	*baseState // shared with baseClient

	options     Options
	config      aws.Config
	clock       *Clock
	base        *aws.CredentialsCache // from the environment, the seed or IAM Roles Anywhere
	credentials *aws.CredentialsCache // of the client that assumes roles: base, or the intermediate role
	sts         *sts.Client
	limit       *fairrate.Limiter
	baseClient  *Client // see BaseClient

	identityGeneration atomic.Int64 // counts possible changes of the caller
	caller             atomic.Pointer[callerAnswer]
	lastCaller         atomic.Pointer[Caller] // the last success of Caller
	inFlight           singleflight.Group
}

// baseState is what is known about the base credentials, and about the controller's identity.
type baseState struct {
	intermediate role.ID        // the role that is assumed first; zero if there is none
	configured   role.ID        // the role that the settings name as the base; zero if they name none
	http         *http.Client   // of all calls but the SDK's own: see newHTTPClient
	sessions     *sessionSource // nil without IAM Roles Anywhere

	seed           atomic.Pointer[Seed]
	refusedSeed    atomic.Pointer[Seed]           // the last one that STS refused
	identifiedSeed atomic.Pointer[identifiedSeed] // the last one that STS was asked about
	pinnedIdentity atomic.Pointer[string]         // of the first accepted seed; see identityOf

	baseSource      atomic.Pointer[string]    // the SDK's name for where the credentials came from
	baseExpires     atomic.Pointer[time.Time] // nil for never
	baseKey         atomic.Pointer[string]    // the last access key of the base
	intermediateKey atomic.Pointer[string]    // the last access key of the intermediate role
}

const (
	// attemptTimeout bounds one attempt at a call of STS, which usually takes well below a second.
	attemptTimeout = 5 * time.Second
	// maxAttempts covers failures that pass within seconds; longer ones are retried by the work
	// queue. AWS_MAX_ATTEMPTS overrides it.
	maxAttempts  = 3
	maxBackoff   = 2 * time.Second
	idleConns    = 100
	expiryWindow = 5 * time.Minute
)

// New reads the AWS settings. It returns an error if they are wrong or name no Region. It makes no
// call, unless the Region is missing: then it asks the instance's metadata service.
func New(ctx context.Context, o Options) (*Client, error) {
	cfg, load, err := loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	client, err := newHTTPClient(&cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{
		baseState: &baseState{intermediate: o.Intermediate.Role.ID(), http: client}, options: o, config: cfg, clock: newClock(&o),
		limit: fairrate.New(o.QPS, max(1, int(o.QPS))),
	}
	if o.RolesAnywhere != nil {
		if c.sessions, err = newSessionSource(ctx, o.RolesAnywhere, &cfg); err != nil {
			return nil, err
		}
	}
	c.configured = configuredRole(&o)
	load = append(load, c.sdkCallOptions()...)
	c.base = c.cache(c.trackBase(func(ctx context.Context) (aws.Credentials, error) {
		switch {
		case o.Seeded:
			return c.seedCredentials(ctx)
		case c.sessions != nil:
			return c.sessionCredentials(ctx)
		default:
			return c.environmentCredentials(ctx, load...)
		}
	}))
	c.credentials, c.baseClient = c.base, c
	if !o.Intermediate.Role.IsZero() {
		c.baseClient = c.newBaseClient()
		c.credentials = c.cache(c.intermediateProvider())
	}
	c.sts = c.client(c.credentials)
	return c, nil
}

// loadConfig returns the AWS settings, and the options with which to load them again.
func loadConfig(ctx context.Context) (aws.Config, []func(*config.LoadOptions) error, error) {
	client := awshttp.NewBuildableClient().WithTimeout(attemptTimeout).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = idleConns
	})
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(client),
		config.WithLogger(logging.Nop{}), // the errors contain all of it
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return cfg, nil, errors.New("the AWS settings in the environment are wrong: " + describeSettingsError(ctx, err))
	}
	if cfg.Region == "" {
		if cfg.Region, err = instanceRegion(ctx, newMetadataClient(&cfg)); err != nil {
			return cfg, nil, fmt.Errorf("no AWS Region is set: set the environment variable AWS_REGION, such as "+
				"AWS_REGION=eu-central-1. It would also come from the instance's metadata service, but that "+
				"%s", describeInstanceError(err))
		}
	}
	attempts := cmp.Or(cfg.RetryMaxAttempts, maxAttempts)
	load = append(load, config.WithRegion(cfg.Region), config.WithRetryer(func() aws.Retryer {
		return retry.AddWithMaxAttempts(retry.AddWithMaxBackoffDelay(retry.NewStandard(), maxBackoff), attempts)
	}))
	return cfg, load, nil
}

// newBaseClient returns a Client that works with the base credentials.
func (c *Client) newBaseClient() *Client {
	o := c.options
	o.Intermediate = Session{}
	base := &Client{
		baseState: c.baseState, options: o, config: c.config, clock: c.clock, limit: c.limit, base: c.base, credentials: c.base,
	}
	base.baseClient, base.sts = base, base.client(c.base)
	return base
}

// BaseClient returns the Client that works with the base credentials, and not as the intermediate
// role. It is c itself if there is no intermediate role.
func (c *Client) BaseClient() *Client { return c.baseClient }

// Clock returns the clock of STS.
func (c *Client) Clock() *Clock { return c.clock }

// trackBase records the expiry and the access key of the base credentials.
func (c *Client) trackBase(retrieve aws.CredentialsProviderFunc) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		got, err := retrieve(ctx)
		switch {
		case err != nil: // the credentials before keep their expiry
		case got.CanExpire:
			c.baseExpires.Store(&got.Expires)
		default:
			c.baseExpires.Store(nil)
		}
		if err == nil {
			c.setBaseKey(got.AccessKeyID)
		}
		return got, err
	})
}

// BaseExpires returns when the base credentials expire, those before any --assume-role. It is zero
// if they never expire, or were not retrieved yet.
func (c *Client) BaseExpires() time.Time {
	if at := c.baseExpires.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// instanceRegion asks the metadata service for the instance's Region.
func instanceRegion(ctx context.Context, instance *imds.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	answer, err := instance.GetRegion(ctx, &imds.GetRegionInput{})
	if err != nil {
		return "", err
	}
	return answer.Region, nil
}

// newMetadataClient returns a client of the instance's metadata service. Outside EC2 its calls fail
// within seconds.
func newMetadataClient(cfg *aws.Config) *imds.Client {
	return imds.NewFromConfig(*cfg, func(o *imds.Options) { o.Retryer = retry.NewStandard() })
}

// cache keeps credentials until shortly before they expire. The SDK's cache compares with the local
// clock, so it gets an expiry by that clock.
func (c *Client) cache(p aws.CredentialsProvider) *aws.CredentialsCache {
	byTheMachine := func(ctx context.Context) (aws.Credentials, error) {
		got, err := p.Retrieve(ctx)
		got.Expires = got.Expires.Add(c.clock.Offset())
		return got, err
	}
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(byTheMachine), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = expiryWindow })
}

// Region returns the AWS Region of the environment.
func (c *Client) Region() string { return c.config.Region }

// Assume returns credentials for a session, or an *Error. They are complete, not expired, and
// issued for this call alone. If STS refuses the controller's own credentials as expired, Assume
// reads them again and retries once.
func (c *Client) Assume(ctx context.Context, s Session) (Credentials, error) {
	if err := c.limit.Wait(ctx, s.Namespace); err != nil {
		return Credentials{}, newError(Throttled, "LocalRateLimit", "more roles are requested than --sts-qps allows: "+
			"credentials of role %s are late", s.Role)
	}
	caller, err := c.Caller(ctx)
	if err != nil {
		return Credentials{}, err
	}
	credentials, err := c.assume(ctx, s)
	if c.invalidateIfExpired(err) {
		credentials, err = c.assume(ctx, s)
		c.invalidateIfExpired(err)
	}
	if err == nil {
		return credentials, nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return Credentials{}, known
	}
	if kind, code := classify(err); kind == Expired {
		return Credentials{}, c.refusedError(code, fmt.Sprintf("so it cannot assume role %s", s.Role))
	}
	return Credentials{}, explain(err, s, caller)
}

// invalidateIfExpired invalidates the controller's own credentials if the error is of Kind Expired.
// It reports whether it did.
func (c *Client) invalidateIfExpired(err error) bool {
	if err == nil {
		return false
	}
	if kind, _ := classify(err); kind != Expired {
		return false
	}
	c.invalidate()
	return true
}

// invalidate drops the cached credentials of the controller and its identity.
func (c *Client) invalidate() {
	c.base.Invalidate()
	c.credentials.Invalidate()
	c.identifiedSeed.Store(nil)
	c.invalidateCaller()
}

// assumeRoleInput returns the parameters of the call for a session.
func assumeRoleInput(s Session) *sts.AssumeRoleInput {
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

// assume makes the call and checks the answer.
func (c *Client) assume(ctx context.Context, s Session) (Credentials, error) {
	if err := c.ensureCredentials(ctx); err != nil {
		return Credentials{}, err
	}
	answer, err := c.sts.AssumeRole(ctx, assumeRoleInput(s))
	if err != nil {
		return Credentials{}, err
	}
	return c.checkAnswer(s.Role, answer.Credentials)
}

// checkAnswer returns the credentials of a role that STS answered with.
func (c *Client) checkAnswer(of role.ARN, got *ststypes.Credentials) (Credentials, error) {
	issued := c.clock.Now().UTC().Truncate(time.Second)
	if got == nil || aws.ToString(got.AccessKeyId) == "" || aws.ToString(got.SecretAccessKey) == "" || aws.ToString(got.SessionToken) == "" ||
		got.Expiration == nil || !got.Expiration.After(issued) {
		return Credentials{}, newError(Unavailable, "BadAnswer",
			"STS answered for role %s with credentials that are incomplete or have expired: they are not used, and it "+
				"is asked again", of)
	}
	return Credentials{
		AccessKeyID:     *got.AccessKeyId,
		SecretAccessKey: Redact(*got.SecretAccessKey),
		SessionToken:    Redact(*got.SessionToken),
		Issued:          issued,
		Expires:         got.Expiration.UTC().Truncate(time.Second),
	}, nil
}
