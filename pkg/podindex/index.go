// Package podindex watches pods and keeps who asks for which Secret. Pods that ask for none are
// dropped as they come in: its memory follows what is asked for, not the size of the cluster.
//
// A SharedIndexInformer with a transform, over the same filtered list and watch, would take three
// quarters of the code. But it needs 830 bytes for a pod that asks for a Secret of its own, where
// an Index needs 520. It queues notifications without a bound while its subscriber is busy, where
// an Index lets the watch wait. And it notifies from goroutines of its own, so that the simulation
// could not replay a seed.
package podindex

import (
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/request"
)

// Pod is a pod that asks for Secrets, reduced to what the controller needs of it. It does not
// change once it is in an Index.
type Pod struct {
	Name           types.NamespacedName
	UID            types.UID
	ServiceAccount string
	// FirstSeen is when the Index first had the pod.
	FirstSeen time.Time

	requests []request.Request
}

// Consumer is a pod with its request for one Secret.
type Consumer struct {
	request.Request
	Pod *Pod
}

// secrets returns the names of the Secrets that the pod asks for; none for a nil pod.
func (p *Pod) secrets() []types.NamespacedName {
	if p == nil {
		return nil
	}
	names := make([]types.NamespacedName, len(p.requests))
	for i, r := range p.requests {
		names[i] = types.NamespacedName{Namespace: p.Name.Namespace, Name: r.Secret}
	}
	return names
}

// Index has the pods that ask for Secrets, by name and by Secret. It is safe for concurrent use.
type Index struct {
	*filteredwatch.Scopes

	mountPath string
	clock     clock.PassiveClock
	injection Injection
	// refreshes has the rate limit of each namespace that had a refresh lately. refreshing is held
	// during one.
	refreshes  *lru.Cache
	refreshing sync.Mutex

	lock   sync.RWMutex
	byName map[types.NamespacedName]*Pod
	// bySecret has the pods that ask for a Secret, the first seen first.
	bySecret map[types.NamespacedName][]*Pod
	// changed is called with each Secret whose consumers change.
	changed func(types.NamespacedName)
}

// New returns an empty Index. It is in sync when every scope, a namespace or "" for all, has been
// listed.
func New(scopes []string, mountPath string, c clock.PassiveClock, i Injection) *Index {
	return &Index{
		injection: i,
		refreshes: lru.New(maxIdleNamespaces),
		Scopes:    filteredwatch.NewScopes(scopes),
		mountPath: mountPath,
		clock:     c,
		byName:    map[types.NamespacedName]*Pod{},
		bySecret:  map[types.NamespacedName][]*Pod{},
		changed:   func(types.NamespacedName) {},
	}
}

// Subscribe calls changed for every Secret that pods ask for now, and from then on for each whose
// consumers change. A second call replaces the first.
func (x *Index) Subscribe(changed func(types.NamespacedName)) {
	x.lock.Lock()
	x.changed = changed
	secrets := slices.Collect(maps.Keys(x.bySecret))
	x.lock.Unlock()
	for _, secret := range secrets {
		changed(secret)
	}
}

// ConsumersOf returns the pods that ask for a Secret, the first seen first. strangers are those
// that ask for the Secret of another ServiceAccount than theirs, and get nothing.
func (x *Index) ConsumersOf(secret types.NamespacedName) (consumers, strangers []Consumer) {
	x.lock.RLock()
	defer x.lock.RUnlock()
	for _, pod := range x.bySecret[secret] {
		for _, r := range pod.requests {
			switch {
			case r.Secret != secret.Name:
			case r.ServiceAccount() != "" && r.Validate() != nil:
				strangers = append(strangers, Consumer{r, pod})
			default:
				consumers = append(consumers, Consumer{r, pod})
			}
		}
	}
	return consumers, strangers
}

