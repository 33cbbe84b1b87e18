package secret

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// UnmanagedNote returns why a Secret that has a name which is asked for is left alone, and what to
// do about it.
func UnmanagedNote(s metav1.Object) string {
	if owner := metav1.GetControllerOf(s); owner != nil {
		return fmt.Sprintf("Secret %q exists and is controlled by %s %q: it is left alone. Remove it there, or choose another name",
			s.GetName(), owner.Kind, owner.Name)
	}
	if original := CopiedFrom(s); original != "" && s.GetLabels()[OwnerLabel] == OwnerValue {
		return fmt.Sprintf("Secret %q exists and is a copy of Secret %.200q, as its annotation %s says: it is left alone. "+
			"Have the program that copies it leave it out, and delete it", s.GetName(), original, SelfAnnotation)
	}
	return fmt.Sprintf("Secret %q exists and is not this controller's: it is left alone. Delete it, or have it handed over "+
		"by who may assume every role here: kubectl label secret --namespace %s %s %s=%s",
		s.GetName(), s.GetNamespace(), s.GetName(), OwnerLabel, OwnerValue)
}

// UnservedNote returns why a Secret that belongs to an AWSIAMRole is left alone in a cluster that
// has no AWSIAMRoles, and what to do about it.
func UnservedNote(s metav1.Object) string {
	return fmt.Sprintf("Secret %q belongs to an AWSIAMRole, which this cluster does not know: it is left alone. "+
		"Install the CRD, or delete the Secret: kubectl delete secret --namespace %s %s", s.GetName(), s.GetNamespace(), s.GetName())
}
