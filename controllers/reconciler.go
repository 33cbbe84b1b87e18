// Package controllers gives pods the AWS IAM roles that they ask for. Its one reconciler is keyed
// by the Secret: it gathers what asks for it and what exists, decides, acts, and records the
// result.
package controllers

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/podindex"
	"kube-aws-iam-controller/pkg/records"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/secretstore"
	"kube-aws-iam-controller/pkg/seed"
	"kube-aws-iam-controller/pkg/serviceaccounts"
	"kube-aws-iam-controller/pkg/webidentity"
)

// reconciler keeps one Secret as it should be.
type reconciler struct {
	settings    Settings
	secrets     *secretstore.Store
	aws         credentials.Identities
	pods        *podindex.Index
	accounts    *serviceaccounts.Index
	webIdentity *webidentity.Issuer
	reviewer    authorization.Reviewer
	clocks      renewal.Clocks
	records     *records.Store
	seed        seed.Source
	events      *events.Recorder
	metrics     *metrics.Metrics
}

const (
	// minRequeue keeps a decision whose time has come from spinning.
	minRequeue = 10 * time.Millisecond
	// ReconcileTimeout bounds one reconcile: calls of STS with their retries, and one write.
	ReconcileTimeout = time.Minute
	// applyTimeout bounds what must not be interrupted once it has begun: a signal to end waits
	// for it, within the manager's limit of 30 seconds.
	applyTimeout = 25 * time.Second
	// maxReconcile is longer than a reconcile can take.
	maxReconcile = ReconcileTimeout + applyTimeout
)

// Reconcile implements reconcile.Reconciler: gather, decide, act, record.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	s, err := r.gather(ctx, request.NamespacedName)
	if err != nil {
		return reconcile.Result{Priority: new(priorityBackground)}, err
	}
	after, again := r.apply(ctx, s, decide(&s.state))
	if !again {
		return reconcile.Result{}, nil
	}
	priority := priorityBackground
	if s.seed {
		priority = priorityOwn
	}
	return reconcile.Result{RequeueAfter: max(minRequeue, after), Priority: &priority}, nil
}

// apply acts on a decision and records the result. It returns after which time to reconcile again,
// if at all.
func (r *reconciler) apply(ctx context.Context, s *snapshot, d decision) (after time.Duration, again bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	o := r.act(ctx, s, d)
	done := r.clocks.Now()
	at := r.record(ctx, s, d, o, done)
	at = r.writeStatus(ctx, s, d, o, at)
	if !s.wanted && len(s.strangers) == 0 && s.current == nil && o.failure == nil && !s.podsUnlisted {
		at = r.forget(s)
	} else {
		r.records.Put(s.name, &s.next)
	}
	return done.RequeueAfter(at, s.taken, maxReconcile), !at.IsZero()
}

// forget drops what is remembered of a Secret that does not exist and that no object asks for; but
// not that it was written lately, so that nothing is gained by deleting it. It returns when to
// reconcile again.
func (r *reconciler) forget(s *snapshot) time.Time {
	if rested := s.known.Writes.RestedBy(); rested.After(s.taken.Local) {
		r.records.Put(s.name, &records.Record{Writes: s.known.Writes.Kept()})
		return s.taken.ToSTSTime(rested)
	}
	r.records.Forget(s.name)
	return time.Time{}
}
