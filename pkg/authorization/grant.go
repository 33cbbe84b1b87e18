package authorization

import (
	"fmt"
	"strings"
)

// maxMessage limits Decision.Message, in bytes. An event's note has at most 1,024 characters; the
// rest is for what callers put before the message. Source: validation of events.k8s.io/v1.
const maxMessage = 980

// GrantName returns the name of the Role and RoleBinding that allow a Subject to assume a role,
// given by its name or ARN: assume:<serviceaccount>:<role>, or assume::<role> for all
// ServiceAccounts of the namespace. Different grants in a namespace have different names, so that
// applying one never overwrites another: the name of a ServiceAccount has no colon, and ~1 and ~2
// stand for / and %, which names in RBAC cannot have, and ~0 for ~. config/admission/pods uses the
// same names.
func GrantName(s Subject, role string) string {
	return Verb + ":" + s.ServiceAccount + ":" + strings.NewReplacer("~", "~0", "/", "~1", "%", "~2").Replace(role)
}

// deniedByRBAC returns the Decision for a Subject to which RBAC grants a role neither by its name
// nor by its ARN. The hint has commands unless they are too long.
func deniedByRBAC(s Subject, role string) Decision {
	d := Decision{Reason: fmt.Sprintf("%s may not assume role %s", s, printable(role))}
	if commands, ok := grantCommands(s, role); ok && len(d.Reason)+len(beforeHint)+len(commands) <= maxMessage {
		d.Hint = commands
		return d
	}
	const maxShown = 256
	if len(d.Reason)+len(beforeHint) > maxShown {
		d.Reason = fmt.Sprintf("%s may not assume the role that is asked for, which has a long name", s)
	}
	d.Hint = "a Role with the verb assume on awsiamroles.zalando.org, the role's name or ARN as its resourceNames, " +
		"and a RoleBinding; docs/security.md shows both"
	return d
}

// grantCommands returns the commands with which an administrator grants a Subject exactly one role.
// The requester chooses the role's name, so it is quoted for the shell. It returns false for a name
// that no IAM role can have: those have only printable ASCII characters.
func grantCommands(s Subject, role string) (commands string, ok bool) {
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

// printable returns a text with a question mark in place of each character that is not printable
// ASCII, so that it cannot forge another line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// forShell returns a text quoted as one word of a shell command.
func forShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
