// Package credentials gets temporary credentials of IAM roles from AWS STS. It is the only user of
// the AWS SDK, and its types keep their secrets out of whatever prints them.
package credentials

import (
	"fmt"
	"io"
	"time"
	"unique"

	"kube-aws-iam-controller/pkg/role"
)

// Credentials are temporary credentials as STS issues them.
type Credentials struct {
	// AccessKeyID is not secret: CloudTrail shows it in every event.
	AccessKeyID     string
	SecretAccessKey Redacted
	SessionToken    Redacted
	// Issued is when STS issued them, by the Client's Clock, in UTC and whole seconds.
	Issued time.Time
	// Expires is when STS stops accepting them, in UTC and whole seconds.
	Expires time.Time
}

const (
	// maxEarly is how long before their end credentials are advertised as expired. Some SDKs (Go,
	// C++, PHP) read a file again only at that time: they then never sign a request with a key that
	// STS no longer accepts.
	maxEarly = 5 * time.Minute
	// earlyShare keeps short sessions usable: they give up at most a tenth of their life.
	earlyShare = 10
)

// UsableUntil returns the expiry to advertise to SDKs: five minutes before the end, for short
// sessions a tenth of their life. A pod that starts later finds no usable credentials.
func (c Credentials) UsableUntil() time.Time {
	return c.Expires.Add(-min(maxEarly, max(0, c.Expires.Sub(c.Issued))/earlyShare)).Truncate(time.Second)
}

// Redacted is a secret. Whatever prints, logs or encodes it gets a placeholder; only Reveal returns
// it. Values are comparable: they are equal if the secrets are. The zero value is the empty secret.
//
// It holds no string, because package fmt prints one as it is where it cannot call methods: in an
// unexported field, or behind a pointer with a verb that does not fit.
type Redacted struct {
	handle unique.Handle[string]
}

// Redact returns a secret that holds the string.
func Redact(secret string) Redacted {
	if secret == "" {
		return Redacted{}
	}
	return Redacted{unique.Make(secret)}
}

// Reveal returns the secret itself. Only code that writes it to its destination calls it.
func (r Redacted) Reveal() string {
	if r == (Redacted{}) {
		return ""
	}
	return r.handle.Value()
}

const placeholder = "[redacted]"

// String returns the placeholder.
func (Redacted) String() string { return placeholder }

// Format writes the placeholder, whatever the verb.
func (Redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, placeholder) }

// MarshalText returns the placeholder; encoders of JSON, YAML and logs use it.
func (Redacted) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// Session describes the session to request from STS: a role, a session name and a duration.
type Session struct {
	Role role.ARN
	// Name is the RoleSessionName.
	Name string
	// Duration is from 15 minutes to 12 hours, in whole seconds.
	Duration time.Duration
	// ExternalID and Tags let the role's owner restrict the session; both are optional.
	ExternalID string
	Tags       map[string]string
	// Namespace is the namespace that the session is for. Namespaces take turns when --sts-qps is
	// reached; a Session without one, which is for the controller itself, does not wait for them.
	// It is not sent to STS.
	Namespace string
}
