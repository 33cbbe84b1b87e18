package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// Dependencies are what the reconciler and its event sources read from, write to and ask.
// NewManager takes them from a manager and a credentials.Client; the simulation in
// test/simulation has its own.
type Dependencies struct {
	Settings

	// Namespaces to serve; none means all.
	Namespaces []string
	// Client reads Secrets and AWSIAMRoles from a cache that has seen its own writes, and writes
	// to the API server.
	Client client.Client
	// Cached reads from the same cache and waits for nothing.
	Cached client.Reader
	// Live reads from the API server itself.
	Live client.Reader
	// Uncached writes to the API server, and knows no cache: for writes that are tried out.
	Uncached client.Writer
	// Authorizer decides who may have which role.
	Authorizer policy.Authorizer
	// Working assumes the roles of pods. Own is the same but for --assume-role, and renews the
	// seed.
	Working, Own Identity
	// Base returns where roles lie that are asked for by name, or zero if that is not known
	// without asking.
	Base func() role.Base
	// ServesRoles is true if the cluster has AWSIAMRoles.
	ServesRoles bool
	// Files are what pods find in a Secret besides credentials.
	Files secret.Files
	// Metrics are where issues and refusals are counted.
	Metrics *metrics.Metrics
	// Clock is that of STS, by which credentials expire. Machine is the machine's, by which all
	// other times are measured.
	Clock, Machine clock.PassiveClock
	// Sure reports whether Clock can be relied on.
	Sure func() bool
	// IsOwnRole reports whether a role is one that the controller itself is, and UsesKey whether
	// it works with an access key.
	IsOwnRole func(context.Context, role.ARN) (bool, error)
	UsesKey   func(accessKeyID string) bool
	// Recorder writes events.
	Recorder events.EventRecorder
}

// Identity is an identity in AWS.
type Identity struct {
	// Caller returns what it is called there.
	Caller func(context.Context) (credentials.Caller, error)
	// Assume returns credentials of a role.
	Assume func(context.Context, credentials.Session) (credentials.Credentials, error)
}

// Core is the reconciler with its event sources, and without a manager: it starts no goroutine
// and has no queue. NewManager ties it to informers and a controller; a simulation calls the same
// methods in an order of its own.
type Core struct {
	r      *reconciler
	cached client.Reader
}

// NewCore returns a Core that knows nothing yet.
func NewCore(d *Dependencies) *Core {
	scopes := distinct(d.Namespaces)
	if len(scopes) == 0 {
		scopes = []string{""}
	}
	return &Core{cached: d.Cached, r: &reconciler{
		client:      d.Client,
		live:        d.Live,
		uncached:    d.Uncached,
		pods:        newPodStore(scopes, d.MountPath, d.Machine),
		working:     identity{d.Working.Caller, d.Working.Assume},
		own:         identity{d.Own.Caller, d.Own.Assume},
		base:        d.Base,
		authorizer:  d.Authorizer,
		servesRoles: d.ServesRoles,
		files:       d.Files,
		settings:    d.Settings,
		metrics:     d.Metrics,
		clock:       d.Clock,
		machine:     d.Machine,
		sure:        d.Sure,
		events:      newAnnouncer(d.Recorder, d.Machine),
		isOwnRole:   d.IsOwnRole,
		usesKey:     d.UsesKey,
		memory:      newMemory(),
		removals:    newRemovals(countSecrets(d.Cached)),
		verdicts:    newVerdicts(),
		writes:      newWrites(),
	}}
}

// Reconcile implements reconcile.Reconciler.
func (c *Core) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	return c.r.Reconcile(ctx, request)
}

// Transform reduces an object to what the cache keeps of it; Secrets, and the metadata of what
// decides who may have which role.
func (c *Core) Transform(obj any) (any, error) {
	if _, ok := obj.(*metav1.PartialObjectMetadata); ok {
		return bare(obj)
	}
	return withoutCredentials(c.r.files)(obj)
}

// ListenToPods enqueues, now and from now on, the Secrets for which the pods that ask for them
// change. Pods have to be known before.
func (c *Core) ListenToPods(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	return c.podSource().Start(ctx, q)
}

func (c *Core) podSource() podSource {
	return podSource{pods: c.r.pods, secrets: c.cached, clock: c.r.clock}
}

// ReplacePods makes the pods of a scope, a namespace or "" for all, those that were listed.
func (c *Core) ReplacePods(scope string, pods []*corev1.Pod) { c.r.pods.replace(scope, pods) }

// PutPod takes in a pod as it is now.
func (c *Core) PutPod(pod *corev1.Pod) { c.r.pods.put(pod) }

// DropPod takes out a pod that is gone or finished.
func (c *Core) DropPod(pod types.NamespacedName) { c.r.pods.drop(pod) }

// Secrets handles the events of the controller's Secrets.
func (c *Core) Secrets() handler.TypedEventHandler[*corev1.Secret, reconcile.Request] {
	return secretHandler(c.r.clock)
}

// AWSIAMRoles handles the events of AWSIAMRoles.
func (c *Core) AWSIAMRoles() handler.TypedEventHandler[*v1.AWSIAMRole, reconcile.Request] {
	return roleHandler()
}

// Policies handles the events of what decides who may have which role, as bare metadata.
func (c *Core) Policies() handler.TypedEventHandler[*metav1.PartialObjectMetadata, reconcile.Request] {
	return policyHandler{
		verdicts: c.r.verdicts, pods: c.r.pods, cached: c.cached, roles: c.r.servesRoles, clock: c.r.machine,
	}.funcs()
}

// Retries returns the pauses after errors that Reconcile returns.
func (*Core) Retries() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](errorRetry, maxErrorRetry)
}

// Sizes returns how much is remembered, by what it is: pods that ask for Secrets, and entries
// about Secrets or namespaces. It is for tests that memory stays bounded.
func (c *Core) Sizes() map[string]int {
	r := c.r
	r.pods.lock.RLock()
	defer r.pods.lock.RUnlock()
	r.memory.lock.Lock()
	defer r.memory.lock.Unlock()
	r.verdicts.lock.Lock()
	defer r.verdicts.lock.Unlock()
	r.writes.lock.Lock()
	defer r.writes.lock.Unlock()
	return map[string]int{
		"pods": len(r.pods.byName), "asked for": len(r.pods.bySecret), "left": len(r.pods.left),
		"memory": len(r.memory.bySecret), "removals": r.removals.delayed(), "verdicts": len(r.verdicts.bySecret), "changes": len(r.verdicts.changed), "writes": len(r.writes.latest),
	}
}