// ByServiceAccount returns consumers by the names of their ServiceAccounts, and these names in the
// order in which their first pods come.
func ByServiceAccount(consumers []Consumer) (accounts []string, byAccount map[string][]Consumer) {
	byAccount = map[string][]Consumer{}
	for _, c := range consumers {
		account := c.Pod.ServiceAccount
		if len(byAccount[account]) == 0 {
			accounts = append(accounts, account)
		}
		byAccount[account] = append(byAccount[account], c)
	}
	return accounts, byAccount
}

// SecretsIn returns the Secrets that pods ask for in a namespace, or with "" in all.
func (x *Index) SecretsIn(namespace string) sets.Set[types.NamespacedName] {
	x.lock.RLock()
	defer x.lock.RUnlock()
	secrets := sets.New[types.NamespacedName]()
	for secret := range x.bySecret {
		if namespace == "" || namespace == secret.Namespace {
			secrets.Insert(secret)
		}
	}
	return secrets
}

// Len returns the number of pods that ask for Secrets, and of Secrets that they ask for.
func (x *Index) Len() (pods, secrets int) {
	x.lock.RLock()
	defer x.lock.RUnlock()
	return len(x.byName), len(x.bySecret)
}

// Put adds or replaces a pod. What a pod asks for is fixed at its creation, but for ephemeral
// containers.
func (x *Index) Put(pod *corev1.Pod) {
	next := &Pod{
		Name:           types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name},
		UID:            pod.UID,
		ServiceAccount: request.ServiceAccountName(pod),
		FirstSeen:      x.clock.Now(),
		requests:       request.FromPod(pod, x.mountPath),
	}
	x.replacePod(next.Name, next)
}

// Delete removes a pod.
func (x *Index) Delete(pod types.NamespacedName) { x.replacePod(pod, nil) }

// Names returns the names of the pods that ask for Secrets.
func (x *Index) Names() []types.NamespacedName {
	x.lock.RLock()
	defer x.lock.RUnlock()
	return slices.Collect(maps.Keys(x.byName))
}

// replacePod puts next in the place of the pod of a name, or removes that if next is nil, and
// calls changed.
func (x *Index) replacePod(name types.NamespacedName, next *Pod) {
	x.lock.Lock()
	secrets, changed := x.swap(name, next), x.changed
	x.lock.Unlock()
	for _, secret := range secrets {
		changed(secret)
	}
}

// swap is replacePod with the lock held. It returns the Secrets whose consumers change.
func (x *Index) swap(name types.NamespacedName, next *Pod) (changed []types.NamespacedName) {
	previous := x.byName[name]
	if next != nil && previous != nil && previous.UID == next.UID {
		if slices.EqualFunc(previous.requests, next.requests, sameSecret) {
			return nil
		}
		next.FirstSeen = previous.FirstSeen
	}
	return append(x.unlink(previous), x.link(next)...)
}

// unlink removes a pod from both maps and returns the Secrets that it asked for. The lock is held.
func (x *Index) unlink(pod *Pod) []types.NamespacedName {
	secrets := pod.secrets()
	for _, secret := range secrets {
		x.bySecret[secret] = slices.DeleteFunc(x.bySecret[secret], func(p *Pod) bool { return p == pod })
		if len(x.bySecret[secret]) == 0 {
			delete(x.bySecret, secret)
		}
	}
	if pod != nil {
		delete(x.byName, pod.Name)
	}
	return secrets
}

// link adds a pod to both maps if it asks for anything, and returns the Secrets that it asks for.
// The lock is held.
func (x *Index) link(pod *Pod) []types.NamespacedName {
	secrets := pod.secrets()
	for _, secret := range secrets {
		x.byName[pod.Name] = pod
		at, _ := slices.BinarySearchFunc(x.bySecret[secret], pod, func(a, b *Pod) int { return a.FirstSeen.Compare(b.FirstSeen) })
		x.bySecret[secret] = slices.Insert(x.bySecret[secret], at, pod)
	}
	return secrets
}

func sameSecret(a, b request.Request) bool { return a.Secret == b.Secret }
