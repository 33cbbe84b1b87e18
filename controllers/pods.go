package controllers

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"

	"kube-aws-iam-controller/pkg/demand"
)

// wanter is a pod that wants Secrets, reduced to what the controller needs of it.
type wanter struct {
	name           types.NamespacedName
	uid            types.UID
	serviceAccount string
	// since is when the controller first saw the pod, by the machine's clock, as are all times here.
	since   time.Time
	demands []demand.Demand
	// told is what the pod was told; guarded by the store's lock.
	told []told
}

// told is something that a pod was told of a Secret.
type told struct{ secret, about string }

// secrets are the names of the Secrets that the pod wants.
func (w *wanter) secrets() []types.NamespacedName {
	names := make([]types.NamespacedName, len(w.demands))
	for i, d := range w.demands {
		names[i] = types.NamespacedName{Namespace: w.name.Namespace, Name: d.Secret}
	}
	return names
}

// want is one pod's wish for one Secret.
type want struct {
	demand.Demand
	pod *wanter
}

// podStore remembers the pods that want Secrets, and forgets all others at once: its memory follows what is wanted, not the size of the
// cluster. A reflector for each watched namespace fills it.
type podStore struct {
	mountPath string
	clock     clock.PassiveClock

	lock   sync.RWMutex
	byName map[types.NamespacedName]*wanter
	// bySecret has the pods that want a Secret, the first seen first.
	bySecret map[types.NamespacedName][]*wanter
	// left is when the last pod that wanted a Secret went away, as far as somebody listened; else it is not before listening began.
	left      map[types.NamespacedName]time.Time
	listening time.Time
	// unsynced are the scopes of which the first list is still missing.
	unsynced map[string]bool
	synced   chan struct{}
	// changed is told of each Secret for which the wanting pods have changed, once somebody listens.
	changed func(types.NamespacedName)
}

// newPodStore makes an empty store that is in sync when every scope, a namespace or "" for all, has been listed.
func newPodStore(scopes []string, mountPath string, c clock.PassiveClock) *podStore {
	p := &podStore{
		mountPath: mountPath,
		clock:     c,
		byName:    map[types.NamespacedName]*wanter{},
		bySecret:  map[types.NamespacedName][]*wanter{},
		left:      map[types.NamespacedName]time.Time{},
		unsynced:  map[string]bool{},
		synced:    make(chan struct{}),
		changed:   func(types.NamespacedName) {},
	}
	for _, scope := range scopes {
		p.unsynced[scope] = true
	}
	return p
}

// isSynced tells whether every pod has been listed.
func (p *podStore) isSynced() bool {
	select {
	case <-p.synced:
		return true
	default:
		return false
	}
}

// listen calls changed for every Secret that is wanted now, and from then on for each for which the wanting pods change.
func (p *podStore) listen(changed func(types.NamespacedName)) {
	p.lock.Lock()
	p.changed, p.listening = changed, p.clock.Now()
	wanted := make([]types.NamespacedName, 0, len(p.bySecret))
	for secret := range p.bySecret {
		wanted = append(wanted, secret)
	}
	p.lock.Unlock()
	for _, secret := range wanted {
		changed(secret)
	}
}

// wanting lists the pods that want a Secret, the first seen first. If there is none, it says since when.
func (p *podStore) wanting(secret types.NamespacedName) (wants []want, noneSince time.Time) {
	p.lock.RLock()
	defer p.lock.RUnlock()
	for _, pod := range p.bySecret[secret] {
		for _, d := range pod.demands {
			if d.Secret == secret.Name {
				wants = append(wants, want{Demand: d, pod: pod})
			}
		}
	}
	if left, ok := p.left[secret]; ok {
		return wants, left
	}
	return wants, p.listening
}

// waitedFor are the Secrets that pods want in a namespace, or with "" everywhere.
func (p *podStore) waitedFor(namespace string) sets.Set[types.NamespacedName] {
	p.lock.RLock()
	defer p.lock.RUnlock()
	names := sets.New[types.NamespacedName]()
	for secret := range p.bySecret {
		if namespace == "" || namespace == secret.Namespace {
			names.Insert(secret)
		}
	}
	return names
}

// forget drops what is remembered of a Secret that exists no longer and that no pod wants.
func (p *podStore) forget(secret types.NamespacedName) {
	p.lock.Lock()
	defer p.lock.Unlock()
	delete(p.left, secret)
}

// findings begins what is noted of a pod's own mistakes, which stay what they are.
const findings = "finding "

// isNews reports whether a pod was not yet told of something about a Secret.
func (p *podStore) isNews(pod *wanter, secret, about string) bool {
	p.lock.RLock()
	defer p.lock.RUnlock()
	return !slices.Contains(pod.told, told{secret, about})
}

// tell notes that a pod is told of something about a Secret, and returns whether this is news to it.
func (p *podStore) tell(pod *wanter, secret, about string) bool {
	p.lock.Lock()
	defer p.lock.Unlock()
	return pod.note(told{secret, about})
}

