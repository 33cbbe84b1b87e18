package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "kube-aws-iam-controller/api/v1"
)

// api is the API server. Secrets and AWSIAMRoles are in controller-runtime's fake client. It
// adds what that lacks: UIDs and preconditions on them, generations, deletion of namespaces, and
// watches that lag.
//
// The fake client's own tracker keeps managed fields, at milliseconds for each write; a plain one
// does not.
type api struct {
	sim   *simulator
	store client.WithWatch
	uids  int
	// secrets and roles are the objects in the store. They must not be changed.
	secrets map[key]*corev1.Secret
	roles   map[key]*v1.AWSIAMRole
	// terminating are the namespaces that are being deleted.
	terminating map[string]bool
	// version is the last resource version.
	version int64
}

var (
	scheme = newScheme()
	codecs = serializer.NewCodecFactory(scheme)
)

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1.AddToScheme(s))
	return s
}

var secretResource = schema.GroupResource{Resource: "secrets"}

func newAPI(sim *simulator) *api {
	a := &api{sim: sim, secrets: map[key]*corev1.Secret{}, roles: map[key]*v1.AWSIAMRole{}, terminating: map[string]bool{}}
	plain := fake.NewClientBuilder().WithScheme(scheme).WithGlobalResourceVersionCounter().WithReturnManagedFields().
		WithObjectTracker(clienttesting.NewObjectTracker(scheme, codecs.UniversalDecoder())).Build()
	a.store = interceptor.NewClient(plain, interceptor.Funcs{Create: a.create, Update: a.update, Delete: a.delete, SubResourceUpdate: a.updateStatus})
	return a
}

func (a *api) create(ctx context.Context, c client.WithWatch, obj client.Object, o ...client.CreateOption) error {
	if a.terminating[obj.GetNamespace()] {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 403, Reason: metav1.StatusReasonForbidden, Message: "the namespace is being terminated",
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}},
		}}
	}
	a.uids++
	obj.SetUID(types.UID("uid-" + strconv.Itoa(a.uids)))
	obj.SetGeneration(1)
	obj.SetCreationTimestamp(metav1.NewTime(a.sim.time()))
	if err := c.Create(ctx, obj, o...); err != nil {
		obj.SetUID("")
		return err
	}
	a.changed(nil, obj)
	return nil
}

func (a *api) update(ctx context.Context, c client.WithWatch, obj client.Object, o ...client.UpdateOption) error {
	old := a.get(obj)
	if old == nil {
		return apierrors.NewNotFound(secretResource, obj.GetName())
	}
	if obj.GetUID() != "" && obj.GetUID() != old.GetUID() {
		return apierrors.NewConflict(secretResource, obj.GetName(), errors.New("another UID"))
	}
	if err := validate(old, obj); err != nil {
		return err
	}
	if err := c.Update(ctx, obj, o...); err != nil {
		return err
	}
	a.changed(old, obj)
	return nil
}

// validate rejects what the API server rejects, and sets the generation.
func validate(old, obj client.Object) error {
	switch was := old.(type) {
	case *corev1.Secret:
		is, _ := obj.(*corev1.Secret)
		if is.Type != was.Type || was.Immutable != nil && *was.Immutable && !maps.EqualFunc(is.Data, was.Data, slices.Equal[[]byte]) {
			return apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, was.Name, nil)
		}
	case *v1.AWSIAMRole:
		is, _ := obj.(*v1.AWSIAMRole)
		is.Generation, is.Status = was.Generation, was.Status
		if !equality.Semantic.DeepEqual(is.Spec, was.Spec) {
			is.Generation++
		}
	}
	return nil
}

// updateStatus does the same as the fake client's own, at a tenth of the cost.
func (a *api) updateStatus(ctx context.Context, c client.Client, _ string, obj client.Object, _ ...client.SubResourceUpdateOption) error {
	given, _ := obj.(*v1.AWSIAMRole)
	old := a.roles[client.ObjectKeyFromObject(obj)]
	if old == nil || old.UID != given.UID {
		return apierrors.NewNotFound(secretResource, obj.GetName())
	}
	now := old.DeepCopy()
	now.ResourceVersion, now.Status = given.ResourceVersion, given.Status
	if err := c.Update(ctx, now); err != nil {
		return err
	}
	now.DeepCopyInto(given)
	a.changed(old, now)
	return nil
}

func (a *api) delete(ctx context.Context, c client.WithWatch, obj client.Object, o ...client.DeleteOption) error {
	old := a.get(obj)
	if old == nil {
		return apierrors.NewNotFound(secretResource, obj.GetName())
	}
	options := (&client.DeleteOptions{}).ApplyOptions(o)
	if p := options.Preconditions; p != nil && p.UID != nil && *p.UID != old.GetUID() {
		return apierrors.NewConflict(secretResource, obj.GetName(), errors.New("another UID"))
	}
	if err := c.Delete(ctx, obj, o...); err != nil {
		return err
	}
	a.version++ // the store does not count deletions
	a.changed(old, nil)
	return nil
}

// get returns the stored object of the same name, or nil.
func (a *api) get(obj client.Object) client.Object {
	name := client.ObjectKeyFromObject(obj)
	switch obj.(type) {
	case *v1.AWSIAMRole:
		if r, ok := a.roles[name]; ok {
			return r
		}
	default:
		if s, ok := a.secrets[name]; ok {
			return s
		}
	}
	return nil
}

// changed stores a copy of an object that was written, and notifies the watches.
func (a *api) changed(old, obj client.Object) {
	if obj != nil {
		a.version, _ = strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	}
	one := obj
	if one == nil {
		one = old
	}
	name := client.ObjectKeyFromObject(one)
	switch o := one.(type) {
	case *corev1.Secret:
		var now *corev1.Secret
		if obj != nil {
			now = o.DeepCopy()
			a.secrets[name] = now
		} else {
			delete(a.secrets, name)
		}
		a.sim.secretChanged(name, now)
	case *v1.AWSIAMRole:
		var now *v1.AWSIAMRole
		if obj != nil {
			now = o.DeepCopy()
			a.roles[name] = now
		} else {
			delete(a.roles, name)
			a.collect(o.UID)
		}
		a.sim.awsIAMRoleChanged(name, now)
	}
}

// collect is Kubernetes' garbage collector: it deletes Secrets some time after their owner.
func (a *api) collect(owner types.UID) {
	a.sim.after(a.sim.between("garbage "+string(owner), 0, maxGarbageCollectionDelay), func() {
		for _, name := range sorted(a.secrets) {
			s := a.secrets[name]
			if slices.ContainsFunc(s.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == owner }) && len(s.OwnerReferences) == 1 {
				a.sim.trace.add("garbage collector deletes Secret %s", name)
				a.remove(s)
			}
		}
	})
}

// put creates or updates an object on behalf of other writers than the controller. Faults do not
// affect it.
func (a *api) put(obj client.Object) error {
	if old := a.get(obj); old != nil {
		obj.SetUID(old.GetUID())
		obj.SetResourceVersion(old.GetResourceVersion())
		return a.store.Update(context.Background(), obj)
	}
	obj.SetResourceVersion("")
	return a.store.Create(context.Background(), obj)
}

func (a *api) remove(obj client.Object) {
	_ = a.store.Delete(context.Background(), obj)
}

// sorted returns the keys of a map in order.
func sorted[V any](m map[key]V) []key {
	return slices.SortedFunc(maps.Keys(m), compareKeys)
}

func compareKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func parseVersion(v string) int64 {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("resource version %q", v))
	}
	return n
}
