package seed

import (
	"time"

	"kube-aws-iam-controller/pkg/credentials"
)

// Source is what the reconciler uses of the seed. It is zero if the controller has its credentials
// from elsewhere.
type Source struct {
	// Credentials returns those that are or were in it, if they are good at a time of STS's clock.
	Credentials func(now time.Time) (c credentials.Credentials, ok bool)
	// Observe notes why it was not renewed, or nil.
	Observe func(e *RenewalError)
}
