package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/fairqueue"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/podindex"
	"kube-aws-iam-controller/pkg/renewal"
	podrequest "kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/serviceaccounts"
	"kube-aws-iam-controller/pkg/webidentity"
)

// Options are what a manager is made of.
type Options struct {
	controllers.Settings
	// MountPath is where pods mount their Secrets.
	MountPath string
	// SecretAnnotations are added to all Secrets, whose files have no AccountId if OmitAccountID is
	// true.
	SecretAnnotations map[string]string
	OmitAccountID     bool

	// Namespaces to serve; none means all.
	Namespaces []string
	// Credentials is the one caller of STS.
	Credentials *credentials.Client
	// WebIdentity, if set, has the roles of ServiceAccounts assumed by tokens of their own.
	WebIdentity *WebIdentity
	// AuthorizationModes decide who has the right to which role; one that allows it is enough.
	AuthorizationModes      []string
	Metrics                 *metrics.Metrics
	MaxConcurrentReconciles int
	LeaderElect             bool
	// MetricsAddress and HealthAddress are where to listen; "0" means not to.
	MetricsAddress, HealthAddress string
	// MetricsSecure serves metrics by HTTPS, to clients that the API server allows to read them.
	MetricsSecure bool
	// Self is the controller's own pod, if it is known.
	Self *corev1.Pod
	// Resync is how often waiting renewals are checked for urgent ones, and the machine's clock
	// for a change.
	Resync time.Duration
	// Clock is the machine's. Credentials expire by that of Credentials; all else is measured by
	// this one, which no one corrects.
	Clock clock.PassiveClock
	Log   logr.Logger
}

// WebIdentity are the settings of tokens of ServiceAccounts for AWS.
type WebIdentity struct {
	// Audiences are those that a token can be for, the default first.
	Audiences []string
	// QPS limits how many roles are assumed in a second.
	QPS float64
}

// files returns what pods find in a Secret besides credentials.
func (o *Options) files() secret.Files {
	return secret.Files{
		MountPath: o.MountPath, Region: o.Credentials.Region(), OmitAccountID: o.OmitAccountID, Annotations: o.SecretAnnotations,
	}
}

// NewManager returns a manager that does all that the controller does once it is started. Before
// that it writes nothing and asks nothing of STS. It waits for the API server until the context is
// done.
func NewManager(ctx context.Context, cfg *rest.Config, o *Options) (manager.Manager, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the API server's priority and fairness limits the controller, fairly
	compact := rest.CopyConfig(cfg)
	compact.ContentType = runtime.ContentTypeProtobuf // pods cost less to read than as JSON
	clientset, err := kubernetes.NewForConfig(compact)
	if err != nil {
		return nil, fmt.Errorf("cannot set up against the API server at %s: %w", cfg.Host, err)
	}
	servesRoles, err := awaitAPIServer(ctx, clientset.Discovery(), o)
	if err != nil {
		return nil, fmt.Errorf("cannot wait for the API server at %s: %w", cfg.Host, err)
	}
	if !servesRoles { // pods are served all the same
		o.Log.Info("AWSIAMRoles are not served, as the cluster does not know them: install the CRD in config/crd and restart")
	}
	issuer, policy, err := newWebIdentity(cfg, clientset, o)
	if err != nil {
		return nil, err
	}
	m, uncached, err := newManager(cfg, o)
	if err != nil {
		return nil, fmt.Errorf("cannot set up against the API server at %s: %w", cfg.Host, err)
	}
	recorder := events.NewRecorder(m.GetEventRecorder(controllers.Name), o.Clock)
	names, err := metadata.NewForConfig(compact)
	if err != nil {
		return nil, fmt.Errorf("cannot set up against the API server at %s: %w", cfg.Host, err)
	}
	accounts := serviceaccounts.New(o.scopes(), serviceaccounts.CurrentUID(names))
	pods := podindex.New(o.scopes(), o.MountPath, o.Clock, podindex.Injection{
		Injects: accounts.Injects, Known: accounts.Synced(), Pods: podindex.PodsOf(clientset.CoreV1()),
	})
	seed := newSeed(clientset, recorder, o)
	monitor := newCertificateMonitor(recorder, o)
	core := controllers.NewCore(dependencies(m, o, &parts{clientset, uncached, recorder, pods, accounts, issuer, seed, servesRoles}))
	return m, errors.Join(
		seed.addTo(m),
		addCertificateMonitor(m, monitor),
		m.Add(podindex.NewWatch(clientset.CoreV1(), o.scopes(), pods)),
		m.Add(serviceaccounts.NewWatch(names, o.scopes(), accounts)),
		m.Add(identityLogger{credentials: o.Credentials, wanted: o.Sessions.Duration, optional: o.WebIdentity != nil, log: o.Log, after: seed.known()}),
		m.Add(clockCheck{o.Credentials, o.Resync}),
		addPolicyProbe(m, o, clientset.CoreV1(), policy),
		addController(m, o, core, seed, servesRoles),
		addProbes(ctx, m, o.HealthAddress, readiness(seed, monitor), []func() bool{pods.HasSynced, accounts.HasSynced}, cachedObjects(o.AuthorizationModes, servesRoles)),
		addMetrics(ctx, m, o.Log, o.MetricsAddress, o.MetricsSecure),
		o.Metrics.RegisterSecrets(listSecrets(m)),
		o.Metrics.RegisterCounts(core.Counts()),
		o.Metrics.RegisterBaseExpiry(func() time.Time { return baseExpires(m, o) }),
		o.Metrics.RegisterCertificateExpiry(func() time.Time { return certificateExpires(o) }),
		o.Metrics.RegisterClockOffset(o.Credentials.Clock().Offset),
	)
}

