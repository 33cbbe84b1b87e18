package controllers

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret"
)

// outcome is what came of acting on a decision: the credentials that were issued or kept, or why
// not.
type outcome struct {
	// issued are new credentials, and repaired those that were written again.
	issued, repaired *credentials.Credentials
	// asked reports whether STS was asked.
	asked bool
	// writer is who changed the Secret before it was written, as far as that can be known.
	writer  string
	failure *failure
}

// act does what was decided. It is the only step that writes.
func (r *reconciler) act(ctx context.Context, g *gathered, d decision) outcome {
	switch d.verb {
	case issue:
		return r.issue(ctx, g, d)
	case repair:
		return r.repair(ctx, g)
	case remove:
		return r.remove(ctx, g, d)
	default:
		return outcome{}
	}
}

// issue gets credentials and writes them: into a new Secret, or over the very one that was judged.
func (r *reconciler) issue(ctx context.Context, g *gathered, d decision) (o outcome) {
	if g.immutable() { // so STS is not asked in vain
		return outcome{failure: immutableFailure(g)}
	}
	if f := r.tryWrite(ctx, g); f != nil {
		return outcome{failure: f}
	}
	c, err := r.identity(g).assume(ctx, g.target.Session)
	if err != nil {
		return outcome{asked: true, failure: &failure{reason: ReasonGetCredentialsFailed, action: "AssumeRole/" + codeOf(err), note: err.Error()}}
	}
	if g.held != nil && g.known.issues.count+1 >= contestedWrites && g.changedBack(d, contestedWrites) {
		if meta, err := r.metadata(ctx, g.name); err == nil {
			o.writer = writerOf(meta)
		}
	}
	o.asked = true
	if o.failure = r.write(ctx, g, g.judged(), secret.Render(g.target, c)); o.failure == nil {
		o.issued = &c
	}
	return o
}

// repair writes the Secret again with the credentials that it holds, as the API server has them;
// and a seed that does not exist with those in memory.
func (r *reconciler) repair(ctx context.Context, g *gathered) (o outcome) {
	if g.held == nil {
		c := r.guard.seed.now().Credentials
		if o.failure = r.write(ctx, g, nil, secret.Render(g.target, c)); o.failure == nil {
			o.repaired = &c
		}
		return o
	}
	live := &corev1.Secret{}
	if err := r.live.Get(ctx, g.name, live); err != nil {
		return outcome{failure: transient("the Secret was deleted meanwhile, or cannot be read")}
	}
	o.writer = writerOf(live)
	c, err := secret.Read(live)
	if _, has := live.Annotations[secret.IssuedAtAnnotation]; !has {
		c.Issued = c.Expires.Add(-g.target.Session.Duration)
	}
	judged := live.DeepCopy()
	secret.Reduce(judged, r.files)
	if err != nil || live.UID != g.held.secret.UID || c.AccessKeyID != g.held.credentials.AccessKeyID || !secret.Owned(live) ||
		!secret.Repairable(judged, g.target, g.known.accessKeyID) {
		o.failure = transient("the Secret was changed meanwhile")
		return o
	}
	if o.failure = r.write(ctx, g, judged, secret.Render(g.target, c)); o.failure == nil {
		o.repaired = &c
	}
	return o
}

// write creates a Secret, or replaces what is in the one that was judged, if there is one. It
// returns why not, or nil.
func (r *reconciler) write(ctx context.Context, g *gathered, judged, rendered *corev1.Secret) *failure {
	var err error
	if judged == nil {
		err = r.client.Create(ctx, rendered, client.FieldOwner(Name))
	} else {
		rendered, err = r.overwrite(ctx, judged, rendered)
	}
	if err != nil {
		return r.explainWrite(ctx, g, err)
	}
	r.writes.note(rendered)
	return nil
}

// tryWrite finds out by a dry run whether the API server takes the Secret now, if it did not the
// last time: until then STS is not asked for what cannot be written.
func (r *reconciler) tryWrite(ctx context.Context, g *gathered) *failure {
	if g.failure == nil || (g.failure.reason != ReasonCreateSecretFailed && g.failure.reason != ReasonUpdateSecretFailed) {
		return nil
	}
	rendered := secret.Render(g.target, credentials.Credentials{Issued: g.now, Expires: g.now})
	var err error
	if g.held == nil {
		err = r.uncached.Create(ctx, rendered, client.FieldOwner(Name), client.DryRunAll)
	} else {
		err = r.uncached.Update(ctx, secret.Replace(g.held.secret.ObjectMeta, rendered), client.FieldOwner(Name), client.DryRunAll)
	}
	if err == nil {
		return nil
	}
	return r.explainWrite(ctx, g, err)
}

