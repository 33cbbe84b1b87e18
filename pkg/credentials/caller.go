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

// Caller is who the controller is for AWS.
type Caller struct {
	// ARN is what GetCallerIdentity answers.
	ARN string
	// Base is where roles are found that are asked for by name.
	Base role.Base
}

// maxChained is the longest session of a role that is assumed by a role. Source: "Role chaining" in the IAM user guide; STS refuses
// to issue more.
const maxChained = time.Hour

// Chained reports whether the controller is itself a role in a session, so that every role it
// assumes is chained.
func (c Caller) Chained() bool { return !role.SessionRole(c.ARN).IsZero() }

// RoleName is the name of the role that the controller is in a session of, or nothing.
func (c Caller) RoleName() string { return role.SessionRoleName(c.ARN) }

// Is reports whether the controller is in a session of a role, by the role's account and name.
// Its path is not known, and the case of a name tells no two roles apart.
func (c Caller) Is(r role.ARN) bool {
	id := role.SessionRole(c.ARN)
	return !id.IsZero() && id == r.ID()
}

// Longest is the longest session, up to the wanted one, that STS can issue to this caller.
func (c Caller) Longest(wanted time.Duration) time.Duration {
	if c.Chained() {
		return min(wanted, maxChained)
	}
	return wanted
}

// principal is what a trust policy names to let this caller in: for a session its role, whose path the session's ARN does not tell.
func (c Caller) principal() string {
	parsed, err := arn.Parse(c.ARN)
	if err != nil || !c.Chained() {
		return c.ARN
	}
	return "arn:" + parsed.Partition + ":iam::" + parsed.AccountID + ":role/" + c.RoleName() + " (with its path, if it has one)"
}

const (
	// callerTimeout bounds finding out who the controller is.
	callerTimeout = 15 * time.Second
	// CallerRetry is when to ask Caller again after an error.
	CallerRetry = 2 * time.Second
	// callerErrorLife is how long Caller repeats an error before it asks STS anew: so that thousands who want to know ask once.
	callerErrorLife = CallerRetry / 2
)

// askingCaller is what all wait for together who want to know the caller.
const askingCaller = "caller"

// callerAnswer is the last answer to who the controller is: for ever, or an error for a while.
type callerAnswer struct {
	caller Caller
	err    error
	until  time.Time // by the machine's clock: a correction must not make the while longer
}

// Caller tells who the controller is. It asks until the first success and remembers the answer
// until STS refuses the credentials, or they are replaced. Where no base role ARN was given it is
// that of the instance's account if there is an instance profile, else that of the caller's.
func (c *Client) Caller(ctx context.Context) (Caller, error) {
	if seed := c.seed.Load(); seed != nil {
		if err := c.usable(seed); err != nil {
			return Caller{}, err
		}
	}
	if known := c.caller.Load(); known != nil && (known.err == nil || c.options.Now().Before(known.until)) {
		return known.caller, known.err
	}
	asking := c.asking.DoChan(askingCaller, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callerTimeout)
		defer cancel()
		identity := c.identities.Load()
		var found Caller
		err := c.retrieve(ctx)
		if err == nil {
			identity = c.identities.Load() // new credentials count as another identity until they are asked about, which is now
			found, err = c.findCaller(ctx)
		}
		answer := &callerAnswer{found, err, c.options.Now().Add(callerErrorLife)}
		if err == nil {
			c.place.Store(&found.Base)
		}
		c.caller.Store(answer)
		if identity != c.identities.Load() { // it may be about credentials that were replaced meanwhile
			c.caller.CompareAndSwap(answer, nil)
		}
		return answer, nil
	})
	select {
	case asked := <-asking:
		answer, _ := asked.Val.(*callerAnswer)
		return answer.caller, answer.err
	case <-ctx.Done():
		return Caller{}, &Error{Kind: Unavailable, Code: "Timeout", message: "STS did not tell in time who the controller is (GetCallerIdentity); tried again"}
	}
}

// CheckClock asks STS for the time, if somebody may have set the machine's clock since STS was heard last. Without an answer all stays as it is: nothing is
// forgotten, and the next check asks again.
func (c *Client) CheckClock(ctx context.Context) {
	if !c.clock.stepped() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callerTimeout)
	defer cancel()
	_, _ = c.own.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}) // who it is was known, and an error tells the time, too
}

// Base is where roles are found that are asked for by name, as far as that is known without asking: by the options, or since the last success
// of Caller. Otherwise it is zero.
func (c *Client) Base() role.Base {
	if known := c.place.Load(); known != nil {
		return *known
	}
	return c.options.Base
}

// findCaller asks STS with the credentials that there are.
func (c *Client) findCaller(ctx context.Context) (Caller, error) {
	is, known := c.seedARN()
	if !known || c.own != c {
		var err error
		if is, err = c.whoIs(ctx, c.sts); err != nil {
			return Caller{}, err
		}
	}
	if !c.options.Base.IsZero() {
		return Caller{ARN: is, Base: c.options.Base}, nil
	}
	base, err := c.findBase(ctx, is)
	return Caller{ARN: is, Base: base}, err
}

// whoIs asks STS whose the credentials of one of its clients are. The error is an *Error.
func (c *Client) whoIs(ctx context.Context, client *sts.Client) (string, error) {
	answer, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err == nil {
		return aws.ToString(answer.Arn), nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return "", known
	}
	c.forgetIfExpired(err)
	kind, code := classify(err)
	if kind == Expired {
		return "", c.refused(code, "so it cannot assume any role")
	}
	return "", &Error{Kind: kind, Code: code, message: "STS does not tell who the controller is (GetCallerIdentity), so no role can be assumed; tried again" + detail(err)}
}

// findBase is the account of the instance's profile, or else the one of the caller.
func (c *Client) findBase(ctx context.Context, caller string) (role.Base, error) {
	if info, err := metadata(&c.config).GetIAMInfo(ctx, &imds.GetIAMInfoInput{}); err == nil {
		if base, err := role.BaseOf(info.InstanceProfileArn); err == nil {
			return base, nil
		}
	}
	base, err := role.BaseOf(caller)
	if err != nil {
		return role.Base{}, &Error{Kind: Rejected, Code: "BaseRoleARN", message: "no base role ARN can be derived from the caller's identity: set --base-role-arn: " + err.Error()}
	}
	return base, nil
}

// retrieve makes sure that the controller has credentials of its own, or says why not.
func (c *Client) retrieve(ctx context.Context) error {
	_, err := c.credentials.Retrieve(ctx)
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	c.forgetIfExpired(err)
	return c.explainIntermediate(err)
}
