package controllers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/policy"
)

// policyKinds are what each mode's verdicts depend on. Only their metadata is watched: that they change is all there is to know.
var policyKinds = map[string][]schema.GroupVersionKind{
	policy.ModeRBAC: {
		rbacv1.SchemeGroupVersion.WithKind("Role"), rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
		rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
	},
	policy.ModeNamespace: {corev1.SchemeGroupVersion.WithKind("Namespace")},
}

// watchedKinds are those of all modes that are chosen.
func watchedKinds(modes []string) []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for _, mode := range modes {
		kinds = append(kinds, policyKinds[mode]...)
	}
	return kinds
}

func metadataOf(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(kind)
	return m
}

// bare reduces the metadata of an object to what is needed: its name and version, and the annotations that say which roles a Namespace may have.
func bare(obj any) (any, error) {
	m, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	var annotations map[string]string
	for _, key := range []string{policy.AllowedRolesAnnotation, policy.PermittedAnnotation} {
		if value, has := m.Annotations[key]; has && m.Kind == "Namespace" {
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[key] = policy.Bounded(value)
		}
	}
	m.ObjectMeta = metav1.ObjectMeta{Namespace: m.Namespace, Name: boundedName(m.Name), UID: m.UID, ResourceVersion: m.ResourceVersion, Annotations: annotations}
	return m, nil
}

// boundedName is what is kept of a name. Those of roles and bindings can have hundreds of
// kilobytes, and nothing is asked by them.
func boundedName(name string) string {
	if len(name) <= validation.DNS1123SubdomainMaxLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

const (
	// firstAsk is when to ask anew after a change, as the API server itself has to learn of it.
	firstAsk = 500 * time.Millisecond
	// spreadAsks is the time over which all Secrets are asked about when the whole cluster's rights change: so much later than the change at most.
	spreadAsks = 15 * time.Second
)

// share returns a number from 0 to 1: always the same for one text, and evenly spread over many.
func share(text string) float64 {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(text)) // never fails
	return float64(sum.Sum32()) / math.MaxUint32
}

// policyHandler enqueues the Secrets whose verdict may be another now.
type policyHandler struct {
	verdicts *verdicts
	pods     *podStore
	cached   client.Reader
	roles    bool // whether AWSIAMRoles are served
	clock    clock.PassiveClock
}

func (h policyHandler) funcs() handler.TypedEventHandler[*metav1.PartialObjectMetadata, reconcile.Request] {
	return handler.TypedFuncs[*metav1.PartialObjectMetadata, reconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*metav1.PartialObjectMetadata], q queue) {
			if !e.IsInInitialList {
				h.ask(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*metav1.PartialObjectMetadata], q queue) {
			if e.ObjectOld.ResourceVersion != e.ObjectNew.ResourceVersion && !sameAnnotations(e.ObjectOld, e.ObjectNew) {
				h.ask(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*metav1.PartialObjectMetadata], q queue) {
			h.ask(ctx, e.Object, q)
		},
	}
}

// sameAnnotations tells whether a Namespace changed in what does not matter. Of roles and bindings nothing is kept that could tell.
func sameAnnotations(a, b *metav1.PartialObjectMetadata) bool {
	if a.Kind != "Namespace" {
		return false
	}
	for _, key := range []string{policy.AllowedRolesAnnotation, policy.PermittedAnnotation} {
		if a.Annotations[key] != b.Annotations[key] {
			return false
		}
	}
	return true
}

// ask lets every Secret be judged anew of the namespace in which something changed, or of all.
func (h policyHandler) ask(ctx context.Context, changed *metav1.PartialObjectMetadata, q queue) {
	namespace := changed.Namespace
	if changed.Kind == "Namespace" {
		namespace = changed.Name
	}
	now := h.clock.Now()
	if h.verdicts.change(namespace, now); !h.verdicts.look(namespace, now) {
		return
	}
	waiting := h.pods.waitedFor(namespace)
	for _, name := range sorted(h.existing(ctx, namespace)) {
		after := firstAsk
		if namespace == "" {
			after += time.Duration(share(name.String()) * float64(spreadAsks))
		}
		delete(waiting, name)
		enqueueAfter(q, name, after, priorityBackground)
	}
	for _, name := range sorted(waiting) {
		enqueueAfter(q, name, firstAsk, priorityWaiting)
	}
}

// sorted returns the names in order, so that the same change has the same effects.
func sorted(names sets.Set[types.NamespacedName]) []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(names), func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// existing are the Secrets that are there, and those that an AWSIAMRole wants.
func (h policyHandler) existing(ctx context.Context, namespace string) sets.Set[types.NamespacedName] {
	names := sets.New[types.NamespacedName]()
	var secrets corev1.SecretList
	if err := h.cached.List(ctx, &secrets, client.InNamespace(namespace)); err == nil {
		for i := range secrets.Items {
			names.Insert(client.ObjectKeyFromObject(&secrets.Items[i]))
		}
	}
	if !h.roles {
		return names
	}
	var roles v1.AWSIAMRoleList
	if err := h.cached.List(ctx, &roles, client.InNamespace(namespace)); err == nil {
		for i := range roles.Items {
			names.Insert(client.ObjectKeyFromObject(&roles.Items[i]))
		}
	}
	return names
}
