package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/fairqueue"
	"kube-aws-iam-controller/pkg/metrics"
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
	Credentials *credentials.Client
	// AuthorizationModes decide who may have which role; it is enough if one of them allows it.
	AuthorizationModes      []string
	Metrics                 *metrics.Metrics
	MaxConcurrentReconciles int
	LeaderElect             bool
	// MetricsAddress and HealthAddress are where to listen; "0" means not to.
	MetricsAddress, HealthAddress string
	// MetricsSecure serves metrics by HTTPS, to clients that the API server allows to read them.
	MetricsSecure bool
	// Self is the controller's own pod, if it is one and knows.
	Self *corev1.Pod
	// Resync is how often waiting refreshes are looked through for urgent ones, and how often it is checked whether somebody set the machine's clock.
	Resync time.Duration
	// Clock is the machine's. Time that passes is measured by it, as nobody corrects it; when credentials expire is told by that of Credentials.
	Clock clock.PassiveClock
	Log   logr.Logger
}

// files are what pods find in a Secret besides credentials.
func (o *Options) files() secret.Files {
	return secret.Files{MountPath: o.MountPath, Region: o.Credentials.Region()}
}

const (
	// reconcileTimeout bounds one reconcile: calls of STS with their retries, and one write.
	reconcileTimeout = time.Minute
	// errorRetry and maxErrorRetry bound how long an error of the API server is waited out: that is rarely asked to gather what a decision depends on.
	errorRetry    = 100 * time.Millisecond
	maxErrorRetry = 10 * time.Second
)

// NewManager makes a manager that does everything the controller does once it is started. Nothing is written, and nothing asked of STS,
// before. It waits for the API server, until the context is done.
func NewManager(ctx context.Context, cfg *rest.Config, o Options) (manager.Manager, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the API server's priority and fairness limits us, fairly
	compact := rest.CopyConfig(cfg)
	compact.ContentType = runtime.ContentTypeProtobuf // pods cost less to read than as JSON
	clientset, err := kubernetes.NewForConfig(compact)
	if err != nil {
		return nil, fmt.Errorf("cannot set up against the API server at %s: %w", cfg.Host, err)
	}
	servesRoles, err := awaitAPIServer(ctx, clientset.Discovery(), &o)
	if err != nil {
		return nil, fmt.Errorf("cannot wait for the API server at %s: %w", cfg.Host, err)
	}
	if !servesRoles { // pods are served all the same
		o.Log.Info("AWSIAMRoles are not served, as the cluster does not know them: install the CRD in config/crd and restart")
	}
	m, uncached, err := newManager(cfg, &o)
	if err != nil {
		return nil, fmt.Errorf("cannot set up against the API server at %s: %w", cfg.Host, err)
	}
	core := NewCore(dependencies(m, &o, clientset, uncached, servesRoles))
	r := core.r
	probes := map[string]healthz.Checker{}
	var seed *seedWatch
	hello := introduction{credentials: o.Credentials, wanted: o.SessionDuration, log: o.Log}
	if o.Seed.Name != "" {
		seed = newSeedWatch(clientset, &o)
		hello.after = seed.known
		if err := seed.addTo(m, &o, r); err != nil {
			return nil, err
		}
		probes["seed"] = r.guard.ready
	}
	return m, errors.Join(
		m.Add(&podWatch{client: clientset.CoreV1(), scopes: o.scopes(), pods: r.pods}),
		m.Add(hello),
		m.Add(clockCheck{o.Credentials, o.Resync}),
		addPolicyProbe(m, &o, clientset.CoreV1()),
		addController(m, o, core, seed),
		addProbes(ctx, m, o.HealthAddress, probes, r.pods, watched(o.AuthorizationModes, servesRoles)),
		addMetrics(ctx, m, o.Log, o.MetricsAddress, o.MetricsSecure),
		o.Metrics.TellSecrets(listSecrets(m)),
		o.Metrics.TellCounts(r.counts()),
		o.Metrics.TellBase(func() time.Time { return baseExpires(m, &o) }),
		o.Metrics.TellClock(o.Credentials.Clock().Ahead),
	)
}

