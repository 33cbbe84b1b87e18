package credentials

import (
	"bufio"
	"fmt"
	"regexp"
	"strings"

	"kube-aws-iam-controller/pkg/role"
)

// externalIDForm matches the external IDs that STS accepts, up to a length that trust policies use.
// Source: the API reference of AssumeRole, ExternalId.
var externalIDForm = regexp.MustCompile(`^[\w+=,.@:/-]{2,512}$`)

// IsExternalID reports whether STS accepts an external ID.
func IsExternalID(id string) bool { return externalIDForm.MatchString(id) }

// ExternalIDs are the external IDs of roles whose owners dictate one, such as those of vendors. The
// first that matches a role counts.
type ExternalIDs []externalID

type externalID struct {
	roles *regexp.Regexp
	id    string
}

// ParseExternalIDs reads lines of a pattern of role ARNs and an external ID, with white space
// between them. In a pattern, * stands for any characters and ? for one, as in IAM policies. Empty
// lines, and those that begin with #, are left out.
func ParseExternalIDs(text string) (ExternalIDs, error) {
	var all ExternalIDs
	lines := bufio.NewScanner(strings.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
			continue
		case len(fields) != 2:
			return nil, fmt.Errorf("line %d does not have two words: write a pattern of role ARNs and an ExternalId, such as arn:aws:iam::123456789012:role/* vendor-id", number)
		case !strings.HasPrefix(fields[0], "arn:"):
			return nil, fmt.Errorf("line %d: %q is no pattern of role ARNs, such as arn:aws:iam::123456789012:role/*", number, fields[0])
		case !IsExternalID(fields[1]):
			return nil, fmt.Errorf("line %d: STS does not accept the ExternalId: it has 2 to 512 letters, digits and _+=,.@:/-", number)
		}
		all = append(all, externalID{pattern(fields[0]), fields[1]})
	}
	return all, lines.Err()
}

// pattern returns the regular expression of a pattern.
func pattern(p string) *regexp.Regexp {
	return regexp.MustCompile("^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(p)) + "$")
}

// of returns the external ID of a role, if it has one.
func (e ExternalIDs) of(arn role.ARN) (id string, ok bool) {
	for _, one := range e {
		if one.roles.MatchString(arn.String()) {
			return one.id, true
		}
	}
	return "", false
}
