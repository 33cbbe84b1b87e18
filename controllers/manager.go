package controllers

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/secret"
)

// Name is the controller's: of its Lease, its events and its log lines.
const Name = "kube-aws-iam-controller"

// Options are what a manager is made of.
type Options struct {
	Settings

	// Namespaces to serve; none means all.
	Namespaces []string
	// Credentials is the one caller of STS.
	Credentials             *credentials.Client
	Authorize               policy.Authorizer
	Metrics                 *metrics.Metrics
	MaxConcurrentReconciles int
	LeaderElect             bool
	// MetricsAddress and HealthAddress are where to listen; "0" means not to.
	MetricsAddress, HealthAddress string
	// Resync is how often waiting refreshes are looked through for urgent ones.
	Resync time.Duration
	Clock  clock.PassiveClock
	Log    logr.Logger
}

const (
	// reconcileTimeout bounds one reconcile: calls of STS with their retries, and one write.
	reconcileTimeout = time.Minute
	// errorRetry and maxErrorRetry bound how long an error of the API server is waited out.
	errorRetry    = 100 * time.Millisecond
	maxErrorRetry = time.Minute
)

// NewManager makes a manager that does everything the controller does once it is started. Nothing is written, and nothing asked of STS,
// before.
func NewManager(cfg *rest.Config, o Options) (manager.Manager, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the API server's priority and fairness limits us, fairly
	m, err := manager.New(cfg, managerOptions(o))
	if err != nil {
		return nil, fmt.Errorf("cannot set up against the API server at %s: %w", cfg.Host, err)
	}
	clientset, err := kubernetes.NewForConfigAndClient(cfg, m.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	scopes := o.Namespaces
	if len(scopes) == 0 {
		scopes = []string{""}
	}
	pods := newPodStore(scopes, o.MountPath, o.Clock)
	r := &reconciler{
		client:    m.GetClient(),
		live:      m.GetAPIReader(),
		pods:      pods,
		caller:    o.Credentials.Caller,
		assume:    o.Credentials.Assume,
		authorize: o.Authorize,
		region:    o.Credentials.Region(),
		settings:  o.Settings,
		metrics:   o.Metrics,
		clock:     o.Clock,
		events:    announcer{m.GetEventRecorder(Name)},
		failures:  newFailures(),
	}
	return m, errors.Join(
		m.Add(&podWatch{client: clientset.CoreV1(), scopes: scopes, pods: pods}),
		m.Add(introduction{credentials: o.Credentials, wanted: o.SessionDuration, log: o.Log}),
		addController(m, o, pods, r),
		checkHealth(m, pods),
		o.Metrics.TellSecrets(listSecrets(m)),
	)
}

// managerOptions caches the controller's own Secrets, and nothing else.
func managerOptions(o Options) manager.Options {
	namespaces := map[string]cache.Config{}
	for _, n := range o.Namespaces {
		namespaces[n] = cache.Config{}
	}
	return manager.Options{
		Logger: o.Log,
		Cache: cache.Options{
			DefaultNamespaces:           namespaces,
			ReaderFailOnMissingInformer: true,
			ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {
				Label:                 labels.SelectorFromSet(labels.Set{secret.OwnerLabel: secret.OwnerValue}),
				Transform:             cache.TransformStripManagedFields(),
				UnsafeDisableDeepCopy: new(true),
				SyncPeriod:            new(o.Resync),
			}},
		},
		// A reconcile sees what the one before it wrote: else it would issue twice.
		Client:                        client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: new(true)}},
		LeaderElection:                o.LeaderElect,
		LeaderElectionID:              leaseName(o.Namespaces),
		LeaderElectionNamespace:       leaseNamespace(),
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:        o.HealthAddress,
	}
}

// addController ties the reconciler to its two sources.
func addController(m manager.Manager, o Options, pods *podStore, r reconcile.Reconciler) error {
	c, err := controller.New("secret", m, controller.Options{
		SkipNameValidation:      new(true),
		MaxConcurrentReconciles: o.MaxConcurrentReconciles,
		ReconciliationTimeout:   reconcileTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](errorRetry, maxErrorRetry),
		Reconciler:              r,
		LogConstructor: func(request *reconcile.Request) logr.Logger {
			if request == nil {
				return o.Log
			}
			return o.Log.WithValues("namespace", request.Namespace, "secret", request.Name)
		},
	})
	if err != nil {
		return err
	}
	return errors.Join(
		c.Watch(source.Kind(m.GetCache(), &corev1.Secret{}, secretHandler(o.Clock))),
		c.Watch(podSource{pods: pods, secrets: m.GetCache(), clock: o.Clock}),
	)
}

// checkHealth adds the probes. Ready means that pods and Secrets are known, on a standby too; live means that the process answers. Neither
// asks STS: no restart would mend it.
func checkHealth(m manager.Manager, pods *podStore) error {
	secrets, err := m.GetCache().GetInformer(context.Background(), &corev1.Secret{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	return errors.Join(
		m.AddHealthzCheck("ping", healthz.Ping),
		m.AddReadyzCheck("caches", func(*http.Request) error {
			if !pods.isSynced() || !secrets.HasSynced() {
				return errors.New("pods and Secrets are not all known yet")
			}
			return nil
		}),
	)
}

// listSecrets yields what the metrics tell of the Secrets, on the leader only: else each would be told by every replica.
func listSecrets(m manager.Manager) func() iter.Seq[metrics.Secret] {
	return func() iter.Seq[metrics.Secret] {
		return func(yield func(metrics.Secret) bool) {
			select {
			case <-m.Elected():
			default:
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
				if !yield(metrics.Secret{Namespace: s.Namespace, Name: s.Name, Source: "Pod", Expires: expires}) {
					return
				}
			}
		}
	}
}