// newManager makes the manager itself, and a client beside it that knows no cache.
func newManager(cfg *rest.Config, o *Options) (manager.Manager, client.Writer, error) {
	m, err := manager.New(cfg, managerOptions(*o))
	if err != nil {
		return nil, nil, err
	}
	uncached, err := client.New(cfg, client.Options{HTTPClient: m.GetHTTPClient(), Scheme: m.GetScheme(), Mapper: m.GetRESTMapper()})
	return m, uncached, err
}

// dependencies are what the Core needs of a manager and of what it serves.
func dependencies(m manager.Manager, o *Options, clientset kubernetes.Interface, uncached client.Writer, servesRoles bool) *Dependencies {
	return &Dependencies{
		Settings:    o.Settings,
		Namespaces:  o.Namespaces,
		Client:      m.GetClient(),
		Cached:      m.GetCache(),
		Live:        m.GetAPIReader(),
		Uncached:    uncached,
		Authorizer:  authorizers(o.AuthorizationModes, clientset.AuthorizationV1().SubjectAccessReviews(), m.GetCache()),
		Working:     identityOf(o.Credentials),
		Own:         identityOf(o.Credentials.Own()),
		Base:        o.Credentials.Base,
		ServesRoles: servesRoles,
		Files:       o.files(),
		Metrics:     o.Metrics,
		Clock:       o.Credentials.Clock(),
		Machine:     o.Clock,
		Sure:        o.Credentials.Clock().Sure,
		IsOwnRole:   o.Credentials.IsOwnRole,
		UsesKey:     o.Credentials.UsesKey,
		Recorder:    m.GetEventRecorder(Name),
	}
}

// counts are what the metrics say of the Secrets of this replica.
func (r *reconciler) counts() metrics.Counts {
	return metrics.Counts{
		WithoutRight:   func() int { return r.memory.sum(func(k *record) int { return k.withoutRight }) },
		RemovalDelayed: r.removals.delayed,
		Contested: func() int {
			now := r.machine.Now()
			return r.memory.sum(func(k *record) int {
				if k.isContested(now) {
					return 1
				}
				return 0
			})
		},
	}
}

// scopes are the namespaces to watch, each once, or "" for all.
func (o *Options) scopes() []string {
	if len(o.Namespaces) == 0 {
		return []string{""}
	}
	return distinct(o.Namespaces)
}

// baseExpires is when the controller's own credentials expire. Who does not lead renews them only when it needs them, and knows but of a seed.
func baseExpires(m manager.Manager, o *Options) time.Time {
	if o.Seed.Name == "" && !leads(m) {
		return time.Time{}
	}
	return o.Credentials.BaseExpires()
}

// watched is all that the manager's cache holds.
func watched(modes []string, roles bool) []client.Object {
	all := []client.Object{&corev1.Secret{}}
	if roles {
		all = append(all, &v1.AWSIAMRole{})
	}
	for _, kind := range watchedKinds(modes) {
		all = append(all, metadataOf(kind))
	}
	return all
}

// newQueue returns what makes the queue of a controller with so many workers.
func newQueue(workers int) func(string, workqueue.TypedRateLimiter[reconcile.Request]) queue {
	return func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) queue {
		return fairqueue.New(fairqueue.Options{Name: name, Workers: workers, RateLimiter: limiter, Metrics: ctrlmetrics.Registry})
	}
}

// addController ties the reconciler to its sources.
func addController(m manager.Manager, o Options, core *Core, seed *seedWatch) error {
	c, err := controller.New("secret", m, controller.Options{
		SkipNameValidation:      new(true),
		MaxConcurrentReconciles: o.MaxConcurrentReconciles,
		ReconciliationTimeout:   reconcileTimeout,
		NewQueue:                newQueue(o.MaxConcurrentReconciles),
		RateLimiter:             core.Retries(),
		Reconciler:              core,
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
	sources := []source.Source{
		source.Kind(m.GetCache(), &corev1.Secret{}, core.Secrets()),
		core.podSource(),
	}
	if core.r.servesRoles {
		sources = append(sources, source.Kind(m.GetCache(), &v1.AWSIAMRole{}, core.AWSIAMRoles()))
	}
	if seed != nil {
		sources = append(sources, seedSource{seed})
	}
	policies := core.Policies()
	for _, kind := range watchedKinds(o.AuthorizationModes) {
		sources = append(sources, source.Kind(m.GetCache(), metadataOf(kind), policies))
	}
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return err
		}
	}
	return nil
}
