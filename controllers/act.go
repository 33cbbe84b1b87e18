package controllers

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/records"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secretstore"
)

// outcome is what acting on a decision had for a result.
type outcome struct {
	// issued are new credentials, and repaired those that were written again.
	issued, repaired *credentials.Credentials
	// version is the resourceVersion that was written.
	version string
	// stsAsked reports whether STS was asked.
	stsAsked bool
	// writer is who changed the Secret before it was written, as far as that is known.
	writer string
	// failure is why it failed, or nil.
	failure *records.Failure
}

// act does what was decided. It is the only step that writes Secrets.
func (r *reconciler) act(ctx context.Context, s *snapshot, d decision) outcome {
	switch d.action {
	case actionIssue:
		return r.issue(ctx, s, d)
	case actionRepair:
		return r.repair(ctx, s)
	case actionDelete:
		return r.delete(ctx, s, d)
	default:
		return outcome{}
	}
}

// issue gets credentials and writes them: into a new Secret, or over the very one that was judged.
func (r *reconciler) issue(ctx context.Context, s *snapshot, d decision) (o outcome) {
	var judged *corev1.Secret
	if s.current != nil {
		judged = s.current.secret
	}
	if err := r.checkWrite(ctx, s, judged); err != nil { // so STS is not asked in vain
		return outcome{failure: s.notWritten(err)}
	}
	c, err := s.assumer().Assume(ctx, s.target.Session)
	if err != nil {
		return outcome{stsAsked: true, failure: s.failed(v1.ReasonGetCredentialsFailed, "AssumeRole/"+credentials.CodeOf(err), err.Error())}
	}
	if judged != nil && s.known.Writes.NeedsWriter(s.writeOf(d)) {
		o.writer = r.secrets.LastWriter(ctx, s.name)
	}
	if o.version, err = r.secrets.Write(ctx, judged, secret.Render(s.target, c, judged)); err != nil {
		return outcome{stsAsked: true, failure: s.notWritten(err)}
	}
	o.stsAsked, o.issued = true, &c
	return o
}

// checkWrite returns why the Secret cannot be written: by a dry run if it could not the last time,
// which costs as much as a write.
func (r *reconciler) checkWrite(ctx context.Context, s *snapshot, judged *corev1.Secret) error {
	failed := s.failure != nil && (s.failure.Reason == v1.ReasonCreateSecretFailed || s.failure.Reason == v1.ReasonUpdateSecretFailed)
	switch err := secretstore.CheckMutable(judged); {
	case err != nil:
		return err
	case failed:
		return r.secrets.TryWrite(ctx, judged, secret.Render(s.target, credentials.Credentials{Issued: s.now, Expires: s.now}, judged))
	case judged == nil:
		return r.secrets.CheckFree(ctx, s.name)
	}
	return nil
}

// repair writes the Secret again with the credentials that it holds, or the seed from memory.
func (r *reconciler) repair(ctx context.Context, s *snapshot) (o outcome) {
	var c credentials.Credentials
	var err error
	if s.current == nil {
		c, _ = r.seed.Credentials(s.now)
		o.version, err = r.secrets.Write(ctx, nil, secret.Render(s.target, c, nil))
	} else {
		c, o.version, o.writer, err = r.secrets.Repair(ctx, s.current.secret, s.target, s.known.Writes.AccessKeyID)
	}
	if err != nil {
		return outcome{failure: s.notWritten(err)}
	}
	o.repaired = &c
	return o
}

// delete deletes the very Secret that was judged. Another one of its name, or a later version of
// it, is left alone and judged again. Deletions for refused roles are limited.
func (r *reconciler) delete(ctx context.Context, s *snapshot, d decision) (o outcome) {
	if d.reason == v1.ReasonRoleForbidden && !r.reviewer.Removals.Take(s.name, s.taken.Local) {
		return outcome{failure: &records.Failure{Note: "it is another Secret's turn to be deleted"}}
	}
	if err := r.secrets.Delete(ctx, s.current.secret); err != nil {
		o.failure = s.notWritten(err)
	}
	return o
}

// failed returns a failure to give the session that the snapshot asks for.
func (s *snapshot) failed(reason, action, note string) *records.Failure {
	return &records.Failure{Reason: reason, Action: action, Note: note, Role: s.target.Session.Role, Duration: s.target.Session.Duration}
}

// notWritten returns the failure of a write or deletion: a transient one, unless it was refused.
func (s *snapshot) notWritten(err error) *records.Failure {
	if refused, ok := errors.AsType[*secretstore.RefusedError](err); ok {
		return s.failed(refused.Reason, refused.Action, refused.Note)
	}
	return &records.Failure{Note: err.Error()}
}
