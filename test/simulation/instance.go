package simulation

import (
	"context"
	"iter"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// instance is one controller process, from its start until it is killed.
type instance struct {
	w              *World
	number         int
	cluster        string
	alive, leading bool
	core           *controllers.Core
	cache          *cache
	queue          *queue
	machine        *machine
	// known is true as soon as STS said who the controller is.
	known   bool
	running []*task
	began   time.Duration

	// What follows is kept for the checks.

	// left is when the last pod that asked for a Secret went, and policyChanged when a change of
	// who may have which role was seen, both as the instance knows.
	left          map[key]time.Duration
	policyChanged map[string]time.Duration
	memory        map[key]*looks
	issues        map[key][]time.Duration
	reconciles    map[key]burst
	// ours are Secrets that the instance wrote and has not seen yet, with their versions, and
	// deleted those that it deleted, with their UIDs.
	ours    map[key]int64
	deleted map[key]types.UID
	// tokens are how many Secrets may be deleted for refusals at once, as of tokensAt.
	tokens   float64
	tokensAt time.Duration
}

// concurrency is how many reconciles an instance runs at once; small, so that the queue matters.
const concurrency = 8

// start begins a process with an empty memory. It leads at once.
func (w *World) start(cluster string) *instance {
	w.started++
	inst := &instance{
		w: w, number: w.started, cluster: cluster, alive: true, began: w.now,
		left: map[key]time.Duration{}, policyChanged: map[string]time.Duration{}, memory: map[key]*looks{}, issues: map[key][]time.Duration{},
		reconciles: map[key]burst{}, ours: map[key]int64{}, deleted: map[key]types.UID{}, tokens: 10, tokensAt: w.now,
	}
	inst.machine = &machine{w: w}
	inst.cache = newCache(inst)
	base := func() role.Base {
		if inst.known || w.cfg.baseKnown {
			return w.sts.base
		}
		return role.Base{}
	}
	aws := controllers.Identity{Caller: inst.caller, Assume: inst.assume}
	inst.core = controllers.NewCore(&controllers.Dependencies{
		Settings: controllers.Settings{
			ClusterName: cluster, MountPath: mountPath, SessionDuration: w.cfg.session, RefreshLimit: w.cfg.refreshLimit,
			UnusedGracePeriod: w.cfg.grace, DryRunAuthorization: w.cfg.dryRun,
		},
		Client: inst.client(), Cached: inst.cached(), Live: inst.live(), Uncached: inst.client(),
		Authorizer: inst.authorizer(), Working: aws, Own: aws, Base: base, ServesRoles: true,
		Files:   secret.Files{MountPath: mountPath, Region: "eu-central-1"},
		Metrics: metrics.New(prometheus.NewRegistry()),
		Clock:   corrected{inst.machine}, Machine: monotonic{inst.machine}, Sure: inst.machine.sure,
		Recorder: recorder{inst},
		IsOwnRole: func(ctx context.Context, arn role.ARN) (bool, error) {
			caller, err := inst.caller(ctx)
			return err == nil && caller.Is(arn), err
		},
		UsesKey: func(string) bool { return false },
	})
	inst.queue = newQueue(w, inst.core.Retries())
	w.instances = append(w.instances, inst)
	w.trace.add("instance %d of cluster %s starts", inst.number, cluster)
	w.faults.started(inst)
	inst.lead()
	return inst
}

const mountPath = "/meta/aws-iam"

func (inst *instance) authorizer() policy.Authorizer {
	if inst.w.cfg.alwaysAllow {
		return policy.AlwaysAllow
	}
	return policy.RBAC(inst.review)
}

// lead lists all there is and begins to work.
func (inst *instance) lead() {
	for _, watch := range []string{watchSecrets, watchRoles, watchPods, watchPolicies} {
		inst.cache.list(watch)
	}
	inst.leading = true
	clear(inst.policyChanged) // what is there at the start is no change
	ctx := context.Background()
	for _, name := range sorted(inst.cache.secrets) {
		inst.core.Secrets().Create(ctx, event.TypedCreateEvent[*corev1.Secret]{Object: inst.cache.secrets[name], IsInInitialList: true}, inst.queue)
	}
	for _, name := range sorted(inst.cache.roles) {
		inst.core.AWSIAMRoles().Create(ctx, event.TypedCreateEvent[*v1.AWSIAMRole]{Object: inst.cache.roles[name], IsInInitialList: true}, inst.queue)
	}
	for _, name := range sorted(inst.cache.policies) {
		inst.core.Policies().Create(ctx, event.TypedCreateEvent[*metav1.PartialObjectMetadata]{Object: binding(name, 1), IsInInitialList: true}, inst.queue)
	}
	if err := inst.core.ListenToPods(ctx, inst.queue); err != nil {
		panic(err)
	}
	inst.w.every(resync, func() bool {
		if inst.alive {
			inst.cache.resync()
			inst.checkClock()
		}
		return inst.alive
	})
}

// resync is how often Secrets are handed to their handler again, and the clock is looked at.
const resync = time.Minute

// kill ends a process at once, wherever it is.
func (inst *instance) kill() {
	inst.w.trace.add("instance %d is killed", inst.number)
	inst.alive = false
	inst.queue.ShutDown()
	inst.w.killing = inst
	for _, t := range inst.running {
		t.stop()
	}
	inst.w.killing = nil
	for i, other := range inst.w.instances {
		if other == inst {
			inst.w.instances = append(inst.w.instances[:i:i], inst.w.instances[i+1:]...)
			break
		}
	}
}

// nextDue is when the instance has something to do.
func (inst *instance) nextDue() (time.Duration, bool) {
	if len(inst.running) >= concurrency {
		return 0, false
	}
	next := inst.queue.next()
	if next == nil {
		return 0, false
	}
	return next.ready, true
}

// task is a reconcile that has begun and not ended.
type task struct {
	inst  *instance
	key   key
	began time.Duration
	yield func(time.Duration) bool
	next  func() (time.Duration, bool)
	stop  func()
	// wrote is true if it changed the Secret.
	wrote bool
}

// begin starts the reconcile that is due.
func (inst *instance) begin() {
	next := inst.queue.next()
	inst.queue.take(next)
	t := &task{inst: inst, key: next.key, began: inst.w.now}
	t.next, t.stop = iter.Pull(func(yield func(time.Duration) bool) {
		t.yield = yield
		t.reconcile(next.priority)
	})
	inst.running = append(inst.running, t)
	inst.w.reconcileBegins(t)
	t.resume()
}

// resume goes on with a reconcile until it waits or ends.
func (t *task) resume() {
	if !t.inst.alive {
		return
	}
	w := t.inst.w
	w.current = t
	d, waits := t.next()
	w.current = nil
	if waits {
		w.after(d, t.resume)
		return
	}
	for i, other := range t.inst.running {
		if other == t {
			t.inst.running = append(t.inst.running[:i:i], t.inst.running[i+1:]...)
			break
		}
	}
}

// reconcile does what controller-runtime's controller does with a key.
func (t *task) reconcile(priority int) {
	inst, w := t.inst, t.inst.w
	defer func() {
		if p := recover(); p != nil {
			w.violated(noPanic, "%s: %v\n%s", t.key, p, debug.Stack())
		}
	}()
	ctx := logr.NewContext(context.Background(), w.trace.logger(inst.number, t.key))
	result, err := inst.core.Reconcile(ctx, request(t.key))
	if !inst.alive {
		return
	}
	if result.Priority != nil {
		priority = *result.Priority
	}
	w.trace.add("%d %s: again in %s, error %v", inst.number, t.key, result.RequeueAfter, err)
	switch {
	case err != nil:
		inst.queue.AddWithOpts(priorityqueue.AddOpts{RateLimited: true, Priority: &priority}, request(t.key))
	case result.RequeueAfter > 0:
		inst.queue.Forget(request(t.key))
		inst.queue.AddWithOpts(priorityqueue.AddOpts{After: result.RequeueAfter, Priority: &priority}, request(t.key))
	default:
		inst.queue.Forget(request(t.key))
	}
	inst.queue.Done(request(t.key))
	w.reconcileEnds(t, result, err)
}

// binding is the metadata of a RoleBinding, or without a namespace of a ClusterRoleBinding, as
// the cache keeps it.
func binding(name key, version int) *metav1.PartialObjectMetadata {
	kind := "RoleBinding"
	if name.Namespace == "" {
		kind = "ClusterRoleBinding"
	}
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, ResourceVersion: strconv.Itoa(version)},
	}
}

var _ reconcile.Reconciler = &controllers.Core{}
