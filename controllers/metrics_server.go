package controllers

import (
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// metricsTimeout is how long a request for metrics may take: the reading of the request, the answer, and its reading by the client. It is as long as
	// Prometheus waits by default.
	metricsTimeout = 10 * time.Second
	// maxScrapes is how many requests for metrics are answered at the same time. Each takes up to some megabytes, and milliseconds where the client reads.
	maxScrapes = 4
)

// metricsOptions returns how metrics are served: to a bounded number of clients at a time, and if secure is true by HTTPS and only to whom the API server
// allows it. The certificate is that in the folder k8s-metrics-server/serving-certs of the temporary directory (tls.crt, tls.key) if there is one, and
// otherwise self-signed and kept in memory.
func metricsOptions(address string, secure bool) metricsserver.Options {
	return metricsserver.Options{
		BindAddress:   address,
		SecureServing: secure,
		TLSOpts:       []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}, // one request at a time for each connection
		FilterProvider: func(config *rest.Config, client *http.Client) (metricsserver.Filter, error) {
			access, err := newMetricsAccess(config, client)
			if err != nil {
				return nil, err
			}
			return func(log logr.Logger, metrics http.Handler) (http.Handler, error) {
				metrics = limitInFlight(maxScrapes, metrics)
				if secure {
					metrics = access.require(log, metrics)
				}
				return limitTime(metricsTimeout, metrics), nil
			}, nil
		},
	}
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

// limitTime ends the connections of clients that do not read the answer, or do not send the whole request, in time.
func limitTime(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection, end := http.NewResponseController(w), time.Now().Add(limit)
		if err := errors.Join(connection.SetReadDeadline(end), connection.SetWriteDeadline(end)); err != nil {
			refuseScrape(w, http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuseScrape answers with an error and closes the connection, which costs memory as long as it is there.
func refuseScrape(w http.ResponseWriter, status int) {
	w.Header().Set("Connection", "close")
	http.Error(w, http.StatusText(status), status)
}
