// Package serviceaccounts watches ServiceAccounts by their metadata and keeps what they ask for.
// Those that ask for nothing are dropped as they come in.
package serviceaccounts

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/request"
)

// ServiceAccount is a ServiceAccount that asks for a Secret, reduced to what the controller needs
// of it.
type ServiceAccount struct {
	Name    types.NamespacedName
	UID     types.UID
	Request request.Request
	// Injects reports whether its pods get its Secret by injection, and InjectsLate whether it came
	// to do so when it could have pods already.
	Injects, InjectsLate bool
}

// secret returns the name of the Secret that the ServiceAccount asks for.
func (a *ServiceAccount) secret() types.NamespacedName {
	return types.NamespacedName{Namespace: a.Name.Namespace, Name: a.Request.Secret}
}

// Index has the ServiceAccounts that ask for a Secret. It is safe for concurrent use.
type Index struct {
	*filteredwatch.Scopes

	// currentUID asks the API server for the UID of a ServiceAccount; "" if there is none.
	currentUID func(ctx context.Context, account types.NamespacedName) (types.UID, error)

	lock sync.RWMutex
	// byName has the ServiceAccounts, which do not change once they are in it.
	byName map[types.NamespacedName]*ServiceAccount
	// changed is called with each Secret for which something else is asked.
	changed func(secret types.NamespacedName)
}

// New returns an empty Index. It is in sync when every scope, a namespace or "" for all, has been
// listed. currentUID is for IsCurrent: see CurrentUID.
func New(scopes []string, currentUID func(context.Context, types.NamespacedName) (types.UID, error)) *Index {
	return &Index{
		Scopes:     filteredwatch.NewScopes(scopes),
		currentUID: currentUID,
		byName:     map[types.NamespacedName]*ServiceAccount{},
		changed:    func(types.NamespacedName) {},
	}
}

// Subscribe calls changed for every Secret that ServiceAccounts ask for now, and from then on for
// each whose ServiceAccount comes to ask for it, asks for something else, no longer asks, is
// deleted, or is another one of the same name. A second call replaces the first.
func (x *Index) Subscribe(changed func(secret types.NamespacedName)) {
	x.lock.Lock()
	x.changed = changed
	accounts := slices.Collect(maps.Values(x.byName))
	x.lock.Unlock()
	for _, account := range accounts {
		changed(account.secret())
	}
}

// Get returns the ServiceAccount of a name, and reports whether it asks for a Secret.
func (x *Index) Get(account types.NamespacedName) (ServiceAccount, bool) {
	x.lock.RLock()
	defer x.lock.RUnlock()
	found, ok := x.byName[account]
	if !ok {
		return ServiceAccount{}, false
	}
	return *found, true
}

// ForSecret returns the ServiceAccount that asks for a Secret, and reports whether there is one.
func (x *Index) ForSecret(secret types.NamespacedName) (ServiceAccount, bool) {
	name, ok := request.ServiceAccountOf(secret.Name)
	if !ok {
		return ServiceAccount{}, false
	}
	return x.Get(types.NamespacedName{Namespace: secret.Namespace, Name: name})
}

// Injects reports whether the pods of a ServiceAccount get its Secret by injection.
func (x *Index) Injects(account types.NamespacedName) bool {
	x.lock.RLock()
	defer x.lock.RUnlock()
	found := x.byName[account]
	return found != nil && found.Injects
}

// IsCurrent asks the API server whether it has the very ServiceAccount of the Index, as the watch
// can be late. It is for decisions that cannot be reverted. An error means that it is not known.
func (x *Index) IsCurrent(ctx context.Context, account *ServiceAccount) (bool, error) {
	uid, err := x.currentUID(ctx, account.Name)
	return uid == account.UID, err
}

// Len returns the number of ServiceAccounts that ask for a Secret.
func (x *Index) Len() int {
	x.lock.RLock()
	defer x.lock.RUnlock()
	return len(x.byName)
}

// Put adds or replaces a ServiceAccount, or removes it if it asks for nothing.
func (x *Index) Put(account *metav1.PartialObjectMetadata) {
	name := types.NamespacedName{Namespace: account.Namespace, Name: account.Name}
	asked, ok := request.FromServiceAccount(account)
	if !ok {
		x.Delete(name)
		return
	}
	next := &ServiceAccount{Name: name, UID: account.UID, Request: asked, Injects: account.Labels[request.RoleAnnotatedLabel] == "true"}
	if next.Injects {
		previous, known := x.Get(name)
		next.InjectsLate = x.HasSynced() && (!known || !previous.Injects) || previous.InjectsLate
	}
	x.replaceAccount(name, next)
}

// Delete removes a ServiceAccount if it is there.
func (x *Index) Delete(account types.NamespacedName) { x.replaceAccount(account, nil) }

// Names returns the names of the ServiceAccounts that ask for a Secret.
func (x *Index) Names() []types.NamespacedName {
	x.lock.RLock()
	defer x.lock.RUnlock()
	return slices.Collect(maps.Keys(x.byName))
}

// replaceAccount puts next in the place of the ServiceAccount of a name, or removes that if next is
// nil, and calls changed if something else is asked for.
func (x *Index) replaceAccount(name types.NamespacedName, next *ServiceAccount) {
	x.lock.Lock()
	previous, changed := x.byName[name], x.changed
	if reflect.DeepEqual(previous, next) {
		x.lock.Unlock()
		return
	}
	if next == nil {
		delete(x.byName, name)
	} else {
		x.byName[name] = next
		previous = next
	}
	x.lock.Unlock()
	changed(previous.secret())
}
