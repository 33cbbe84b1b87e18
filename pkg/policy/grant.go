package policy

import (
	"fmt"
	"strings"
)

// maxReason bounds a Reason in bytes, so that an event still has room for what is put in front:
// its note holds 1,024 characters. Source: validation of events.k8s.io/v1.
const maxReason = 980

// GrantName returns the name of the Role, and of the RoleBinding, that lets a Subject assume the
// role of a name or ARN: assume:<serviceaccount>:<role>, or assume::<role> for all
// ServiceAccounts of the namespace. Two different requests in a namespace never share a name, so
// that a grant that is applied takes nothing from another: no ServiceAccount has a colon in its
// name, and the two characters that a name in RBAC cannot hold, / and %, are written ~1 and ~2,
// with ~0 for ~ itself. config/admission/pods has the same names.
func GrantName(s Subject, role string) string {
	return Verb + ":" + s.ServiceAccount + ":" + strings.NewReplacer("~", "~0", "/", "~1", "%", "~2").Replace(role)
}

// refusal returns the Reason of a Subject that RBAC allows a role neither by its name nor by its
// ARN. Commands are left out rather than cut.
func refusal(s Subject, role string) string {
	reason := fmt.Sprintf("%s may not assume role %s. To allow it: ", s, printable(role))
	if command, ok := grant(s, role); ok && len(reason)+len(command) <= maxReason {
		return reason + command
	}
	const maxShown = 256
	if len(reason) > maxShown {
		reason = fmt.Sprintf("%s may not assume the role that is asked for, which has a long name. To allow it: ", s)
	}
	return reason + "a Role with the verb assume on awsiamroles.zalando.org, the role's name or ARN as its resourceNames, and a RoleBinding; docs/security.md shows both"
}

// grant returns the commands that allow the Subject the role, and nothing else, for a user
// to run who may grant it. The role's name is the requester's own words: in single quotes a shell
// reads nothing into them. It reports false for a name that is no role's, as IAM has printable
// ASCII characters only.
func grant(s Subject, role string) (commands string, ok bool) {
	if printable(role) != role {
		return "", false
	}
	name := forShell(GrantName(s, role))
	subject := "--serviceaccount=" + s.Namespace + ":" + s.ServiceAccount
	if s.ServiceAccount == "" {
		subject = "--group=system:serviceaccounts:" + s.Namespace
	}
	return fmt.Sprintf("kubectl create role -n %[1]s %[2]s --verb=%[3]s --resource=%[4]s.%[5]s --resource-name=%[6]s && "+
		"kubectl create rolebinding -n %[1]s %[2]s --role=%[2]s %[7]s", s.Namespace, name, Verb, Resource, Group, forShell(role), subject), true
}

// printable returns a text with a question mark for each character that is not printable ASCII:
// such a line cannot pretend to end.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// forShell returns a text as one word of a shell.
func forShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
