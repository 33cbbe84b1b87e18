// Command kube-aws-iam-controller gives Kubernetes pods temporary credentials of AWS IAM roles, through Secrets that they mount.
package main

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
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/role"
)

// version is set by the linker.
var version = "development"

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kube-aws-iam-controller: "+err.Error())
		os.Exit(1)
	}
}

// run is the whole program: flags, manager, run until the context is done.
func run(ctx context.Context, args []string, out io.Writer) error {
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

// resync is how often refreshes that wait in the queue are looked through for urgent ones, and whether somebody set the machine's clock.
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
		QPS:            o.stsQPS,
		Now:            time.Now,
		ClockCorrected: tellClock(log),
		Observe:        collected.STS,
	})
	if err != nil {
		return err
	}
	manager, err := controllers.NewManager(ctx, cluster, controllers.Options{
		Settings: controllers.Settings{
			ClusterName:       o.clusterName,
			MountPath:         o.mountPath,
			SessionDuration:   o.sessionDuration,
			RefreshLimit:      o.refreshLimit,
			UnusedGracePeriod: o.unusedGracePeriod,
			ExternalID:        o.externalID,
			SessionTags:       o.sessionTags,
			Seed:              o.seed,

			DryRunAuthorization: o.dryRunAuthorization,
		},
		Namespaces:              o.namespaces,
		Credentials:             aws,
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
	if errors.Is(err, context.Canceled) { // told to end while it waited for the API server
		return nil
	}
	if err != nil {
		return err
	}
	return runUntil(ctx, manager.Start)
}

// tellClock logs that the machine's clock is wrong, or is right again.
func tellClock(log logr.Logger) func(ahead time.Duration) {
	return func(ahead time.Duration) {
		if ahead == 0 {
			log.Info("the machine's clock is right again")
			return
		}
		where := "ahead of"
		if ahead < 0 {
			where = "behind"
		}
		log.Error(nil, fmt.Sprintf("the machine's clock is %s %s that of STS, which is used instead: check the time synchronization of the controller's node", ahead.Abs().Round(time.Second), where))
	}
}

// self is the pod that the controller runs in, if its manifest tells.
func self() *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME"), UID: types.UID(os.Getenv("POD_UID"))}}
	if pod.Namespace == "" || pod.Name == "" {
		return nil
	}
	return pod
}

// stopPatience is how long the manager may take to stop, its Lease released; the manifests give it a little more.
const stopPatience = 40 * time.Second

// runUntil runs the manager until its context is done and it has stopped. controller-runtime does not return if that happens before all caches
// are in sync (as of 0.25): then it is left behind.
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
	case <-time.After(stopPatience):
		return fmt.Errorf("not stopped within %s of the signal", stopPatience)
	}
}

// clusterConfig finds the API server: by --kubeconfig, KUBECONFIG, the cluster that the controller runs in, or ~/.kube/config.
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
