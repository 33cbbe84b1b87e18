package simulation

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/secret"
)

// The watches of an instance.
const (
	watchSecrets  = "Secrets"
	watchRoles    = "AWSIAMRoles"
	watchPods     = "Pods"
	watchPolicies = "Policies"
	watchAccounts = "ServiceAccounts"
)

// watches are all of them.
var watches = []string{watchSecrets, watchRoles, watchPods, watchPolicies, watchAccounts}

// cache has the objects that one instance knows from its watches, which lag behind the API server.
type cache struct {
	inst    *instance
	secrets map[key]*corev1.Secret
	roles   map[key]*v1.AWSIAMRole
	pods    map[key]*pod
	// policies are the versions of what decides who may have which role.
	policies map[key]int
	accounts map[key]*accountState
	// seenAccounts are the states of the ServiceAccount of each Secret that were in the cache.
	seenAccounts map[key][]seenAccount
	// last is when the last event of a watch arrives, run counts how often the watch was begun,
	// and lost is true while it is not.
	last map[string]time.Duration
	run  map[string]int
	lost map[string]bool
	// seen is the latest version that a watch delivered.
	seen map[string]int64
}

func newCache(inst *instance) *cache {
	return &cache{
		inst: inst, secrets: map[key]*corev1.Secret{}, roles: map[key]*v1.AWSIAMRole{}, pods: map[key]*pod{}, policies: map[key]int{},
		accounts: map[key]*accountState{}, seenAccounts: map[key][]seenAccount{},
		last: map[string]time.Duration{}, run: map[string]int{}, lost: map[string]bool{}, seen: map[string]int64{},
	}
}

// deliver runs the handler of a watch event when it arrives: in order, and only if the watch has
// not ended before.
func (c *cache) deliver(watch string, do func()) {
	if c.lost[watch] {
		return
	}
	sim := c.inst.sim
	at := max(c.last[watch]+1, sim.now+sim.faults.lag(watch))
	c.last[watch] = at
	run := c.run[watch]
	sim.at(at, func() {
		if c.inst.alive && c.run[watch] == run {
			do()
		}
	})
}

// lose interrupts a watch. When it is restored, all objects are listed again.
func (c *cache) lose(watch string, d time.Duration) {
	if c.lost[watch] {
		return
	}
	c.lost[watch] = true
	c.run[watch]++
	c.inst.sim.after(d, func() { c.relist(watch) })
}

// relist restores a watch as soon as the API server is available.
func (c *cache) relist(watch string) {
	sim := c.inst.sim
	if !c.inst.alive {
		return
	}
	if sim.faults.active(faultAPIDown) {
		sim.after(time.Second, func() { c.relist(watch) })
		return
	}
	c.lost[watch] = false
	c.list(watch)
}

// list replaces the cached objects of a watch by those in the API server.
func (c *cache) list(watch string) {
	sim := c.inst.sim
	c.last[watch] = sim.now
	switch watch {
	case watchSecrets:
		for _, name := range sorted(unionKeys(c.secrets, sim.api.secrets)) {
			c.putSecret(name, sim.api.secrets[name])
		}
	case watchRoles:
		for _, name := range sorted(unionKeys(c.roles, sim.api.roles)) {
			c.putAWSIAMRole(name, sim.api.roles[name])
		}
	case watchPods:
		c.replacePods()
	case watchAccounts:
		c.replaceAccounts()
	case watchPolicies:
		for _, name := range sorted(unionKeys(c.policies, sim.rbac.versions)) {
			c.putPolicy(name, sim.rbac.versions[name])
		}
	}
	c.seen[watch] = sim.api.version
}

// unionKeys returns the keys of both maps.
func unionKeys[A, B any](a map[key]A, b map[key]B) sets.Set[key] {
	return sets.KeySet(a).Union(sets.KeySet(b))
}

// putSecret updates a Secret in the cache; now is nil if it was deleted. The watch has only Secrets
// with the controller's label.
func (c *cache) putSecret(name key, now *corev1.Secret) {
	was, ctx := c.secrets[name], context.Background()
	if now != nil && now.Labels[secret.OwnerLabel] != secret.OwnerValue {
		now = nil
	}
	if now != nil {
		now = now.DeepCopy()
		secret.Reduce(now, files)
	}
	handler := c.inst.core.Secrets()
	switch {
	case now == nil && was == nil:
	case now == nil:
		delete(c.secrets, name)
		c.handle(func(q *queue) { handler.Delete(ctx, event.TypedDeleteEvent[*corev1.Secret]{Object: was}, q) })
	case was == nil:
		c.secrets[name] = now
		c.handle(func(q *queue) { handler.Create(ctx, event.TypedCreateEvent[*corev1.Secret]{Object: now}, q) })
	case was.ResourceVersion != now.ResourceVersion:
		c.secrets[name] = now
		c.handle(func(q *queue) {
			handler.Update(ctx, event.TypedUpdateEvent[*corev1.Secret]{ObjectOld: was, ObjectNew: now}, q)
		})
	}
}

