package secretstore

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"
)

// As an API server sorts managed fields: Apply before Update, then by time in whole seconds, then
// by name.
func TestStore_LastWriterWithinASecond(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	for _, other := range []metav1.ManagedFieldsEntry{
		{Manager: "kustomize-controller", Operation: metav1.ManagedFieldsOperationApply, Time: &at},
		{Manager: "argocd-controller", Operation: metav1.ManagedFieldsOperationUpdate, Time: &at},
	} {
		s := &corev1.Secret{}
		s.ManagedFields = []metav1.ManagedFieldsEntry{other, {Manager: "kube-aws-iam-controller", Operation: metav1.ManagedFieldsOperationUpdate, Time: &at}}
		if by := (&Store{FieldOwner: "kube-aws-iam-controller"}).writerOf(s); !strings.Contains(by, other.Manager) {
			t.Errorf("%s changed it back within the second of our write, and the event names %s", other.Manager, by)
		}
	}
}