// newManager returns the manager itself, and a client that has no cache.
func newManager(cfg *rest.Config, o *Options) (manager.Manager, client.Writer, error) {
	m, err := manager.New(cfg, managerOptions(o))
	if err != nil {
		return nil, nil, err
	}
	uncached, err := client.New(cfg, client.Options{HTTPClient: m.GetHTTPClient(), Scheme: m.GetScheme(), Mapper: m.GetRESTMapper()})
	return m, uncached, err
}

// parts are what the reconciler needs beside the manager and the options.
type parts struct {
	clientset   kubernetes.Interface
	uncached    client.Writer
	recorder    *events.Recorder
	pods        *podindex.Index
	accounts    *serviceaccounts.Index
	issuer      *webidentity.Issuer
	seed        *seedParts
	servesRoles bool
}

// dependencies returns what the reconciler needs.
func dependencies(m manager.Manager, o *Options, p *parts) *controllers.Dependencies {
	return &controllers.Dependencies{
		Settings:    o.Settings,
		Client:      m.GetClient(),
		Cached:      m.GetCache(),
		Live:        m.GetAPIReader(),
		Uncached:    p.uncached,
		Pods:        p.pods,
		Accounts:    p.accounts,
		Authorizer:  authorization.New(o.AuthorizationModes, p.clientset.AuthorizationV1().SubjectAccessReviews(), namespaceAnnotations(m.GetCache())),
		AWS:         o.Credentials.Identities(),
		WebIdentity: p.issuer,
		SeedSource:  p.seed.reconciled(),
		ServesRoles: p.servesRoles,
		Files:       o.files(),
		Metrics:     o.Metrics,
		Clocks:      renewal.Clocks{STS: o.Credentials.Clock().Now, Trusted: o.Credentials.Clock().Trusted, Local: o.Clock.Now},
		Events:      p.recorder,
	}
}

// namespaceAnnotations returns a function that reads the annotations of a Namespace from the cache.
func namespaceAnnotations(cached client.Reader) authorization.Annotations {
	return func(ctx context.Context, namespace string) (map[string]string, error) {
		meta := authorization.WatchedObjects([]string{authorization.ModeNamespace})[0]
		err := cached.Get(ctx, types.NamespacedName{Name: namespace}, meta)
		return meta.Annotations, err
	}
}

// scopes returns the namespaces to watch, each once, or "" for all.
func (o *Options) scopes() []string {
	if len(o.Namespaces) == 0 {
		return []string{""}
	}
	return distinct(o.Namespaces)
}

// baseExpires returns when the controller's own credentials expire. A standby renews them only when
// it needs them, but for a seed.
func baseExpires(m manager.Manager, o *Options) time.Time {
	if o.Seed.Name == "" && !leads(m) {
		return time.Time{}
	}
	return o.Credentials.BaseExpires()
}

// cachedObjects returns an object of each kind that the manager's cache holds.
func cachedObjects(modes []string, roles bool) []client.Object {
	all := []client.Object{&corev1.Secret{}}
	if roles {
		all = append(all, &v1.AWSIAMRole{})
	}
	for _, o := range authorization.WatchedObjects(modes) {
		all = append(all, o)
	}
	return all
}

// newQueue returns a function that makes the queue of a controller with a number of workers. A
// reconcile that requests a web identity token can wait long for --web-identity-qps.
func newQueue(workers int, webIdentity bool) func(string, workqueue.TypedRateLimiter[reconcile.Request]) controllers.Queue {
	return func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) controllers.Queue {
		return fairqueue.New(fairqueue.Options{
			Name: name, Workers: workers, RateLimiter: limiter, Metrics: ctrlmetrics.Registry,
			Slow: func(r reconcile.Request) bool { return webIdentity && podrequest.IsOfServiceAccount(r.Name) },
		})
	}
}

// addController adds the reconciler with its event sources to the manager.
func addController(m manager.Manager, o *Options, core *controllers.Core, seed *seedParts, servesRoles bool) error {
	c, err := controller.New("secret", m, controller.Options{
		SkipNameValidation:      new(true),
		MaxConcurrentReconciles: o.MaxConcurrentReconciles,
		ReconciliationTimeout:   controllers.ReconcileTimeout,
		NewQueue:                newQueue(o.MaxConcurrentReconciles, o.WebIdentity != nil),
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
		core.Requests(),
	}
	if servesRoles {
		sources = append(sources, source.Kind(m.GetCache(), &v1.AWSIAMRole{}, core.AWSIAMRoles()))
	}
	if seed != nil {
		sources = append(sources, seed)
	}
	policies := core.Policies()
	for _, object := range authorization.WatchedObjects(o.AuthorizationModes) {
		sources = append(sources, source.Kind(m.GetCache(), object, policies))
	}
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return err
		}
	}
	return nil
}
