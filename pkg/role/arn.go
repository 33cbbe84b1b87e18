// Package role provides the IAM role as a value: its parsed ARN, how a role reference in a pod or
// an AWSIAMRole resolves to an ARN, and the name of the session in which the role is assumed.
package role

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// ARN identifies one IAM role of one account and partition. The zero value identifies none. Values
// are comparable: two ARNs are the same role if they are equal.
type ARN struct {
	partition string
	account   string
	path      string // begins and ends with a slash; "/" is the root
	name      string
}

const (
	maxNameLength = 64
	maxPathLength = 512
	rolePrefix    = "role/"
)

// The constraints of IAM, from the API reference of CreateRole (RoleName and Path) and the format
// of ARNs in the IAM user guide.
var (
	nameForm      = regexp.MustCompile(`^[\w+=,.@-]+$`)
	pathForm      = regexp.MustCompile(`^/([\x21-\x7E]+/)?$`)
	accountForm   = regexp.MustCompile(`^[0-9]{12}$`)
	partitionForm = regexp.MustCompile(`^aws[a-z0-9-]*$`)
)

// ParseARN parses the ARN of a role, with or without a path, in any partition. The error names the
// part that is wrong.
func ParseARN(s string) (ARN, error) {
	parsed, err := parseIAM(s)
	if err != nil {
		return ARN{}, err
	}
	resource, ok := strings.CutPrefix(parsed.Resource, rolePrefix)
	if !ok {
		return ARN{}, fmt.Errorf("%q is not the ARN of a role: its resource is %q and not %q followed by a "+
			"name", s, parsed.Resource, rolePrefix)
	}
	return build(parsed.Partition, parsed.AccountID, "/"+resource)
}

// parseIAM parses what the ARNs of all IAM resources have in common: a partition, the service iam,
// no Region and an account.
func parseIAM(s string) (arn.ARN, error) {
	parsed, err := arn.Parse(s)
	switch {
	case err != nil:
		return parsed, fmt.Errorf("%q is not an ARN of the form arn:aws:iam::123456789012:role/name", s)
	case !partitionForm.MatchString(parsed.Partition):
		return parsed, fmt.Errorf("%q names no AWS partition: %q", s, parsed.Partition)
	case parsed.Service != "iam" || parsed.Region != "":
		return parsed, fmt.Errorf("%q is not an ARN of IAM", s)
	case !accountForm.MatchString(parsed.AccountID):
		return parsed, fmt.Errorf("%q has no account ID of twelve digits", s)
	}
	return parsed, nil
}

// build checks a path that ends in a role's name, such as "/team/name", and joins it with partition
// and account.
func build(partition, account, full string) (ARN, error) {
	cut := strings.LastIndexByte(full, '/') + 1
	path, name := full[:cut], full[cut:]
	if err := checkName(name); err != nil {
		return ARN{}, err
	}
	if err := checkPath(path); err != nil {
		return ARN{}, err
	}
	return ARN{partition: partition, account: account, path: path, name: name}, nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of the role is missing")
	case len(name) > maxNameLength:
		return fmt.Errorf("role name %q has %d characters: IAM allows %d", name, len(name), maxNameLength)
	case !nameForm.MatchString(name):
		return fmt.Errorf("role name %q has a character that IAM does not allow: letters, digits and _+=,.@- are", name)
	}
	return nil
}

func checkPath(path string) error {
	if len(path) > maxPathLength || !pathForm.MatchString(path) {
		return fmt.Errorf("role path %q is not a path that IAM allows: at most %d printable ASCII characters between "+
			"two slashes", path, maxPathLength)
	}
	return nil
}

// IsZero reports whether the ARN identifies no role.
func (a ARN) IsZero() bool { return a == ARN{} }

// Account returns the twelve-digit ID of the role's account.
func (a ARN) Account() string { return a.account }

// Partition returns the AWS partition of the role, such as aws or aws-cn.
func (a ARN) Partition() string { return a.partition }

// Name returns the role's name without its path.
func (a ARN) Name() string { return a.name }

// String returns the ARN as AWS writes it, or "" for the zero value.
func (a ARN) String() string {
	if a.IsZero() {
		return ""
	}
	return "arn:" + a.partition + ":iam::" + a.account + ":role" + a.path + a.name
}
