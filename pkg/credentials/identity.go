package credentials

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/config"

	"kube-aws-iam-controller/pkg/role"
)

// IsOwnRole reports whether the controller itself is a role: that of its base credentials, or the
// one that it assumes first (--assume-role). Roles are compared by account and name; path, case and
// partition are ignored. It asks STS if the identity is not known; an *Error means that it is still
// unknown, so that the role can be the controller's own.
func (c *Client) IsOwnRole(ctx context.Context, r role.ARN) (bool, error) {
	if !c.intermediate.IsZero() && c.intermediate == r.ID() {
		return true, nil
	}
	// A controller with an intermediate role is that role, so only the base is left to compare.
	own, err := c.baseClient.Caller(ctx)
	return err == nil && own.Is(r), err
}

// IsKnownOwnRole is IsOwnRole without a call: by the settings that name a role, and by the last
// answer of STS. It reports false if there is neither, such as without AWS credentials.
func (c *Client) IsKnownOwnRole(r role.ARN) bool {
	if !c.intermediate.IsZero() && c.intermediate == r.ID() {
		return true
	}
	if !c.configured.IsZero() && c.configured == r.ID() {
		return true
	}
	own := c.baseClient.lastCaller.Load()
	return own != nil && own.Is(r)
}

// configuredRole returns the role that the settings name as that of the base credentials: for IAM
// Roles Anywhere, or the SDK's AWS_ROLE_ARN. It is zero if they name none.
func configuredRole(o *Options) role.ID {
	if o.RolesAnywhere != nil {
		return o.RolesAnywhere.Role.ID()
	}
	env, err := config.NewEnvConfig()
	if err != nil || o.Seeded {
		return role.ID{}
	}
	named, err := role.ParseARN(env.RoleARN)
	if err != nil {
		return role.ID{}
	}
	return named.ID()
}

// UsesKey reports whether the Client works with an access key: that of its base credentials or
// seed, or of its session of the intermediate role. Keys that were replaced, or not taken up yet,
// do not count. It makes no call.
func (c *Client) UsesKey(accessKeyID string) bool {
	if accessKeyID == "" {
		return false
	}
	if seed := c.seed.Load(); seed != nil && seed.Credentials.AccessKeyID == accessKeyID {
		return true
	}
	for _, used := range []*string{c.baseKey.Load(), c.intermediateKey.Load()} {
		if used != nil && *used == accessKeyID {
			return true
		}
	}
	return false
}

// setBaseKey records the access key of the base. Another key can belong to another identity.
func (c *Client) setBaseKey(accessKeyID string) {
	if was := c.baseKey.Swap(&accessKeyID); was != nil && *was != accessKeyID {
		c.invalidateCaller()
	}
}

// invalidateCaller drops the known identity of the controller, before and after it assumes the
// intermediate role.
func (c *Client) invalidateCaller() {
	c.identityGeneration.Add(1)
	c.inFlight.Forget(callerKey)
	c.caller.Store(nil)
	if c.baseClient != c {
		c.baseClient.invalidateCaller()
	}
}
