package policy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// What a Subject must be allowed: the verb "assume" on the resource awsiamroles.zalando.org that is called as the role is, by its name or its
// ARN. No such object has to exist.
const (
	Verb     = "assume"
	Group    = "zalando.org"
	Resource = "awsiamroles"
)

// Review asks the API server a SubjectAccessReview.
type Review func(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error)

// RBAC asks the API server, and so whatever authorizes there, whether the Subject has the verb "assume" on the role: by its name where it lies
// under the base role ARN, and by its ARN.
func RBAC(review Review) Authorizer {
	return func(ctx context.Context, r Request) (Verdict, error) {
		names := r.Base.Names(r.Role)
		for _, name := range names {
			status, err := review(ctx, authorizationv1.SubjectAccessReviewSpec{
				User:   r.Subject.User(),
				Groups: r.Subject.Groups(),
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: r.Subject.Namespace, Verb: Verb, Group: Group, Resource: Resource, Name: name,
				},
			})
			if err != nil {
				return Verdict{}, fmt.Errorf("the API server does not tell whether %s may assume role %s; tried again: %w", r.Subject, r.Role, err)
			}
			if status.Allowed {
				return Verdict{Allowed: true, Reason: status.Reason}, nil
			}
		}
		return Verdict{Reason: fmt.Sprintf("%s may not assume role %s. To allow it, apply:\n%s", r.Subject, names[0], grant(r.Subject, names[0]))}, nil
	}
}

// grant is a Role and a RoleBinding that allow the Subject the role, as short as can be: an event has room for 1,024 characters. Each Subject and role has
// its own, so that applying one takes nothing from another. What the requester wrote is quoted: it is to be applied by somebody who may more.
func grant(s Subject, name string) string {
	object := quoted(objectName(s, name))
	subject := fmt.Sprintf("{kind: ServiceAccount, name: %s, namespace: %s}", quoted(s.ServiceAccount), quoted(s.Namespace))
	if s.ServiceAccount == "" {
		subject = fmt.Sprintf("{kind: Group, name: %s, apiGroup: rbac.authorization.k8s.io}", quoted("system:serviceaccounts:"+s.Namespace))
	}
	return strings.Join([]string{
		"apiVersion: rbac.authorization.k8s.io/v1",
		"kind: Role",
		fmt.Sprintf("metadata: {name: %s, namespace: %s}", object, quoted(s.Namespace)),
		"rules:",
		fmt.Sprintf("- {apiGroups: [%s], resources: [%s], verbs: [%s], resourceNames: [%s]}", Group, Resource, Verb, quoted(name)),
		"---",
		"apiVersion: rbac.authorization.k8s.io/v1",
		"kind: RoleBinding",
		fmt.Sprintf("metadata: {name: %s, namespace: %s}", object, quoted(s.Namespace)),
		fmt.Sprintf("roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %s}", object),
		"subjects:",
		"- " + subject,
	}, "\n")
}

// maxObjectName keeps a note within an event.
const maxObjectName = 40

// objectName is the name of the Role and the RoleBinding: readable where it is short, and else a hash.
func objectName(s Subject, name string) string {
	readable := "assume-" + name + "-" + cmp.Or(s.ServiceAccount, "all")
	if len(readable) <= maxObjectName && !strings.ContainsAny(name, "/:") {
		return readable
	}
	sum := sha256.Sum256([]byte(name + "\n" + s.ServiceAccount))
	return "assume-" + hex.EncodeToString(sum[:5])
}

// quoted is a text in quotes, as JSON has them, which YAML takes as well.
func quoted(s string) string {
	text, _ := json.Marshal(s) //nolint:errchkjson // a string
	return string(text)
}

// forShell is one word for a shell.
func forShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
