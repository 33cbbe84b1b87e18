package role

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Base is the place under which roles are found that are asked for by name: a partition, an account and a path. The zero
// value is no place.
type Base struct {
	partition string
	account   string
	path      string
}

// ParseBase reads a base role ARN such as arn:aws:iam::123456789012:role/ or arn:aws:iam::123456789012:role/team/. The slash at its
// end may be missing.
func ParseBase(s string) (Base, error) {
	parsed, err := parseIAM(s)
	if err != nil {
		return Base{}, err
	}
	path, ok := strings.CutPrefix(strings.TrimSuffix(parsed.Resource, "/")+"/", rolePrefix)
	if !ok {
		return Base{}, fmt.Errorf("%q is not a base role ARN: its resource is %q and not %q, with or without a path", s, parsed.Resource, rolePrefix)
	}
	if err := checkPath("/" + path); err != nil {
		return Base{}, err
	}
	return Base{partition: parsed.Partition, account: parsed.AccountID, path: "/" + path}, nil
}

// BaseOf is the root path of the account in which an AWS identity or resource lives: what GetCallerIdentity answers, the ARN of
// an instance profile.
func BaseOf(identity string) (Base, error) {
	parsed, err := arn.Parse(identity)
	if err != nil || !accountForm.MatchString(parsed.AccountID) || !partitionForm.MatchString(parsed.Partition) {
		return Base{}, fmt.Errorf("%q is not an ARN that names an account", identity)
	}
	return Base{partition: parsed.Partition, account: parsed.AccountID, path: "/"}, nil
}

// IsZero tells whether the base is no place at all.
func (b Base) IsZero() bool { return b == Base{} }

// Account returns the twelve-digit ID of the base's account, or nothing for the zero value.
func (b Base) Account() string { return b.account }

// String is the base as an ARN that ends in a slash, or nothing for the zero value.
func (b Base) String() string {
	if b.IsZero() {
		return ""
	}
	return "arn:" + b.partition + ":iam::" + b.account + ":role" + b.path
}

// Resolve turns what a user wrote into a role's ARN: an ARN stands for itself; a name, with or without a path in front, lies under
// the base.
func (b Base) Resolve(reference string) (ARN, error) {
	if strings.HasPrefix(reference, "arn:") {
		return ParseARN(reference)
	}
	if b.IsZero() {
		return ARN{}, fmt.Errorf("role %q is a name, and no base role ARN is known under which to find it", reference)
	}
	return build(b.partition, b.account, b.path+strings.TrimPrefix(reference, "/"))
}

// Names are what a role is called in this place: its name, with what is left of its path, if it lies under the base; and always its ARN.
// Authorization knows a role by each of them.
func (b Base) Names(a ARN) []string {
	if name, ok := strings.CutPrefix(a.String(), b.String()); ok && !b.IsZero() {
		return []string{name, a.String()}
	}
	return []string{a.String()}
}
