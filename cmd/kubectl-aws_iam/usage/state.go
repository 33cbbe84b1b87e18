package usage

import (
	"time"

	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/secret"
)

// state returns the state of a Usage whose other fields are set.
func (f *found) state(u *Usage, secretsKnown bool, now time.Time) string {
	switch {
	case u.Expires != nil && !now.Before(u.Expires.Time):
		return Expired
	case f.existing != nil && !secret.IsManaged(f.existing):
		return NotManaged
	case u.late(now):
		return Late
	case f.existing != nil && f.asked == nil:
		return Unused
	case f.existing != nil, u.Expires != nil:
		return Ready
	default:
		return f.stateWithoutSecret(secretsKnown)
	}
}

// stateWithoutSecret returns the state of a Usage without a Secret, or with one that is not known.
func (f *found) stateWithoutSecret(secretsKnown bool) string {
	switch {
	case f.asked != nil && f.asked.Validate() != nil:
		return Invalid
	case !secretsKnown:
		return Unknown
	default:
		return Waiting
	}
}

// late reports whether the renewal of the credentials is overdue, whatever --refresh-limit says.
func (u *Usage) late(now time.Time) bool {
	return u.Issued != nil && u.Expires != nil && renewal.Lifetime{Issued: u.Issued.Time, Expires: u.Expires.Time}.Urgent(now)
}
