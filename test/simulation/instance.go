package simulation

import (
	"context"
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
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/podindex"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/serviceaccounts"
)

// instance is one controller process, from its start until it is killed.
type instance struct {
	sim            *simulator
	number         int
	cluster        string
	alive, leading bool
	core           *controllers.Core
	podIndex       *podindex.Index
	accounts       *serviceaccounts.Index
	cache          *cache
	queue          *queue
	host           *hostClock
	// known is true as soon as STS said who the controller is.
	known   bool
	running []*task
	began   time.Duration

	// The following is for the checks.

	// unusedSince is when the last pod that asked for a Secret went, and policyChanged when a
	// change of who may have which role was seen, both as the instance knows.
	unusedSince     map[key]time.Duration
	policyChangedAt map[string]time.Duration
	reviews         map[key]*reviewLog
	issues          map[key][]time.Duration
	reconciles      map[key]reconcileCount
	// ownWrites are Secrets that the instance wrote and has not seen yet, with their versions, and
	// deleted those that it deleted, with their UIDs.
	ownWrites map[key]int64
	deleted   map[key]types.UID
	// tokens is how many Secrets can be deleted for refusals at once, as of tokensAt.
	tokens   float64
	tokensAt time.Duration
}

// concurrency is how many reconciles an instance runs at once; small, so that the queue matters.
const concurrency = 8

// start begins a process with an empty memory. It leads at once.
func (sim *simulator) start(cluster string) *instance {
	sim.started++
	inst := &instance{
		sim: sim, number: sim.started, cluster: cluster, alive: true, began: sim.now,
		unusedSince: map[key]time.Duration{}, policyChangedAt: map[string]time.Duration{}, reviews: map[key]*reviewLog{}, issues: map[key][]time.Duration{},
		reconciles: map[key]reconcileCount{}, ownWrites: map[key]int64{}, deleted: map[key]types.UID{}, tokens: 10, tokensAt: sim.now,
	}
	inst.host = &hostClock{sim: sim}
	inst.cache = newCache(inst)
	base := func() role.Base {
		if inst.known || sim.cfg.baseKnown {
			return sim.sts.base
		}
		return role.Base{}
	}
	inst.accounts = serviceaccounts.New([]string{""}, inst.currentUID)
	inst.podIndex = podindex.New([]string{""}, mountPath, monotonicClock{inst.host}, podindex.Injection{})
	identity := credentials.Identity{Caller: inst.caller, Assume: inst.assume}
	inst.core = controllers.NewCore(&controllers.Dependencies{
		Settings: controllers.Settings{
			Sessions: credentials.SessionTemplate{ClusterName: cluster, Duration: sim.cfg.session}, RefreshLimit: sim.cfg.refreshLimit,
			UnusedGracePeriod: sim.cfg.grace, DryRunAuthorization: sim.cfg.dryRun,
		},
		Client: inst.client(), Cached: inst.cached(), Live: inst.live(), Uncached: inst.client(),
		Pods: inst.podIndex, Accounts: inst.accounts, Authorizer: inst.authorizer(), ServesRoles: true,
		AWS: credentials.Identities{
			Assumer: identity, SeedAssumer: identity, Base: base,
			IsOwnRole: func(ctx context.Context, arn role.ARN) (bool, error) {
				caller, err := inst.caller(ctx)
				return err == nil && caller.Is(arn), err
			},
			UsesKey: func(string) bool { return false },
		},
		Files:   files,
		Metrics: metrics.New(prometheus.NewRegistry()),
		Clocks:  renewal.Clocks{STS: stsClock{inst.host}.Now, Local: monotonicClock{inst.host}.Now, Trusted: inst.host.trusted},
		Events:  events.NewRecorder(recorder{inst}, monotonicClock{inst.host}),
	})
	inst.queue = newQueue(sim, inst.core.Retries())
	sim.instances = append(sim.instances, inst)
	sim.trace.add("instance %d of cluster %s starts", inst.number, cluster)
	sim.faults.started(inst)
	inst.lead()
	return inst
}

const mountPath = "/meta/aws-iam"

// files are what pods find in a Secret besides credentials.
var files = secret.Files{MountPath: mountPath, Region: "eu-central-1"}

func (inst *instance) authorizer() authorization.Authorizer {
	if inst.sim.cfg.alwaysAllow {
		return authorization.AlwaysAllow
	}
	return authorization.RBAC(inst.review)
}

// lead lists all objects and begins to reconcile.
func (inst *instance) lead() {
	for _, watch := range watches {
		inst.cache.list(watch)
	}
	inst.leading = true
	clear(inst.policyChangedAt) // what exists at the start is no change
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
	if err := inst.core.Requests().Start(ctx, inst.queue); err != nil {
		panic(err)
	}
	inst.sim.every(resync, func() bool {
		if inst.alive {
			inst.cache.resync()
			inst.checkClock()
		}
		return inst.alive
	})
}

// resync is the interval at which Secrets are passed to their handler again, and the clock is
// checked.
const resync = time.Minute

// kill ends the process at once, in the middle of its reconciles.
func (inst *instance) kill() {
	inst.sim.trace.add("instance %d is killed", inst.number)
	inst.alive = false
	inst.queue.ShutDown()
	inst.sim.killing = inst
	for _, t := range inst.running {
		t.stop()
	}
	inst.sim.killing = nil
	for i, other := range inst.sim.instances {
		if other == inst {
			inst.sim.instances = append(inst.sim.instances[:i:i], inst.sim.instances[i+1:]...)
			break
		}
	}
}

// nextDue returns when the next reconcile of the instance is due, if there is one.
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
	*coroutine
	// wrote is true if it changed the Secret.
	wrote bool
}

// begin starts the reconcile that is due.
func (inst *instance) begin() {
	next := inst.queue.next()
	inst.queue.take(next)
	t := &task{inst: inst, key: next.key, began: inst.sim.now}
	t.coroutine = newCoroutine(func() { t.reconcile(next.priority) })
	inst.running = append(inst.running, t)
	inst.sim.reconcileBegins(t)
	t.resume()
}

// resume continues a reconcile until it waits or ends.
func (t *task) resume() {
	if !t.inst.alive {
		return
	}
	sim := t.inst.sim
	sim.current = t
	d, waits := t.next()
	sim.current = nil
	if waits {
		sim.after(d, t.resume)
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
	inst, sim := t.inst, t.inst.sim
	defer func() {
		if p := recover(); p != nil {
			sim.recordViolation(noPanic, "%s: %v\n%s", t.key, p, debug.Stack())
		}
	}()
	ctx := logr.NewContext(context.Background(), sim.trace.logger(inst.number, t.key))
	result, err := inst.core.Reconcile(ctx, request(t.key))
	if !inst.alive {
		return
	}
	if result.Priority != nil {
		priority = *result.Priority
	}
	sim.trace.add("%d %s: again in %s, error %v", inst.number, t.key, result.RequeueAfter, err)
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
	sim.reconcileEnds(t, result, err)
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
