// Package controllers gives pods the AWS IAM roles that they ask for. Its one reconciler is keyed by the Secret: it gathers who wants it
// and what is there, decides, acts, and records what came of it.
package controllers

import (
	"context"
	"time"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// What the controller may do in the cluster; make generate turns it into config/rbac/role.yaml.
// "get" on Secrets is for the one that is in the way of ours: its labels tell whose it is. The
// Lease is known by its name, but to create one cannot be limited by a name.
// config/rbac/kustomization.yaml shows how an instance for some namespaces gets the name of its
// own.
//
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=zalando.org,resources=awsiamroles,verbs=get;list;watch
// +kubebuilder:rbac:groups=zalando.org,resources=awsiamroles/status,verbs=update
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings;clusterroles;clusterrolebindings,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=kube-system,resources=leases,resourceNames=kube-aws-iam-controller,verbs=get;update
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=kube-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups="",namespace=kube-system,resources=events,verbs=create;patch

// reconciler keeps one Secret as it should be.
type reconciler struct {
	// client reads Secrets from a cache that has seen its own writes.
	client client.Client
	// live reads what the cache does not have: the metadata of Secrets that are not the controller's, one that was just written, and
	// a seed that is not adopted yet.
	live client.Reader
	// uncached tries writes out. client would wait for the version of what was not written.
	uncached client.Writer
	pods     *podStore
	// working assumes the roles of pods. own is the same but for --assume-role, and renews the seed.
	working, own identity
	// base is where roles lie that are asked for by name, if that is known without asking.
	base func() role.Base
	// guard hears what becomes of the seed; nil if there is none.
	guard *seedGuard
	// authorizer decides who may have which role.
	authorizer policy.Authorizer
	// servesRoles tells whether the cluster has AWSIAMRoles.
	servesRoles bool
	// files are what pods find in a Secret besides credentials.
	files    secret.Files
	settings Settings
	metrics  *metrics.Metrics
	// clock is that of STS, by which credentials expire. It may be corrected at any moment, so what has to do with no credentials is timed by the machine's.
	clock, machine clock.PassiveClock
	// sure tells whether clock can be relied on.
	sure func() bool
	// isOwnRole reports whether a role is one that the controller itself is; usesKey whether it
	// works with an access key.
	isOwnRole func(context.Context, role.ARN) (bool, error)
	usesKey   func(accessKeyID string) bool
	events    announcer
	memory    *memory
	removals  *removals
	verdicts  *verdicts
	writes    *writes
}

// identity is somebody for AWS.
type identity struct {
	// caller tells who that is.
	caller func(context.Context) (credentials.Caller, error)
	// assume gets credentials of a role.
	assume func(context.Context, credentials.Session) (credentials.Credentials, error)
}

func identityOf(c *credentials.Client) Identity { return Identity{c.Caller, c.Assume} }

// identity is who assumes the role of a Secret.
func (r *reconciler) identity(g *gathered) identity {
	if g.seed {
		return r.own
	}
	return r.working
}

// minRequeue keeps a decision whose time has come from spinning.
const minRequeue = 10 * time.Millisecond

// Reconcile implements reconcile.Reconciler: gather, decide, act, record.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	g, err := r.gather(ctx, request.NamespacedName)
	if err != nil {
		return reconcile.Result{Priority: new(priorityBackground)}, err
	}
	d := decide(g.state)
	at := r.carryOut(ctx, g, d)
	if at.IsZero() {
		return reconcile.Result{}, nil
	}
	priority := priorityBackground
	if g.seed {
		priority = priorityOwn
	}
	return reconcile.Result{RequeueAfter: max(minRequeue, r.until(at, g.now)), Priority: &priority}, nil
}

// until is how long it is until the time that was found while deciding, which began at a time. If the clock was corrected meanwhile, nobody knows by which
// of the two times it was found: then it is looked at again at once.
func (r *reconciler) until(at, began time.Time) time.Duration {
	now := r.clock.Now()
	if took := now.Sub(began); took < 0 || took > longestReconcile {
		return 0
	}
	return at.Sub(now)
}

// bySTS is what the clock of STS shows, or showed, when that of the machine does.
func (r *reconciler) bySTS(machine time.Time) time.Time {
	return r.clock.Now().Add(-r.machine.Since(machine))
}

// carryOutTimeout bounds what is begun and must not be broken off: a signal to end waits for it, within the manager's patience of 30 seconds.
const carryOutTimeout = 25 * time.Second

// longestReconcile is more than a reconcile can take.
const longestReconcile = reconcileTimeout + carryOutTimeout

// carryOut acts on a decision and records what came of it.
func (r *reconciler) carryOut(ctx context.Context, g *gathered, d decision) time.Time {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), carryOutTimeout)
	defer cancel()
	return r.record(ctx, g, d, r.act(ctx, g, d))
}
