package credentials

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"kube-aws-iam-controller/pkg/role"
)

// Caller is the controller's AWS identity.
type Caller struct {
	// ARN is the answer of GetCallerIdentity.
	ARN string
	// Base is where roles are looked up that are requested by name.
	Base role.Base
	// SourceIdentity reports whether its session has a source identity, as IAM Roles Anywhere sets
	// it. It stays when a role is assumed, so each role must allow that.
	SourceIdentity bool
}

// maxChained is the longest session of a role that is assumed by a role; STS refuses a longer one.
// Source: "Role chaining" in the IAM user guide.
const maxChained = time.Hour

// Chained reports whether the controller itself runs in a role session, so that every role it
// assumes is chained.
func (c Caller) Chained() bool { return !role.SessionRole(c.ARN).IsZero() }

// RoleName returns the name of the role of the controller's session, or "" if it is in none.
func (c Caller) RoleName() string { return role.SessionRoleName(c.ARN) }

// Is reports whether the controller is in a session of a role. Roles are compared by account and
// name: a session's ARN does not contain the path, and IAM does not distinguish names by case.
func (c Caller) Is(r role.ARN) bool {
	id := role.SessionRole(c.ARN)
	return !id.IsZero() && id == r.ID()
}

// MaxDuration returns the longest session, up to wanted, that STS issues to this caller.
func (c Caller) MaxDuration(wanted time.Duration) time.Duration {
	if c.Chained() {
		return min(wanted, maxChained)
	}
	return wanted
}

// principal returns what a trust policy must name to allow this caller: for a session its role,
// whose path the session's ARN does not contain.
func (c Caller) principal() string {
	parsed, err := arn.Parse(c.ARN)
	if err != nil || !c.Chained() {
		return c.ARN
	}
	return "arn:" + parsed.Partition + ":iam::" + parsed.AccountID + ":role/" + c.RoleName() + " (with its path, if it has one)"
}

const (
	// callerTimeout bounds one attempt to find the controller's identity.
	callerTimeout = 15 * time.Second
	// CallerRetry is the delay after which to call Caller again after an error.
	CallerRetry = 2 * time.Second
	// callerErrorLife is how long Caller repeats an error before it asks STS again, so that
	// thousands of callers make one request.
	callerErrorLife = CallerRetry / 2
)

// callerKey is the singleflight key of Caller.
const callerKey = "caller"

// callerAnswer is the last result of Caller: a success is kept until it is invalidated, an error
// until a time.
type callerAnswer struct {
	caller Caller
	err    error
	until  time.Time // by the local clock: a correction must not extend it
}

// Caller returns the controller's identity. It asks STS until the first success, and keeps the
// answer until STS refuses the credentials or they are replaced. If no base role ARN was given,
// Base is that of the account of the instance profile, or of the caller where there is none.
func (c *Client) Caller(ctx context.Context) (Caller, error) {
	if seed := c.seed.Load(); seed != nil {
		if err := c.checkSeed(seed); err != nil {
			return Caller{}, err
		}
	}
	if known := c.caller.Load(); known != nil && (known.err == nil || c.options.Now().Before(known.until)) {
		return known.caller, known.err
	}
	answers := c.inFlight.DoChan(callerKey, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callerTimeout)
		defer cancel()
		return c.askCaller(ctx), nil
	})
	select {
	case result := <-answers:
		answer, _ := result.Val.(*callerAnswer)
		return answer.caller, answer.err
	case <-ctx.Done():
		return Caller{}, newError(Unavailable, "Timeout",
			"STS did not return the identity of the controller in time (GetCallerIdentity); tried again")
	}
}

// askCaller asks STS for the identity and keeps the answer, unless the credentials were replaced
// meanwhile.
func (c *Client) askCaller(ctx context.Context) *callerAnswer {
	generation := c.identityGeneration.Load()
	var found Caller
	err := c.ensureCredentials(ctx)
	if err == nil {
		generation = c.identityGeneration.Load() // the new credentials are the ones asked about now
		found, err = c.resolveCaller(ctx)
	}
	answer := &callerAnswer{found, err, c.options.Now().Add(callerErrorLife)}
	if err == nil {
		c.lastCaller.Store(&found)
	}
	c.caller.Store(answer)
	if generation != c.identityGeneration.Load() {
		c.caller.CompareAndSwap(answer, nil)
	}
	return answer
}

// CheckClock asks STS for the time if the local clock could have been set since the last answer.
// Without an answer nothing changes, and the next check asks again.
func (c *Client) CheckClock(ctx context.Context) {
	if !c.clock.localClockStepped() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callerTimeout)
	defer cancel()
	_, _ = c.baseClient.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}) // only the Date counts, that of an error too
}

// Base returns where roles are looked up that are requested by name, without a call: from the
// options, or from the last success of Caller. It is zero if neither is known.
func (c *Client) Base() role.Base {
	if known := c.lastCaller.Load(); known != nil {
		return known.Base
	}
	return c.options.Base
}

// resolveCaller asks STS with the current credentials.
func (c *Client) resolveCaller(ctx context.Context) (Caller, error) {
	is, known := c.seedARN()
	if !known || c.baseClient != c {
		var err error
		if is, err = c.callerARN(ctx, c.sts); err != nil {
			return Caller{}, err
		}
	}
	if !c.options.Base.IsZero() {
		return Caller{ARN: is, Base: c.options.Base, SourceIdentity: c.sessions != nil}, nil
	}
	base, err := c.resolveBase(ctx, is)
	return Caller{ARN: is, Base: base, SourceIdentity: c.sessions != nil}, err
}

// callerARN asks STS for the identity of one of its clients. The error is an *Error.
func (c *Client) callerARN(ctx context.Context, client *sts.Client) (string, error) {
	answer, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err == nil {
		return aws.ToString(answer.Arn), nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return "", known
	}
	c.invalidateIfExpired(err)
	kind, code := classify(err)
	if kind == Expired {
		return "", c.refusedError(code, "so it cannot assume any role")
	}
	return "", NewError(kind, code, "STS does not return the identity of the controller "+
		"(GetCallerIdentity), so no role can be assumed; tried again"+detail(err))
}

// resolveBase returns the account of the instance profile, or of the caller if there is none.
func (c *Client) resolveBase(ctx context.Context, caller string) (role.Base, error) {
	if info, err := newMetadataClient(&c.config).GetIAMInfo(ctx, &imds.GetIAMInfoInput{}); err == nil {
		if base, err := role.BaseOf(info.InstanceProfileArn); err == nil {
			return base, nil
		}
	}
	base, err := role.BaseOf(caller)
	if err != nil {
		return role.Base{}, NewError(Rejected, "BaseRoleARN", "no base role ARN can be derived from "+
			"the caller's identity: set --base-role-arn: "+err.Error())
	}
	return base, nil
}

// ensureCredentials returns an *Error if the controller has no credentials of its own.
func (c *Client) ensureCredentials(ctx context.Context) error {
	_, err := c.credentials.Retrieve(ctx)
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	c.invalidateIfExpired(err)
	return c.explainIntermediate(err)
}