// served notes that pods have what they want of a Secret: what goes wrong later is news again.
func (p *podStore) served(wants []want, secret string) {
	p.lock.Lock()
	defer p.lock.Unlock()
	for _, w := range wants {
		w.pod.told = slices.DeleteFunc(w.pod.told, func(t told) bool { return t.secret == secret && !strings.HasPrefix(t.about, findings) })
		w.pod.note(told{secret, ReasonCreateCredentials})
	}
}

// forgive notes that what pods were told of a Secret is true no longer.
func (p *podStore) forgive(wants []want, secret, about string) {
	p.lock.Lock()
	defer p.lock.Unlock()
	for _, w := range wants {
		w.pod.told = slices.DeleteFunc(w.pod.told, func(t told) bool { return t == told{secret, about} })
	}
}

// wasServed tells whether a pod ever had what it wants of a Secret.
func (p *podStore) wasServed(pod *wanter, secret string) bool {
	p.lock.RLock()
	defer p.lock.RUnlock()
	return slices.Contains(pod.told, told{secret, ReasonCreateCredentials})
}

// note remembers what a pod was told, and returns whether this is news. The store's lock is held.
func (w *wanter) note(t told) bool {
	if slices.Contains(w.told, t) {
		return false
	}
	w.told = append(w.told, t)
	return true
}

// put takes in a pod as it is now. The pods' demands come with their creation; only ephemeral containers can add to them.
func (p *podStore) put(pod *corev1.Pod) {
	next := &wanter{
		name:           types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name},
		uid:            pod.UID,
		serviceAccount: cmp.Or(pod.Spec.ServiceAccountName, "default"),
		since:          p.clock.Now(),
		demands:        demand.FromPod(pod, p.mountPath),
	}
	p.change(func() []types.NamespacedName { return p.swap(next.name, next) })
}

// drop takes out a pod.
func (p *podStore) drop(pod types.NamespacedName) {
	p.change(func() []types.NamespacedName { return p.swap(pod, nil) })
}

// change runs a function that returns the Secrets it changes, and then tells of them.
func (p *podStore) change(apply func() []types.NamespacedName) {
	p.lock.Lock()
	secrets, tell := apply(), p.changed
	p.lock.Unlock()
	for _, secret := range secrets {
		tell(secret)
	}
}

// swap replaces what is known of a pod, by nothing if next is nil, and returns the Secrets for which that makes a difference. The lock is held.
func (p *podStore) swap(name types.NamespacedName, next *wanter) (changed []types.NamespacedName) {
	previous := p.byName[name]
	if next != nil && previous != nil && previous.uid == next.uid {
		if slices.EqualFunc(previous.demands, next.demands, sameSecret) {
			return nil
		}
		next.since, next.told = previous.since, previous.told
	}
	changed = append(p.unlink(previous), p.link(next)...)
	for _, secret := range changed {
		if len(p.bySecret[secret]) == 0 {
			delete(p.bySecret, secret)
			if !p.listening.IsZero() { // a standby only looks on, and would never forget
				p.left[secret] = p.clock.Now()
			}
		}
	}
	return changed
}

// unlink takes a pod out of the indexes and returns what it wanted. The lock is held.
func (p *podStore) unlink(pod *wanter) []types.NamespacedName {
	if pod == nil {
		return nil
	}
	delete(p.byName, pod.name)
	secrets := pod.secrets()
	for _, secret := range secrets {
		p.bySecret[secret] = slices.DeleteFunc(p.bySecret[secret], func(w *wanter) bool { return w == pod })
	}
	return secrets
}

// link puts a pod that wants something into the indexes and returns what it wants. The lock is held.
func (p *podStore) link(pod *wanter) []types.NamespacedName {
	if pod == nil || len(pod.demands) == 0 {
		return nil
	}
	p.byName[pod.name] = pod
	secrets := pod.secrets()
	for _, secret := range secrets {
		at, _ := slices.BinarySearchFunc(p.bySecret[secret], pod, func(a, b *wanter) int { return a.since.Compare(b.since) })
		p.bySecret[secret] = slices.Insert(p.bySecret[secret], at, pod)
		delete(p.left, secret)
	}
	return secrets
}

func sameSecret(a, b demand.Demand) bool { return a.Secret == b.Secret }

// replace makes the pods of one scope, a namespace or "" for all, those that are listed.
func (p *podStore) replace(scope string, pods []*corev1.Pod) {
	listed := map[types.NamespacedName]bool{}
	for _, pod := range pods {
		p.put(pod)
		listed[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = true
	}
	for _, name := range p.names() {
		if (scope == "" || scope == name.Namespace) && !listed[name] {
			p.drop(name)
		}
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	if delete(p.unsynced, scope); len(p.unsynced) == 0 && !p.isSynced() {
		close(p.synced)
	}
}

func (p *podStore) names() []types.NamespacedName {
	p.lock.RLock()
	defer p.lock.RUnlock()
	names := make([]types.NamespacedName, 0, len(p.byName))
	for name := range p.byName {
		names = append(names, name)
	}
	return names
}
