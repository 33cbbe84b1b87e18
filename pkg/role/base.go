package role

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Base is where roles are looked up that are requested by name: a partition, an account and a path.
// The zero value is no place.
type Base struct {
	partition string
	account   string
	path      string
}

// ParseBase parses a base role ARN such as arn:aws:iam::123456789012:role/ or
// arn:aws:iam::123456789012:role/team/. The slash at its end is optional.
func ParseBase(s string) (Base, error) {
	parsed, err := parseIAM(s)
	if err != nil {
		return Base{}, err
	}
	path, ok := strings.CutPrefix(strings.TrimSuffix(parsed.Resource, "/")+"/", rolePrefix)
	if !ok {
		return Base{}, fmt.Errorf("%q is not a base role ARN: its resource is %q and not %q, with or without a "+
			"path", s, parsed.Resource, rolePrefix)
	}
	if err := checkPath("/" + path); err != nil {
		return Base{}, err
	}
	return Base{partition: parsed.Partition, account: parsed.AccountID, path: "/" + path}, nil
}

// BaseOf returns the root path of the account of an AWS identity or resource, such as an answer of
// GetCallerIdentity or the ARN of an instance profile.
func BaseOf(identity string) (Base, error) {
	parsed, err := arn.Parse(identity)
	if err != nil || !accountForm.MatchString(parsed.AccountID) || !partitionForm.MatchString(parsed.Partition) {
		return Base{}, fmt.Errorf("%q is not an ARN that names an account", identity)
	}
	return Base{partition: parsed.Partition, account: parsed.AccountID, path: "/"}, nil
}

// IsZero reports whether the base is no place.
func (b Base) IsZero() bool { return b == Base{} }

// Account returns the twelve-digit ID of the base's account, or "" for the zero value.
func (b Base) Account() string { return b.account }

// String returns the base as an ARN that ends in a slash, or "" for the zero value.
func (b Base) String() string {
	if b.IsZero() {
		return ""
	}
	return "arn:" + b.partition + ":iam::" + b.account + ":role" + b.path
}

// Resolve returns the ARN that a role reference of a user means: an ARN means itself; a name, with
// or without a path in front, is looked up under the base.
func (b Base) Resolve(reference string) (ARN, error) {
	if strings.HasPrefix(reference, "arn:") {
		return ParseARN(reference)
	}
	if b.IsZero() {
		return ARN{}, fmt.Errorf("role %q is a name, and no base role ARN is known under which to find it", reference)
	}
	return build(b.partition, b.account, b.path+strings.TrimPrefix(reference, "/"))
}

// CheckReference returns an error if a role reference of a user means no role, whatever the base.
func CheckReference(reference string) error {
	_, err := Base{partition: "aws", account: "123456789012", path: "/"}.Resolve(reference)
	return err
}

// Names returns the names by which authorization knows a role: its ARN, and if it is under the base
// also its name, with the rest of its path.
func (b Base) Names(a ARN) []string {
	if name, ok := strings.CutPrefix(a.String(), b.String()); ok && !b.IsZero() {
		return []string{name, a.String()}
	}
	return []string{a.String()}
}
