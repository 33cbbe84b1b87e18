package policy

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

// The annotations of a Namespace by which kube2iam and kiam are told what roles its pods may have.
const (
	// AllowedRolesAnnotation is kube2iam's: a JSON array of names or ARNs of roles, in which * stands for any characters.
	AllowedRolesAnnotation = "iam.amazonaws.com/allowed-roles"
	// PermittedAnnotation is kiam's: one regular expression.
	PermittedAnnotation = "iam.amazonaws.com/permitted"
)

// maxAnnotation is the longest value of these annotations that is read, in bytes: hundreds of ARNs.
const maxAnnotation = 64 << 10

// tooLong stands for a value that is longer. It is neither a JSON array nor a regular expression,
// and so permits nothing.
const tooLong = "(too long"

// Bounded returns the value of an annotation as it is kept: the value itself, or one that permits
// nothing if it is longer than what is read. It is never cut, as the beginning of a regular
// expression may permit more than the whole.
func Bounded(value string) string {
	if len(value) > maxAnnotation {
		return tooLong
	}
	return value
}

// Annotations returns the annotations of a Namespace.
type Annotations func(ctx context.Context, namespace string) (map[string]string, error)

// Namespace reads from the annotations of the Subject's Namespace which roles it may have. Both kinds must match the whole of the role's name, where
// it lies under the base role ARN, or of its ARN: where kube2iam and kiam are content with a part, this is stricter.
func Namespace(annotations Annotations) Authorizer {
	return func(ctx context.Context, r Request) (Verdict, error) {
		values, err := annotations(ctx, r.Subject.Namespace)
		if err != nil {
			return Verdict{}, undecided(r, fmt.Errorf("the annotations of Namespace %s cannot be read: %w", r.Subject.Namespace, err))
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
				return Verdict{Allowed: true, Reason: "annotation " + annotation}, nil
			}
		}
		slices.Sort(problems)
		return Verdict{Reason: refuseNamespace(r, names[0], values[AllowedRolesAnnotation], problems)}, nil
	}
}

// refuseNamespace returns the Reason of a refusal. The command in it keeps what the Namespace may
// have already, and is left out rather than cut.
func refuseNamespace(r Request, name, allowed string, problems []string) string {
	reason := fmt.Sprintf("Namespace %s may not have role %s", r.Subject.Namespace, printable(r.Role.String()))
	if len(problems) > 0 {
		reason += ": " + strings.Join(problems, ", and ")
	}
	reason += ". To allow it: "
	if list, ok := withRole(allowed, name); ok {
		command := fmt.Sprintf("kubectl annotate namespace %s --overwrite %s", r.Subject.Namespace, forShell(AllowedRolesAnnotation+"="+list))
		if len(reason)+len(command) <= maxReason {
			return reason + command
		}
	}
	return reason + "add its name or ARN to the annotation " + AllowedRolesAnnotation + " of the Namespace, a JSON array of strings"
}

// withRole returns a value of the annotation AllowedRolesAnnotation with one role more, and false
// if its value is no list of roles.
func withRole(allowed, name string) (string, bool) {
	var roles []string
	if allowed != "" && json.Unmarshal([]byte(allowed), &roles) != nil || printable(name) != name {
		return "", false
	}
	text, err := json.Marshal(append(roles, name))
	return string(text), err == nil
}

// maxExpressionSize bounds what a regular expression takes when it is compiled, where repeats are multiplied out: some megabytes.
const maxExpressionSize = 20_000

// matchesExpression tells whether a regular expression matches the whole of one of the names. Go's expressions take time in proportion to their size
// and the text's; so none is catastrophic whose size is bounded.
func matchesExpression(expression string, names []string) (bool, error) {
	tree, err := syntax.Parse(expression, syntax.Perl) // by itself: "a)|(b" would break out of the anchors
	if err != nil {
		return false, errors.New("is not a regular expression")
	}
	if size(tree) > maxExpressionSize {
		return false, errors.New("is too large a regular expression: repeats are multiplied out")
	}
	compiled, err := regexp.Compile("^(?:" + expression + ")$")
	if err != nil {
		return false, errors.New("is not a regular expression")
	}
	return slices.ContainsFunc(names, compiled.MatchString), nil
}

// size is how large an expression is with its repeats multiplied out.
func size(r *syntax.Regexp) int {
	n := 1 + len(r.Rune)
	for _, part := range r.Sub {
		n += size(part)
	}
	if r.Op == syntax.OpRepeat {
		n *= max(1, r.Min, r.Max)
	}
	return n
}

// matchesGlobs tells whether one of the names is in a JSON array of names, in which * stands for any characters. Only what begins with "arn:" is
// about ARNs: a star alone stands for the roles under the base role ARN, and not for those of every account.
func matchesGlobs(list string, names []string) (bool, error) {
	var patterns []string
	if err := json.Unmarshal([]byte(list), &patterns); err != nil {
		return false, errors.New(`is not a JSON array of strings such as ["orders"]`)
	}
	for _, pattern := range patterns {
		expression := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
		alike := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return isARN(name) != isARN(pattern) })
		if allowed, err := matchesExpression(expression, alike); allowed || err != nil {
			return allowed, err
		}
	}
	return false, nil
}

func isARN(s string) bool { return strings.HasPrefix(s, "arn:") }
