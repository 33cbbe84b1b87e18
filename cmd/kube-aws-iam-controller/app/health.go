package app

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
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
)

// addProbes serves /healthz, and /readyz with more checks by name. Ready means that pods and all
// that is watched are known; live means that the process answers. Neither asks STS: no restart
// would help.
//
// It begins to watch with the manager's start, on a standby too: a new leader has nothing to wait
// for.
func addProbes(ctx context.Context, m manager.Manager, address string, readiness map[string]healthz.Checker, indexes []func() bool, watched []client.Object) error {
	synced := slices.Clone(indexes)
	for _, object := range watched {
		informer, err := m.GetCache().GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		synced = append(synced, informer.HasSynced)
	}
	readiness["caches"] = func(*http.Request) error {
		if slices.ContainsFunc(synced, func(isSynced func() bool) bool { return !isSynced() }) {
			return errors.New("pods, ServiceAccounts, Secrets and who may have which role are not all known yet")
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

// leads reports whether this replica holds the Lease, or needs none.
func leads(m manager.Manager) bool {
	select {
	case <-m.Elected():
		return true
	default:
		return false
	}
}

// listSecrets yields what the metrics show of the Secrets, on the leader only: otherwise each would
// be shown by every replica.
func listSecrets(m manager.Manager) func() iter.Seq[metrics.Secret] {
	return func() iter.Seq[metrics.Secret] {
		return func(yield func(metrics.Secret) bool) {
			if !leads(m) {
				return
			}
			var all corev1.SecretList
			if err := m.GetCache().List(context.Background(), &all); err != nil {
				return // not synced: nothing is known yet
			}
			for i := range all.Items {
				s := &all.Items[i]
				_, expires, err := secret.ReadLifetime(s)
				if err != nil {
					expires = time.Time{}
				}
				if !yield(metrics.Secret{Namespace: s.Namespace, Name: s.Name, Source: sourceOf(s), Expires: expires}) {
					return
				}
			}
		}
	}
}

// sourceOf returns the kind of object that says which role a managed Secret is for.
func sourceOf(s *corev1.Secret) string {
	switch {
	case secret.BelongsToAWSIAMRole(s):
		return v1.Kind
	case request.IsOfServiceAccount(s.Name):
		return "ServiceAccount"
	default:
		return "Pod"
	}
}