// judged returns the Secret that was judged; nil if there is none.
func (g *gathered) judged() *corev1.Secret {
	if g.held == nil {
		return nil
	}
	return g.held.secret
}

// writeAttempts is how often a write is tried if other writers come before it.
const writeAttempts = 5

// overwrite replaces what is in the Secret that was judged. On a conflict, and where the cache
// lacks labels or annotations of other writers, it reads the metadata, and goes on while the UID
// matches and the Secret is still managed.
func (r *reconciler) overwrite(ctx context.Context, judged, rendered *corev1.Secret) (written *corev1.Secret, err error) {
	meta := judged.ObjectMeta
	if secret.Cut(judged) {
		if meta, err = r.managedMetadata(ctx, judged); err != nil {
			return nil, err
		}
	}
	for range writeAttempts {
		written = secret.Replace(meta, rendered)
		if err = r.client.Update(ctx, written, client.FieldOwner(Name)); !apierrors.IsConflict(err) {
			return written, err
		}
		now, readErr := r.managedMetadata(ctx, judged)
		if readErr != nil {
			return written, err
		}
		meta = now
	}
	return written, err
}

// managedMetadata asks the API server for the metadata of the very Secret that was judged, while
// it is managed. The error is a conflict if it is not.
func (r *reconciler) managedMetadata(ctx context.Context, judged *corev1.Secret) (metav1.ObjectMeta, error) {
	now, err := r.metadata(ctx, client.ObjectKeyFromObject(judged))
	if err == nil && (now.UID != judged.UID || !secret.Owned(now)) {
		err = apierrors.NewConflict(corev1.Resource("secrets"), judged.Name, errors.New("it was replaced, or is not managed any longer"))
	}
	return now.ObjectMeta, err
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
		return &failure{reason: ReasonSecretNotManaged, action: actionCreate, note: foreign}
	case apierrors.IsConflict(err), apierrors.IsNotFound(err) && g.held != nil:
		return transient("the Secret was changed meanwhile")
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return transient("the namespace is going away")
	case g.held == nil:
		return &failure{reason: ReasonCreateSecretFailed, action: "Create", note: refusedBy("created", g.name, err)}
	case g.immutable():
		return immutableFailure(g)
	default:
		return &failure{reason: ReasonUpdateSecretFailed, action: "Update", note: refusedBy("updated", g.name, err)}
	}
}

// transient is a failure that is gone at the next look.
func transient(note string) *failure { return &failure{note: note} }

func refusedBy(what string, s types.NamespacedName, err error) string {
	return fmt.Sprintf("Secret %q cannot be %s, tried again: %s", s.Name, what, err)
}

// immutable reports whether the Secret cannot be written, as another writer made it immutable.
func (g *gathered) immutable() bool {
	return g.held != nil && g.held.secret.Immutable != nil && *g.held.secret.Immutable
}

// immutableFailure says what to do about a Secret that is immutable.
func immutableFailure(g *gathered) *failure {
	return &failure{reason: ReasonUpdateSecretFailed, action: "Update", note: fmt.Sprintf("Secret %q is immutable, so it cannot be renewed; delete it, and a new one takes its place: "+
		"kubectl delete secret --namespace %s %s", g.name.Name, g.name.Namespace, g.name.Name)}
}

// The actions of a write that is refused, and of a failed deletion.
const (
	actionCreate = "Create"
	actionDelete = "Delete"
)

// remove deletes the very Secret that was judged. Another one of its name, or a later version of
// it, is left alone and judged again. Deletions for refused roles are limited.
func (r *reconciler) remove(ctx context.Context, g *gathered, d decision) outcome {
	if d.reason == ReasonRoleForbidden && !r.removals.take(g.name, r.machine.Now()) {
		return outcome{failure: transient("it is another Secret's turn to be deleted")}
	}
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
