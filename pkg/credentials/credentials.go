// Package credentials gets temporary credentials of IAM roles from AWS STS. It is the only user of the AWS SDK, and its types keep their
// secrets out of whatever prints them.
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
	// AccessKeyID may be told to anybody: CloudTrail names it in every event.
	AccessKeyID     string
	SecretAccessKey Redacted
	SessionToken    Redacted
	// Issued is when they were had, by the Client's Clock, in UTC and whole seconds.
	Issued time.Time
	// Expires is when STS ceases to accept them, in UTC and whole seconds.
	Expires time.Time
}

const (
	// maxEarly is how much before their end credentials are called expired. Some SDKs (Go, C++, PHP) read a file anew only at that time: they
	// then never sign a request with a key that STS no longer takes.
	maxEarly = 5 * time.Minute
	// earlyShare keeps short sessions usable: no more than a tenth of their life is given up.
	earlyShare = 10
)

// UsableUntil is the expiry to tell SDKs: five minutes before the end, for short sessions a tenth of their life. A pod that
// starts later finds nothing that it can use.
func (c Credentials) UsableUntil() time.Time {
	return c.Expires.Add(-min(maxEarly, max(0, c.Expires.Sub(c.Issued))/earlyShare)).Truncate(time.Second)
}

// Redacted is a secret: what prints, logs or encodes it gets a placeholder, and only Reveal tells it. Values are comparable: they are equal if the
// secrets are. The zero value is the empty secret.
//
// It holds no string, because package fmt prints one as it is where it cannot call methods: in a field that is not exported, or behind a
// pointer with a verb that does not suit.
type Redacted struct {
	handle unique.Handle[string]
}

// Redact makes a secret of a string.
func Redact(secret string) Redacted {
	if secret == "" {
		return Redacted{}
	}
	return Redacted{unique.Make(secret)}
}

// Reveal is the secret itself: for the code that writes it where it belongs, and nobody else.
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

// Session is what to ask STS for: a role, under a name, for a time.
type Session struct {
	Role role.ARN
	// Name is the RoleSessionName.
	Name string
	// Duration is from 15 minutes to 12 hours, in whole seconds.
	Duration time.Duration
	// ExternalID and Tags confine the session, where the role's owner wants that; both are optional.
	ExternalID string
	Tags       map[string]string
	// Namespace is the one that the session is for. Namespaces take turns when --sts-qps is
	// reached; a Session without a namespace, which is for the controller itself, does not wait
	// for them. STS does not get it.
	Namespace string
}
