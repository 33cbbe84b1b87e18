package controllers

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/secret"
)

// addProbes serves /healthz, and /readyz with more checks by name. Ready means that pods and all
// that is watched are known; live means that the process answers. Neither asks STS: no restart
// would help.
//
// It begins to watch with the manager's start, on a standby too: a new leader has nothing to wait
// for.
func addProbes(ctx context.Context, m manager.Manager, address string, readiness map[string]healthz.Checker, pods *podStore, watched []client.Object) error {
	var informers []cache.Informer
	for _, object := range watched {
		informer, err := m.GetCache().GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		informers = append(informers, informer)
	}
	readiness["caches"] = func(*http.Request) error {
		if !pods.isSynced() || slices.ContainsFunc(informers, func(i cache.Informer) bool { return !i.HasSynced() }) {
			return errors.New("pods, Secrets and who may have which role are not all known yet")
		}
		return nil
	}
	mux := http.NewServeMux()
	for path, checks := range map[string]map[string]healthz.Checker{"/healthz": {"ping": healthz.Ping}, "/readyz": readiness} {
		probe := http.StripPrefix(path, &healthz.Handler{Checks: checks})
		mux.Handle(path, probe)
		mux.Handle(path+"/", probe) // each check has a path of its own
	}
	return addServer(ctx, m, "health probes", address, mux, nil)
}

// leads tells whether this replica holds the Lease, or needs none.
func leads(m manager.Manager) bool {
	select {
	case <-m.Elected():
		return true
	default:
		return false
	}
}

// countSecrets returns how many Secrets the controller has.
func countSecrets(cached client.Reader) func() int {
	return func() int {
		var all corev1.SecretList
		if err := cached.List(context.Background(), &all); err != nil {
			return 0 // not synced
		}
		return len(all.Items)
	}
}

// listSecrets yields what the metrics tell of the Secrets, on the leader only: else each would be told by every replica.
func listSecrets(m manager.Manager) func() iter.Seq[metrics.Secret] {
	return func() iter.Seq[metrics.Secret] {
		return func(yield func(metrics.Secret) bool) {
			if !leads(m) {
				return
			}
			var all corev1.SecretList
			if err := m.GetCache().List(context.Background(), &all); err != nil {
				return // not synced: there is nothing to tell yet
			}
			for i := range all.Items {
				s := &all.Items[i]
				_, expires, err := secret.ReadLifetime(s)
				if err != nil {
					expires = time.Time{}
				}
				wantedBy := "Pod"
				if secret.OfAWSIAMRole(s) {
					wantedBy = v1.Kind
				}
				if !yield(metrics.Secret{Namespace: s.Namespace, Name: s.Name, Source: wantedBy, Expires: expires}) {
					return
				}
			}
		}
	}
}
