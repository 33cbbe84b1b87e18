// Package app is the program kube-aws-iam-controller: its flags, and the manager with caches,
// probes, metrics and the Lease.
package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/role"
)

// Run parses the flags in args and runs the controller until the context is done. It writes help
// and version to out.
func Run(ctx context.Context, version string, args []string, out io.Writer) error {
	var o options
	flags := o.flags()
	flags.SetOutput(out)
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return nil
	case err != nil:
		return fmt.Errorf("%w; --help lists the flags", err)
	case o.version:
		_, err := fmt.Fprintln(out, version)
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag; --help lists the flags", flags.Arg(0))
	}
	if flags.Changed("namespace") && len(o.namespaces) == 0 {
		return errors.New("--namespace is empty: leave it out to serve all namespaces")
	}
	if err := o.validate(); err != nil {
		return err
	}
	log := newLogger(&o)
	log.Info("starting", "version", version)
	if flags.Changed("interval") {
		log.Info("--interval is ignored: the controller watches, it does not poll")
	}
	return serve(ctx, log, &o)
}

// resync is how often waiting renewals are checked for urgent ones, and the machine's clock for a
// change.
const resync = time.Minute

func serve(ctx context.Context, log logr.Logger, o *options) error {
	cluster, err := clusterConfig(o)
	if err != nil {
		return err
	}
	collected := metrics.New(ctrlmetrics.Registry)
	aws, err := credentials.New(ctx, credentials.Options{
		Base:           o.base,
		Intermediate:   credentials.Session{Role: o.intermediate, Name: role.ControllerSessionName(o.clusterName, controllers.Name)},
		Seeded:         o.seedSecret != "",
		RolesAnywhere:  o.rolesAnywhere.parsed,
		QPS:            o.stsQPS,
		Now:            time.Now,
		ClockCorrected: logClock(log),
		Observe:        collected.STS,
	})
	if err != nil {
		return err
	}
	manager, err := NewManager(ctx, cluster, &Options{
		Settings: controllers.Settings{
			Sessions:          o.sessions(),
			RefreshLimit:      o.refreshLimit,
			UnusedGracePeriod: o.unusedGracePeriod,
			Seed:              o.seed,

			DryRunAuthorization: o.dryRunAuthorization,
		},
		MountPath:               o.mountPath,
		SecretAnnotations:       o.secrets.annotations,
		OmitAccountID:           o.secrets.omitAccountID,
		Namespaces:              o.namespaces,
		Credentials:             aws,
		WebIdentity:             o.webIdentity.settings(),
		AuthorizationModes:      o.authorizationModes,
		Metrics:                 collected,
		MaxConcurrentReconciles: o.maxConcurrentReconciles,
		LeaderElect:             o.leaderElect,
		MetricsAddress:          o.metricsAddress,
		MetricsSecure:           o.metricsSecure,
		HealthAddress:           o.healthAddress,
		Self:                    self(),
		Resync:                  resync,
		Clock:                   clock.RealClock{},
		Log:                     log,
	})
	if errors.Is(err, context.Canceled) { // ended while it waited for the API server
		return nil
	}
	if err != nil {
		return err
	}
	return runUntil(ctx, manager.Start)
}

// logClock returns a function that logs that the machine's clock is wrong, or is right again.
func logClock(log logr.Logger) func(ahead time.Duration) {
	return func(ahead time.Duration) {
		if ahead == 0 {
			log.Info("the machine's clock is right again")
			return
		}
		log.Error(nil, "the machine's clock is wrong, and STS's is used instead: check the time synchronization of the controller's node",
			"ahead", ahead.Round(time.Second).String())
	}
}

// self returns the pod that the controller runs in, if its manifest sets POD_NAME and the like.
func self() *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME"), UID: types.UID(os.Getenv("POD_UID")),
	}}
	if pod.Namespace == "" || pod.Name == "" {
		return nil
	}
	return pod
}

// stopTimeout is how long the manager can take to stop and release its Lease; the manifests give it
// a little more.
const stopTimeout = 40 * time.Second

// runUntil runs the manager until its context is done and it has stopped. controller-runtime 0.25
// does not return if that happens before all caches are in sync: then it is left behind.
func runUntil(ctx context.Context, start func(context.Context) error) error {
	stopped := make(chan error, 1)
	go func() { stopped <- start(ctx) }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-stopped:
		return err
	case <-time.After(stopTimeout):
		return fmt.Errorf("not stopped within %s of the signal", stopTimeout)
	}
}

// clusterConfig returns how to reach the API server: by --kubeconfig, KUBECONFIG, the cluster that
// the controller runs in, or ~/.kube/config.
func clusterConfig(o *options) (*rest.Config, error) {
	kubeconfig := flag.Lookup(config.KubeconfigFlagName)
	named := os.Getenv("KUBECONFIG") != "" || (kubeconfig != nil && kubeconfig.Value.String() != "")
	if o.apiServer != "" && os.Getenv("KUBERNETES_SERVICE_HOST") == "" && !named {
		return &rest.Config{Host: o.apiServer}, nil
	}
	c, err := config.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("no Kubernetes cluster to work on: set --kubeconfig or KUBECONFIG: %w", err)
	}
	if o.apiServer != "" {
		c.Host = o.apiServer
	}
	return c, nil
}
