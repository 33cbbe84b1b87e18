package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/access"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/request"
)

// fieldManager owns what the plugin applies.
const fieldManager = "kubectl-aws_iam"

// Rights returns the rights that what a Snapshot asks for needs.
func (c *Cluster) Rights(ctx context.Context, s *diagnosis.Snapshot) (needed []access.Right, err error) {
	x := &explanation{c, s}
	for i := range s.Asked {
		a := &s.Asked[i]
		switch {
		case a.ServiceAccount() != "" && s.Settings.WebIdentity: // AWS decides
		case a.Owner != nil && a.Subject.ServiceAccount != "":
			owned, err := x.assume(ctx, authorization.Subject{Namespace: s.Namespace}, a.Owner.Spec.RoleReference)
			if err != nil {
				return nil, err
			}
			needed = append(needed, owned)
			if strings.HasPrefix(a.Request.Secret, request.SecretPrefix) {
				needed = append(needed, x.use(ctx, a.Subject, a.Request.Secret))
			}
		default:
			right, err := x.assume(ctx, a.Subject, a.Request.Role)
			if err != nil {
				return nil, err
			}
			needed = append(needed, right)
		}
	}
	return needed, nil
}

// Right returns the right of a ServiceAccount to a role.
func (c *Cluster) Right(ctx context.Context, controller Controller, subject authorization.Subject, reference string) (access.Right, *diagnosis.Snapshot, error) {
	x := c.explanation(ctx, controller, subject.Namespace)
	right, err := x.assume(ctx, subject, reference)
	return right, x.Snapshot, err
}

// assume returns the right to assume a role. The error says why there is no such role.
func (x *explanation) assume(ctx context.Context, subject authorization.Subject, reference string) (access.Right, error) {
	base := x.Settings.Base
	if base.IsZero() {
		base = anyBase
	}
	arn, err := base.Resolve(reference)
	if err != nil {
		return access.Right{}, err
	}
	decision, err := x.authorizer()(ctx, authorization.Request{Subject: subject, Role: arn, Base: base})
	return access.Right{Subject: subject, Verb: authorization.Verb, Name: base.Names(arn)[0], Allowed: decision.Allowed, Err: err}, nil
}

// use returns the right to use the Secret of an AWSIAMRole. The right to assume the role of the
// Secret's name is sufficient, too: the admission policies do not see AWSIAMRoles.
func (x *explanation) use(ctx context.Context, subject authorization.Subject, name string) access.Right {
	right := access.Right{Subject: subject, Verb: access.VerbUse, Name: name}
	for verb, resource := range map[string]string{access.VerbUse: name, authorization.Verb: strings.TrimPrefix(name, request.SecretPrefix)} {
		answer, err := localReviews{x.Kubernetes.AuthorizationV1().LocalSubjectAccessReviews(x.Namespace)}.Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: subject.User(), Groups: subject.Groups(), ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: subject.Namespace, Verb: verb, Group: authorization.Group, Resource: authorization.Resource, Name: resource,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			right.Err = errors.Join(right.Err, err)
			continue
		}
		right.Allowed = right.Allowed || answer.Status.Allowed
	}
	return right
}

// Apply creates a Role and its RoleBinding, or changes them, by server-side apply.
func (c *Cluster) Apply(ctx context.Context, role *rbacv1.Role, binding *rbacv1.RoleBinding) error {
	o := metav1.PatchOptions{FieldManager: fieldManager}
	patch, err := json.Marshal(role)
	if err != nil {
		return err
	}
	if _, err := c.Kubernetes.RbacV1().Roles(role.Namespace).Patch(ctx, role.Name, types.ApplyPatchType, patch, o); err != nil {
		return err
	}
	if patch, err = json.Marshal(binding); err != nil {
		return err
	}
	_, err = c.Kubernetes.RbacV1().RoleBindings(binding.Namespace).Patch(ctx, binding.Name, types.ApplyPatchType, patch, o)
	return err
}
