package secret

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
)

// ReloaderAnnotation keeps Reloader from restarting workloads at each renewal. Source: the
// annotation reference of Stakater Reloader.
const ReloaderAnnotation = "reloader.stakater.com/ignore"

// ownAnnotations are all annotations that the controller writes, but for those of
// Files.Annotations.
var ownAnnotations = []string{
	RoleARNAnnotation, AccessKeyIDAnnotation, SessionNameAnnotation, SessionDurationAnnotation, IssuedAtAnnotation, SelfAnnotation, ServiceAccountUIDAnnotation,
	ReloaderAnnotation,
}

// MaxAnnotations limits the keys and values of Files.Annotations together, in bytes.
const MaxAnnotations = 1 << 10

// CheckAnnotations returns an error if annotations cannot be added to all Secrets: if they are not
// valid, too large, or belong to the controller or to Kubernetes.
func CheckAnnotations(annotations map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if problems := validation.IsQualifiedName(strings.ToLower(key)); len(problems) > 0 { // as the API server checks it
			return fmt.Errorf("%q is not the key of an annotation: %s", key, strings.Join(problems, "; "))
		}
		if !utf8.ValidString(annotations[key]) {
			return fmt.Errorf("the value of %q is not UTF-8", key)
		}
		if domain, _, ok := strings.Cut(key, "/"); ok && isReserved(strings.ToLower(domain)) {
			return fmt.Errorf("%q is reserved: annotations of iam.amazonaws.com, kubernetes.io and k8s.io are not for this", key)
		}
	}
	if n := size(annotations); n > MaxAnnotations {
		return fmt.Errorf("keys and values are %d bytes long, and can be %d", n, MaxAnnotations)
	}
	return nil
}

// isReserved reports whether annotations of a domain are the controller's or Kubernetes' own.
func isReserved(domain string) bool {
	for _, reserved := range []string{"iam.amazonaws.com", "kubernetes.io", "k8s.io"} {
		if domain == reserved || strings.HasSuffix(domain, "."+reserved) {
			return true
		}
	}
	return false
}

// sharedAnnotations returns a new map with the annotations that all Secrets have.
func (f Files) sharedAnnotations() map[string]string {
	annotations := map[string]string{ReloaderAnnotation: "true"}
	maps.Copy(annotations, f.Annotations)
	return annotations
}

// pruning are the prefixes of labels by which tools find what they applied, to delete the rest. A
// Secret with such a label is none of the objects that they apply, and would be deleted. Argo CD's
// other label, app.kubernetes.io/instance, is not among them, as people select by it: Argo CD does
// not delete objects that have an owner.
var pruning = []string{
	"applyset.kubernetes.io/",
	"objectset.rio.cattle.io/", // Rancher Fleet, k3s
	"kapp.k14s.io/",
	"argocd.argoproj.io/",
	"kustomize.toolkit.fluxcd.io/",
	"helm.toolkit.fluxcd.io/",
	"kluctl.io/",
	"tanka.dev/",
	"qbec.io/",
	"kubecfg.ksonnet.io/",
}

// isPruning reports whether tools delete objects by a label.
func isPruning(label string) bool {
	for _, prefix := range pruning {
		if strings.HasPrefix(label, prefix) {
			return true
		}
	}
	return false
}

// hasPruning reports whether any label is one by which tools delete objects.
func hasPruning(labels map[string]string) bool {
	for label := range labels {
		if isPruning(label) {
			return true
		}
	}
	return false
}

// labels returns the labels of the owner, but for those by which tools delete objects, and of the
// controller. The controller's take precedence.
func (t Target) labels() map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, t.Labels)
	maps.DeleteFunc(labels, func(label, _ string) bool { return isPruning(label) })
	if t.Owner != nil {
		labels[TypeLabel] = TypeAWSIAMRole
	}
	labels[OwnerLabel] = OwnerValue
	return labels
}
