package simulation

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/secret"
)

// The watches of an instance.
const (
	watchSecrets  = "Secrets"
	watchRoles    = "AWSIAMRoles"
	watchPods     = "Pods"
	watchPolicies = "Policies"
)

// cache is what one instance knows of the cluster by its watches, some time after it happened.
type cache struct {
	inst    *instance
	secrets map[key]*corev1.Secret
	roles   map[key]*v1.AWSIAMRole
	pods    map[key]*pod
	// policies are the versions of what decides who may have which role.
	policies map[key]int
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
		last: map[string]time.Duration{}, run: map[string]int{}, lost: map[string]bool{}, seen: map[string]int64{},
	}
}

// deliver runs what a watch's event does when it arrives: in order, and not at all if the watch
// ends before.
func (c *cache) deliver(watch string, do func()) {
	if c.lost[watch] {
		return
	}
	w := c.inst.w
	at := max(c.last[watch]+1, w.now+w.faults.lag(watch))
	c.last[watch] = at
	run := c.run[watch]
	w.at(at, func() {
		if c.inst.alive && c.run[watch] == run {
			do()
		}
	})
}

// lose ends a watch for a time. Then everything is listed.
func (c *cache) lose(watch string, d time.Duration) {
	if c.lost[watch] {
		return
	}
	c.lost[watch] = true
	c.run[watch]++
	c.inst.w.after(d, func() { c.relist(watch) })
}

// relist begins a watch again, as soon as the API server answers.
func (c *cache) relist(watch string) {
	w := c.inst.w
	if !c.inst.alive {
		return
	}
	if w.faults.active(faultAPIDown) {
		w.after(time.Second, func() { c.relist(watch) })
		return
	}
	c.lost[watch] = false
	c.list(watch)
}

// list takes in all there is; what is known and not listed is gone.
func (c *cache) list(watch string) {
	w := c.inst.w
	c.last[watch] = w.now
	switch watch {
	case watchSecrets:
		for _, name := range sorted(both(c.secrets, w.api.secrets)) {
			c.putSecret(name, w.api.secrets[name])
		}
	case watchRoles:
		for _, name := range sorted(both(c.roles, w.api.roles)) {
			c.putRole(name, w.api.roles[name])
		}
	case watchPods:
		c.replacePods()
	case watchPolicies:
		for _, name := range sorted(both(c.policies, w.rbac.versions)) {
			c.putPolicy(name, w.rbac.versions[name])
		}
	}
	c.seen[watch] = w.api.version
}

func both[A, B any](a map[key]A, b map[key]B) map[key]bool {
	all := map[key]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}

// putSecret takes in a Secret as it is now, or nil. The watch has only those with the
// controller's label.
func (c *cache) putSecret(name key, now *corev1.Secret) {
	was, ctx := c.secrets[name], context.Background()
	if now != nil && now.Labels[secret.OwnerLabel] != secret.OwnerValue {
		now = nil
	}
	if now != nil {
		now = now.DeepCopy()
		if _, err := c.inst.core.Transform(now); err != nil {
			panic(err)
		}
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

// handle calls a handler, if the instance leads.
func (c *cache) handle(do func(*queue)) {
	if c.inst.leading {
		do(c.inst.queue)
	}
}

// putRole takes in an AWSIAMRole as it is now, or nil.
func (c *cache) putRole(name key, now *v1.AWSIAMRole) {
	was, ctx := c.roles[name], context.Background()
	if now != nil {
		now = now.DeepCopy()
		if _, err := c.inst.core.Transform(now); err != nil {
			panic(err)
		}
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

// putPolicy takes in the version of a binding; 0 if it is gone.
func (c *cache) putPolicy(name key, version int) {
	was := c.policies[name]
	if was == version {
		return
	}
	c.policies[name] = version
	if version == 0 {
		delete(c.policies, name)
	}
	c.inst.policyChanged[name.Namespace] = c.inst.w.now
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
	all := slices.SortedFunc(maps.Keys(c.inst.w.pods.all), compareKeys)
	var live []*corev1.Pod
	listed := map[key]*pod{}
	for _, name := range all {
		if p := c.inst.w.pods.all[name]; p.live() {
			live = append(live, p.object())
			listed[name] = p
		}
	}
	for _, name := range sorted(both(c.pods, listed)) {
		c.view(name, listed[name])
	}
	c.inst.core.ReplacePods("", live)
}

// putPod takes in a pod as it is now; nil if it is gone or finished, which the watch cannot tell
// apart.
func (c *cache) putPod(name key, now *pod) {
	c.view(name, now)
	if now == nil {
		c.inst.core.DropPod(name)
		return
	}
	c.inst.core.PutPod(now.object())
}

// view notes what the instance knows of a pod now, and which Secrets nobody asks for any more.
func (c *cache) view(name key, now *pod) {
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
		if len(c.askers(s)) == 0 {
			c.inst.left[s] = c.inst.w.now
		}
	}
}

// askers are the pods that ask for a Secret, as far as the instance knows.
func (c *cache) askers(s key) []*pod {
	var all []*pod
	for _, name := range sorted(c.pods) {
		if slices.Contains(c.pods[name].secrets, s) {
			all = append(all, c.pods[name])
		}
	}
	return all
}

// resync hands every Secret to the handler again, as an informer does from time to time.
func (c *cache) resync() {
	for _, name := range sorted(c.secrets) {
		s := c.secrets[name]
		c.handle(func(q *queue) {
			c.inst.core.Secrets().Update(context.Background(), event.TypedUpdateEvent[*corev1.Secret]{ObjectOld: s, ObjectNew: s}, q)
		})
	}
}

// request is the key as the reconciler is asked.
func request(k key) reconcile.Request {
	return reconcile.Request{NamespacedName: k}
}
