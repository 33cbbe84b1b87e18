package app

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"

	v1 "kube-aws-iam-controller/api/v1"
)

const (
	// apiTimeout bounds one question to an API server that may be away, apiRetry is when to ask
	// again, and apiNews how often the log tells of it.
	apiTimeout = 10 * time.Second
	apiRetry   = time.Second
	apiNews    = 30 * time.Second
	// apiSettles is for how long an API server that comes up must say that it does not know a
	// resource before that is believed: for a moment it answers, and has not read yet which
	// CustomResourceDefinitions there are.
	apiSettles = 5 * time.Second
)

// awaitAPIServer asks the API server whether the cluster has AWSIAMRoles until it answers. A
// process that ended instead would come back up to five minutes after the API server: the kubelet
// waits that long before it starts one again that ended often. Until there is an answer, the probes
// say that the process lives and is not ready.
//
// No error of the API server's is an end to it, and the log tells of one every 30 seconds: one that
// is coming up may for a moment know neither tokens nor rights. Nor does it know all resources
// then: that there are no AWSIAMRoles is believed of one that answers at once, or else when it has
// said so for 5 seconds. The errors are those of a context that is done, and of an address of the
// probes that is none.
func awaitAPIServer(ctx context.Context, api discovery.DiscoveryInterface, o *Options) (servesRoles bool, err error) {
	if err = serves(ctx, api); err == nil || apierrors.IsNotFound(err) {
		return err == nil, nil
	}
	stop, listenErr := answerProbes(ctx, o.HealthAddress)
	if listenErr != nil {
		return false, listenErr
	}
	defer stop()
	news := rate.Sometimes{Interval: apiNews}
	var missing time.Time // since when it says that it does not know them
	waitErr := wait.PollUntilContextCancel(ctx, apiRetry, false, func(ctx context.Context) (bool, error) {
		news.Do(func() { o.Log.Error(err, "the API server does not answer which resources it serves; retrying") })
		err = serves(ctx, api)
		switch absent := apierrors.IsNotFound(err); {
		case !absent:
			missing = time.Time{}
		case missing.IsZero():
			missing = o.Clock.Now()
		default:
			return o.Clock.Since(missing) >= apiSettles, nil
		}
		return err == nil, nil
	})
	if waitErr == nil {
		o.Log.Info("the API server answers")
	}
	return err == nil, waitErr
}

// serves asks whether the cluster has AWSIAMRoles. If it answers that it has none, the error is
// NotFound.
func serves(ctx context.Context, api discovery.DiscoveryInterface) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	known, err := discovery.ToDiscoveryInterfaceWithContext(api).ServerResourcesForGroupVersionWithContext(ctx, v1.GroupVersion.String())
	if err == nil && !slices.ContainsFunc(known.APIResources, func(r metav1.APIResource) bool { return r.Kind == v1.Kind }) {
		return apierrors.NewNotFound(v1.GroupVersion.WithResource("awsiamroles").GroupResource(), "")
	}
	return err
}

// answerProbes answers those of a process that lives and is not ready, until it is stopped. "0" is
// no address, as it is to the manager.
func answerProbes(ctx context.Context, address string) (stop func(), err error) {
	if address == "" || address == "0" {
		return func() {}, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	probes := http.NewServeMux()
	probes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	probes.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the API server does not answer yet", http.StatusServiceUnavailable)
	})
	server := newHTTPServer(probes)
	go func() { _ = server.Serve(listener) }() // it ends as it is closed
	return func() { _ = server.Close() }, nil
}
