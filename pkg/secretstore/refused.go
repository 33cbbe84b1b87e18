package secretstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
)

// RefusedError is why a Secret cannot be written or deleted. All other errors of writes and
// deletions come from a change at the same moment; they are gone once the Secret is judged again.
type RefusedError struct {
	// Reason and Action are those of the event, and Note says what to do.
	Reason, Action, Note string
}

// The actions of events about Secrets.
const (
	ActionCreate = "Create"
	ActionUpdate = "Update"
	ActionDelete = "Delete"
)

// Error implements error.
func (e *RefusedError) Error() string { return e.Note }

// errChanged is the error of a write or deletion of a Secret that another writer changed.
var errChanged = errors.New("the Secret was changed meanwhile")

// explain returns the error of an action on a Secret, made from that of the API server.
func (s *Store) explain(ctx context.Context, action string, of *corev1.Secret, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsAlreadyExists(err):
		if refused, ok := errors.AsType[*RefusedError](s.CheckFree(ctx, client.ObjectKeyFromObject(of))); ok {
			return refused
		}
		return errors.New("the Secret appeared meanwhile")
	case apierrors.IsConflict(err), apierrors.IsNotFound(err) && action != ActionCreate:
		return errChanged
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return errors.New("the namespace is going away")
	case action == ActionUpdate && CheckMutable(of) != nil:
		return CheckMutable(of)
	}
	reason := v1.ReasonUpdateSecretFailed
	if action == ActionCreate {
		reason = v1.ReasonCreateSecretFailed
	}
	return &RefusedError{reason, action, fmt.Sprintf("Secret %q cannot be %sd, tried again: %s", of.Name, strings.ToLower(action), err)}
}

// CheckMutable returns a RefusedError if there is a Secret and another writer made it immutable.
func CheckMutable(judged *corev1.Secret) error {
	if judged == nil || judged.Immutable == nil || !*judged.Immutable {
		return nil
	}
	return &RefusedError{v1.ReasonUpdateSecretFailed, ActionUpdate, fmt.Sprintf(
		"Secret %q is immutable, so it cannot be renewed; delete it, and a new one takes its place: kubectl delete secret --namespace %s %s. "+
			"Then delete all pods that mount it: the kubelet keeps the old content, also for new pods, while any pod of its node mounts it",
		judged.Name, judged.Namespace, judged.Name)}
}
