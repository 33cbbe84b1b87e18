package role

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// ID identifies a role as IAM does: by its account and its name without regard to case. IAM has
// each name only once in an account, whatever the path. The partition is left out, so that a
// comparison errs on the strict side. Values are comparable; the zero value is no role.
//
// Source: "IAM and AWS STS quotas" in the IAM user guide, on names of roles.
type ID struct {
	account string
	name    string // in lower case
}

// ID returns the ID of the role, and the zero value for the zero ARN.
func (a ARN) ID() ID { return ID{account: a.account, name: strings.ToLower(a.name)} }

// SessionRole returns the role of a session, given the ARN that GetCallerIdentity answers for it:
// arn:aws:sts::123456789012:assumed-role/<name>/<session>. It returns the zero value for anything
// else, such as a user.
func SessionRole(sessionARN string) ID {
	name, account := sessionRole(sessionARN)
	return ID{account: account, name: strings.ToLower(name)}
}

// SessionRoleName returns the name of that role as AWS writes it, without its path, which the ARN
// of a session leaves out. It returns "" for anything else.
func SessionRoleName(sessionARN string) string {
	name, _ := sessionRole(sessionARN)
	return name
}

func sessionRole(sessionARN string) (name, account string) {
	parsed, err := arn.Parse(sessionARN)
	if err != nil || parsed.Service != "sts" {
		return "", ""
	}
	rest, ok := strings.CutPrefix(parsed.Resource, "assumed-role/")
	name, _, _ = strings.Cut(rest, "/")
	if !ok || name == "" || parsed.AccountID == "" {
		return "", ""
	}
	return name, parsed.AccountID
}

// IsZero reports whether the ID is that of no role.
func (i ID) IsZero() bool { return i == ID{} }

// String returns the account and the name in lower case, for messages, or "" for the zero value.
func (i ID) String() string {
	if i.IsZero() {
		return ""
	}
	return "role " + i.name + " of account " + i.account
}
