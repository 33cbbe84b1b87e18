package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/fairqueue"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/records"
	"kube-aws-iam-controller/pkg/secretstore"
)

// Name is the name of the controller: of its Lease, its events and its log lines.
const Name = "kube-aws-iam-controller"

// Core is the reconciler with its event sources, without a manager: it starts no goroutine and has
// no queue. The manager ties it to informers and a controller; a simulation calls the same methods
// in an order of its own.
type Core struct {
	r      *reconciler
	cached client.Reader
}

// NewCore returns a Core that remembers nothing yet.
func NewCore(d *Dependencies) *Core {
	return &Core{cached: d.Cached, r: &reconciler{
		settings: d.Settings,
		secrets: &secretstore.Store{
			Cached: d.Client, Live: d.Live, Uncached: d.Uncached, Files: d.Files, ServesAWSIAMRoles: d.ServesRoles, FieldOwner: Name,
		},
		aws:      d.AWS,
		pods:     d.Pods,
		accounts: d.Accounts, webIdentity: d.WebIdentity,
		reviewer: authorization.Reviewer{
			Authorizer: d.Authorizer, Changes: authorization.NewChanges(), OnUndecided: d.Metrics.ReviewUndecided,
			Removals: authorization.NewRemovals(func() int { return secretstore.Count(d.Cached) }),
			DryRun:   d.DryRunAuthorization,
		},
		clocks:  d.Clocks,
		records: records.New(),
		seed:    d.SeedSource,
		events:  d.Events,
		metrics: d.Metrics,
	}}
}

// Reconcile implements reconcile.Reconciler.
func (c *Core) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	return c.r.Reconcile(ctx, request)
}

// EnqueueSeed enqueues the Secret of the controller's own credentials before all others.
func EnqueueSeed(q Queue, s types.NamespacedName) { fairqueue.Add(q, s, 0, priorityOwn) }

// The pauses after errors of the API server, which is rarely asked to gather what a decision
// depends on.
const (
	errorRetry    = 100 * time.Millisecond
	maxErrorRetry = 10 * time.Second
)

// Retries returns the pauses after errors that Reconcile returns.
func (*Core) Retries() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](errorRetry, maxErrorRetry)
}

// Counts returns what the metrics show of the Secrets of this replica.
func (c *Core) Counts() metrics.Counts {
	return metrics.Counts{
		WithoutRight:   func() int { return c.r.records.Count(func(k *records.Record) int { return k.WithoutRight }) },
		NotInjected:    func() int { return c.r.records.Count(func(k *records.Record) int { return k.NotInjected }) },
		RemovalDelayed: c.r.reviewer.Removals.Delayed,
		Contested: func() int {
			now := c.r.clocks.Local()
			return c.r.records.Count(func(k *records.Record) int { return min(1, len(k.Writes.ContestedBy(now))) }) // one with any
		},
	}
}

// Sizes returns how much is remembered, by what it is. It is for tests that memory stays bounded.
func (c *Core) Sizes() map[string]int {
	pods, secrets := c.r.pods.Len()
	return map[string]int{
		"pods": pods, "asked for": secrets, "removals": c.r.reviewer.Removals.Delayed(), "changes": c.r.reviewer.Changes.Len(),
		"records":   c.r.records.Count(func(*records.Record) int { return 1 }),
		"decisions": c.r.records.Count(func(k *records.Record) int { return k.Reviews.Len() }),
	}
}
