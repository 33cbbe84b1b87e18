package credentials

import (
	"context"
	"sync/atomic"

	"kube-aws-iam-controller/pkg/role"
)

// ownIdentity is what a Client and its Own know of who the controller is.
type ownIdentity struct {
	hub             role.ID                        // the intermediate role; zero if there is none
	hubKey, baseKey atomic.Pointer[string]         // the access keys that it and the base gave last
	seed            atomic.Pointer[identifiedSeed] // the seed that STS was asked about last
	pin             atomic.Pointer[string]         // who the first seed was that was accepted; see identityOf
}

// IsOwnRole reports whether the controller itself is a role: that of its base credentials, or the
// one that it assumes first (--assume-role). Roles are compared by account and name; path, case
// and partition are ignored. STS is asked if it is not known who the controller is; an *Error
// means that it stays unknown, so that the role may be the controller's own.
func (c *Client) IsOwnRole(ctx context.Context, r role.ARN) (bool, error) {
	if hub := c.identity.hub; !hub.IsZero() && hub == r.ID() {
		return true, nil
	}
	// Who works as an intermediate role is that role, so only the base is to be asked for.
	own, err := c.own.Caller(ctx)
	return err == nil && own.Is(r), err
}

// UsesKey reports whether an access key is one that the Client works with: that of its base
// credentials or seed, or of its session of the intermediate role. Keys that were replaced, or
// that the Client has not taken up yet, are not. It asks nothing.
func (c *Client) UsesKey(accessKeyID string) bool {
	if accessKeyID == "" {
		return false
	}
	if seed := c.seed.Load(); seed != nil && seed.Credentials.AccessKeyID == accessKeyID {
		return true
	}
	for _, used := range []*string{c.identity.baseKey.Load(), c.identity.hubKey.Load()} {
		if used != nil && *used == accessKeyID {
			return true
		}
	}
	return false
}

// noteBaseKey notes which access key the base gives. Another one may be another identity's.
func (c *Client) noteBaseKey(accessKeyID string) {
	if was := c.identity.baseKey.Swap(&accessKeyID); was != nil && *was != accessKeyID {
		c.forgetCaller()
	}
}

// forgetCaller drops what is remembered of who the controller is, before and after it assumes the
// intermediate role.
func (c *Client) forgetCaller() {
	c.identities.Add(1)
	c.asking.Forget(askingCaller)
	c.caller.Store(nil)
	if c.own != c {
		c.own.forgetCaller()
	}
}
