package authorization

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// The annotations of a Namespace with the roles that its pods may assume.
const (
	// AllowedRolesAnnotation is kube2iam's: a JSON array of role names and ARNs, in which * matches
	// any characters.
	AllowedRolesAnnotation = "iam.amazonaws.com/allowed-roles"
	// PermittedAnnotation is kiam's: a regular expression.
	PermittedAnnotation = "iam.amazonaws.com/permitted"
)

// maxAnnotation limits the value of one of these annotations, in bytes. It has room for hundreds of
// ARNs.
const maxAnnotation = 64 << 10

// tooLong replaces a longer value. It is neither a JSON array nor a regular expression, so it
// permits nothing.
const tooLong = "(too long"

// Bounded returns the value of an annotation to keep in a cache: the value itself, or one that
// permits nothing if it is too long. It does not cut the value, as the beginning of a regular
// expression can permit more than the whole.
func Bounded(value string) string {
	if len(value) > maxAnnotation {
		return tooLong
	}
	return value
}

// Annotations returns the annotations of a Namespace, from a cache.
type Annotations func(ctx context.Context, namespace string) (map[string]string, error)

// Namespace returns an Authorizer that decides by the annotations of the Subject's Namespace.
// Patterns must match the whole role name, if the role is under the base role ARN, or the whole
// ARN. This is stricter than kube2iam and kiam, for which a match of a part is enough.
func Namespace(annotations Annotations) Authorizer {
	return func(ctx context.Context, r Request) (Decision, error) {
		values, err := annotations(ctx, r.Subject.Namespace)
		if err != nil {
			return Decision{}, undecided(r, fmt.Errorf("the annotations of Namespace %s cannot be read: %w", r.Subject.Namespace, err))
		}
		names := r.Base.Names(r.Role)
		var problems []string
		for annotation, matches := range map[string]func(string, []string) (bool, error){
			AllowedRolesAnnotation: matchesGlobs, PermittedAnnotation: matchesExpression,
		} {
			value, ok := values[annotation]
			if !ok {
				continue
			}
			if Bounded(value) == tooLong {
				problems = append(problems, fmt.Sprintf("its annotation %s is longer than %d bytes, and so not read", annotation, maxAnnotation))
				continue
			}
			allowed, err := matches(value, names)
			if err != nil {
				problems = append(problems, fmt.Sprintf("its annotation %s %s", annotation, err))
			}
			if allowed {
				return Decision{Allowed: true, Reason: "annotation " + annotation}, nil
			}
		}
		slices.Sort(problems)
		return deniedByNamespace(r, names[0], values[AllowedRolesAnnotation], problems), nil
	}
}

// deniedByNamespace returns the Decision for a Namespace whose annotations do not match the role.
// The hint has a command that adds the role to AllowedRolesAnnotation, unless it is too long.
func deniedByNamespace(r Request, name, allowed string, problems []string) Decision {
	d := Decision{Reason: fmt.Sprintf("Namespace %s may not have role %s", r.Subject.Namespace, printable(r.Role.String()))}
	if len(problems) > 0 {
		d.Reason += ": " + strings.Join(problems, ", and ")
	}
	if list, ok := withRole(allowed, name); ok {
		d.Hint = fmt.Sprintf("kubectl annotate namespace %s --overwrite %s", r.Subject.Namespace, forShell(AllowedRolesAnnotation+"="+list))
		if len(d.Message()) <= maxMessage {
			return d
		}
	}
	d.Hint = "add its name or ARN to the annotation " + AllowedRolesAnnotation + " of the Namespace, a JSON array of strings"
	return d
}

// withRole returns the value of AllowedRolesAnnotation with one more role. It returns false if the
// value is not a list of roles, or the name not printable.
func withRole(allowed, name string) (string, bool) {
	var roles []string
	if allowed != "" && json.Unmarshal([]byte(allowed), &roles) != nil || printable(name) != name {
		return "", false
	}
	text, err := json.Marshal(append(roles, name))
	return string(text), err == nil
}

// maxExpressionSize limits the size of a regular expression with its repeats expanded, as the
// compiler does. It bounds the memory of a compiled expression to a few megabytes.
const maxExpressionSize = 20_000

// matchesExpression reports whether a regular expression matches the whole of one of the names. Go
// matches in time linear in the sizes of the expression and the text, so limiting the size is
// enough.
func matchesExpression(expression string, names []string) (bool, error) {
	// Without the anchors: "a)|(b" is an error, which would escape from them.
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return false, errors.New("is not a regular expression")
	}
	if expandedSize(tree) > maxExpressionSize {
		return false, errors.New("is too large a regular expression: repeats are multiplied out")
	}
	compiled, err := regexp.Compile("^(?:" + expression + ")$")
	if err != nil {
		return false, errors.New("is not a regular expression")
	}
	return slices.ContainsFunc(names, compiled.MatchString), nil
}

// expandedSize returns the size of an expression with its repeats expanded.
func expandedSize(r *syntax.Regexp) int {
	n := 1 + len(r.Rune)
	for _, part := range r.Sub {
		n += expandedSize(part)
	}
	if r.Op == syntax.OpRepeat {
		n *= max(1, r.Min, r.Max)
	}
	return n
}

// matchesGlobs reports whether a pattern in a JSON array matches one of the names; * matches any
// characters. Only patterns that begin with "arn:" match ARNs: "*" matches the names of the roles
// under the base role ARN, but not the roles of all accounts.
func matchesGlobs(list string, names []string) (bool, error) {
	var patterns []string
	if err := json.Unmarshal([]byte(list), &patterns); err != nil {
		return false, errors.New(`is not a JSON array of strings such as ["orders"]`)
	}
	for _, pattern := range patterns {
		expression := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
		sameKind := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return isARN(name) != isARN(pattern) })
		if allowed, err := matchesExpression(expression, sameKind); allowed || err != nil {
			return allowed, err
		}
	}
	return false, nil
}

func isARN(s string) bool { return strings.HasPrefix(s, "arn:") }
