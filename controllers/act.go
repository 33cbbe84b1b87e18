package controllers

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret"
)

// outcome is what came of acting on a decision: credentials that were written, or why not.
type outcome struct {
	issued  *credentials.Credentials
	failure *failure
}

// act does what was decided. It is the only step that writes.
func (r *reconciler) act(ctx context.Context, g *gathered, d decision) outcome {
	switch d.verb {
	case issue:
		return r.issue(ctx, g)
	case remove:
		return r.remove(ctx, g)
	default:
		return outcome{}
	}
}

// issue gets credentials and writes them: into a new Secret, or over the very one that was judged.
func (r *reconciler) issue(ctx context.Context, g *gathered) outcome {
	c, err := r.identity(g).assume(ctx, g.target.Session)
	if err != nil {
		return outcome{failure: &failure{reason: ReasonGetCredentialsFailed, action: "AssumeRole/" + codeOf(err), note: err.Error()}}
	}
	rendered := secret.Render(g.target, c)
	if g.held == nil {
		err = r.client.Create(ctx, rendered)
	} else {
		rendered, err = r.overwrite(ctx, g.held.secret.ObjectMeta, rendered)
	}
	if err != nil {
		return outcome{failure: r.explainWrite(ctx, g, err)}
	}
	r.writes.note(rendered)
	return outcome{issued: &c}
}

// overwrite replaces what is in the Secret that was judged. If somebody changed it meanwhile, as those do who add labels, it is looked at
// again: as long as it is the same one and still the controller's, the credentials go in.
func (r *reconciler) overwrite(ctx context.Context, judged metav1.ObjectMeta, rendered *corev1.Secret) (written *corev1.Secret, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		written = secret.Replace(judged, rendered)
		err := r.client.Update(ctx, written)
		if !apierrors.IsConflict(err) {
			return err
		}
		now, readErr := r.metadata(ctx, client.ObjectKeyFromObject(rendered))
		if readErr == nil && now.UID == judged.UID && secret.Owned(now) {
			judged = now.ObjectMeta
		}
		return err
	})
	return written, err
}

// codeOf is a word for an error that stays the same when it comes back.
func codeOf(err error) string {
	if e, ok := errors.AsType[*credentials.Error](err); ok {
		return e.Code
	}
	return "Failed"
}

// explainWrite says why the API server did not take a Secret.
func (r *reconciler) explainWrite(ctx context.Context, g *gathered, err error) *failure {
	switch {
	case apierrors.IsAlreadyExists(err):
		foreign, err := r.foreign(ctx, g.name)
		if err != nil || foreign == "" {
			return transient("the Secret appeared meanwhile")
		}
		return &failure{reason: ReasonSecretNotManaged, action: "Create", note: foreign}
	case apierrors.IsConflict(err), apierrors.IsNotFound(err) && g.held != nil:
		return transient("the Secret was changed meanwhile")
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return transient("the namespace is going away")
	case g.held == nil:
		return &failure{reason: ReasonCreateSecretFailed, action: "Create", note: refusedBy("created", g.name, err)}
	default:
		return &failure{reason: ReasonUpdateSecretFailed, action: "Update", note: refusedBy("updated", g.name, err) + immutable(g)}
	}
}

// transient is a failure that is gone at the next look.
func transient(note string) *failure { return &failure{note: note} }

func refusedBy(what string, s types.NamespacedName, err error) string {
	return fmt.Sprintf("Secret %q cannot be %s, tried again: %s", s.Name, what, err)
}

// immutable says what to do about a Secret that somebody made immutable.
func immutable(g *gathered) string {
	if i := g.held.secret.Immutable; i == nil || !*i {
		return ""
	}
	return fmt.Sprintf(". It is immutable, so it cannot be renewed; delete it, and a new one takes its place: kubectl delete secret --namespace %s %s", g.name.Namespace, g.name.Name)
}

// actionDelete is the action of a failed deletion.
const actionDelete = "Delete"

// remove deletes the very Secret that was judged. Another one of its name, or a later version of it, is left alone and judged anew.
func (r *reconciler) remove(ctx context.Context, g *gathered) outcome {
	err := r.client.Delete(ctx, g.held.secret, client.Preconditions{
		UID:             &g.held.secret.UID,
		ResourceVersion: &g.held.secret.ResourceVersion,
	})
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return outcome{}
	case apierrors.IsConflict(err):
		return outcome{failure: transient("the Secret was changed meanwhile")}
	default:
		return outcome{failure: &failure{reason: ReasonUpdateSecretFailed, action: actionDelete, note: refusedBy("deleted", g.name, err)}}
	}
}
