package secretstore

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	v1 "kube-aws-iam-controller/api/v1"
)

// What the API server answers to a write is either refused, which has an event, or passes.
func TestStore_ExplainsWhatTheAPIServerSays(t *testing.T) {
	secrets := corev1.Resource("secrets")
	forbidden := apierrors.NewForbidden(secrets, "app", errors.New("no"))
	terminating := apierrors.NewForbidden(secrets, "app", errors.New("no"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	const tried = ", tried again: secrets \"app\" is forbidden: no"
	for _, test := range []struct {
		says, action string
		immutable    bool
		err          error
		reason, note string
	}{
		{"accepted", ActionUpdate, false, nil, "", ""},
		{"gone when it is explained", ActionCreate, false, apierrors.NewAlreadyExists(secrets, "app"), "", "the Secret appeared meanwhile"},
		{"changed", ActionUpdate, false, apierrors.NewConflict(secrets, "app", errors.New("no")), "", "the Secret was changed meanwhile"},
		{"deleted", ActionUpdate, false, apierrors.NewNotFound(secrets, "app"), "", "the Secret was changed meanwhile"},
		{"no namespace", ActionCreate, false, apierrors.NewNotFound(secrets, "app"), "", "the namespace is going away"},
		{"the namespace is being deleted", ActionCreate, false, terminating, "", "the namespace is going away"},
		{"not created", ActionCreate, false, forbidden, v1.ReasonCreateSecretFailed, `Secret "app" cannot be created` + tried},
		{"not updated", ActionUpdate, false, forbidden, v1.ReasonUpdateSecretFailed, `Secret "app" cannot be updated` + tried},
		{"not deleted", ActionDelete, true, forbidden, v1.ReasonUpdateSecretFailed, `Secret "app" cannot be deleted` + tried},
		{
			"immutable", ActionUpdate, true, forbidden, v1.ReasonUpdateSecretFailed,
			`Secret "app" is immutable, so it cannot be renewed; delete it, and a new one takes its place: kubectl delete secret --namespace payments app. ` +
				"Then delete all pods that mount it: the kubelet keeps the old content, also for new pods, while any pod of its node mounts it",
		},
	} {
		t.Run(test.says, func(t *testing.T) {
			of := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "app"}, Immutable: &test.immutable}
			err := (&Store{Live: fake.NewClientBuilder().Build()}).explain(t.Context(), test.action, of, test.err)
			if test.note == "" && err == nil {
				return
			}
			if err == nil || err.Error() != test.note {
				t.Errorf("the error is %v, want %q", err, test.note)
			}
			refused, ok := errors.AsType[*RefusedError](err)
			if ok != (test.reason != "") || ok && (refused.Reason != test.reason || refused.Action != test.action) {
				t.Errorf("refused is %t: %+v", ok, refused)
			}
		})
	}
}