// handle calls an event handler if the instance is the leader.
func (c *cache) handle(do func(*queue)) {
	if c.inst.leading {
		do(c.inst.queue)
	}
}

// putAWSIAMRole updates an AWSIAMRole in the cache; now is nil if it was deleted.
func (c *cache) putAWSIAMRole(name key, now *v1.AWSIAMRole) {
	was, ctx := c.roles[name], context.Background()
	if now != nil {
		now = now.DeepCopy()
	}
	handler := c.inst.core.AWSIAMRoles()
	switch {
	case now == nil && was == nil:
	case now == nil:
		delete(c.roles, name)
		c.handle(func(q *queue) { handler.Delete(ctx, event.TypedDeleteEvent[*v1.AWSIAMRole]{Object: was}, q) })
	case was == nil:
		c.roles[name] = now
		c.handle(func(q *queue) { handler.Create(ctx, event.TypedCreateEvent[*v1.AWSIAMRole]{Object: now}, q) })
	case was.ResourceVersion != now.ResourceVersion:
		c.roles[name] = now
		c.handle(func(q *queue) {
			handler.Update(ctx, event.TypedUpdateEvent[*v1.AWSIAMRole]{ObjectOld: was, ObjectNew: now}, q)
		})
	}
}

// putPolicy updates the version of a binding in the cache; it is 0 if the binding was deleted.
func (c *cache) putPolicy(name key, version int) {
	was := c.policies[name]
	if was == version {
		return
	}
	c.policies[name] = version
	if version == 0 {
		delete(c.policies, name)
	}
	c.inst.policyChangedAt[name.Namespace] = c.inst.sim.now
	old, now, ctx, handler := binding(name, was), binding(name, version), context.Background(), c.inst.core.Policies()
	c.handle(func(q *queue) {
		switch {
		case was == 0:
			handler.Create(ctx, event.TypedCreateEvent[*metav1.PartialObjectMetadata]{Object: now}, q)
		case version == 0:
			handler.Delete(ctx, event.TypedDeleteEvent[*metav1.PartialObjectMetadata]{Object: old}, q)
		default:
			handler.Update(ctx, event.TypedUpdateEvent[*metav1.PartialObjectMetadata]{ObjectOld: old, ObjectNew: now}, q)
		}
	})
}

func (c *cache) replacePods() {
	all := slices.SortedFunc(maps.Keys(c.inst.sim.pods.all), compareKeys)
	var live []*corev1.Pod
	listed := map[key]*pod{}
	for _, name := range all {
		if p := c.inst.sim.pods.all[name]; p.live() {
			live = append(live, p.object())
			listed[name] = p
		}
	}
	for _, name := range sorted(unionKeys(c.pods, listed)) {
		c.updatePod(name, listed[name])
	}
	filteredwatch.Replace[*corev1.Pod](c.inst.podIndex, "", live)
}

// putPod updates a pod in the cache; now is nil if it was deleted or has finished, which are the
// same event in a filtered watch.
func (c *cache) putPod(name key, now *pod) {
	c.updatePod(name, now)
	if now == nil {
		c.inst.podIndex.Delete(name)
		return
	}
	c.inst.podIndex.Put(now.object())
}

// updatePod stores a pod, and when the last requester of a Secret is gone.
func (c *cache) updatePod(name key, now *pod) {
	was := c.pods[name]
	if now == nil {
		delete(c.pods, name)
	} else {
		c.pods[name] = now
	}
	if was == nil || was == now {
		return
	}
	for _, s := range was.secrets {
		if !was.isStranger(s) && len(c.podsRequesting(s)) == 0 {
			c.inst.unusedSince[s] = c.inst.sim.now
		}
	}
}

// podsRequesting returns the pods in the cache that request a Secret, and can have it.
func (c *cache) podsRequesting(s key) []*pod {
	var all []*pod
	for _, name := range sorted(c.pods) {
		if p := c.pods[name]; slices.Contains(p.secrets, s) && !p.isStranger(s) {
			all = append(all, c.pods[name])
		}
	}
	return all
}

// resync passes all Secrets to the event handler again, as an informer does periodically.
func (c *cache) resync() {
	for _, name := range sorted(c.secrets) {
		s := c.secrets[name]
		c.handle(func(q *queue) {
			c.inst.core.Secrets().Update(context.Background(), event.TypedUpdateEvent[*corev1.Secret]{ObjectOld: s, ObjectNew: s}, q)
		})
	}
}

// request returns the reconcile request of a key.
func request(k key) reconcile.Request {
	return reconcile.Request{NamespacedName: k}
}
