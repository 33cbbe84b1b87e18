package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

// maxScrapes is how many requests for metrics are answered at the same time. Each takes up to
// some megabytes, and milliseconds where the client reads.
const maxScrapes = 4

// addMetrics serves the metrics, to a few clients at a time, and if secure is true by HTTPS and
// only to whom the API server allows it. It takes the place of controller-runtime's own server,
// whose connections cannot be limited.
func addMetrics(ctx context.Context, m manager.Manager, log logr.Logger, address string, secure bool) error {
	handler := limitInFlight(maxScrapes, promhttp.HandlerFor(ctrlmetrics.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	var config *tls.Config
	if secure {
		access, err := newMetricsAccess(m.GetConfig(), m.GetHTTPClient())
		if err != nil {
			return err
		}
		handler = access.require(log, handler)
		if config, err = servingConfig(m); err != nil {
			return err
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", handler)
	return addServer(ctx, m, "metrics", address, mux, config)
}

// limitInFlight refuses requests beyond a number of them that are answered at the same time.
func limitInFlight(n int, next http.Handler) http.Handler {
	slots := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			refuseScrape(w, http.StatusServiceUnavailable)
		}
	})
}

// refuseScrape answers with an error and closes the connection, which costs memory as long as it
// is there.
func refuseScrape(w http.ResponseWriter, status int) {
	w.Header().Set("Connection", "close")
	http.Error(w, http.StatusText(status), status)
}

// servingConfig returns the certificate that is mounted, as long as the manager runs in its
// newest version, and otherwise a self-signed one of its own, as controller-runtime does.
func servingConfig(m manager.Manager) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}} // one request at a time for each connection
	folder := filepath.Join(os.TempDir(), "k8s-metrics-server", "serving-certs")
	mounted, err := certwatcher.New(filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"))
	switch {
	case err == nil:
		config.GetCertificate = mounted.GetCertificate
		return config, m.Add(mounted)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot read the certificate of the metrics: %w", err)
	}
	certificate, key, err := cert.GenerateSelfSignedCertKeyWithFixtures("localhost", nil, nil, "")
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate for the metrics: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate for the metrics: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
