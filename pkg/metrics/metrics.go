// Package metrics holds the controller's Prometheus metrics.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "kube_aws_iam_controller"

// Metrics are the metrics that events change.
type Metrics struct {
	registry      prometheus.Registerer
	issueDuration *prometheus.HistogramVec
	stsRequests   *prometheus.CounterVec
	stsDuration   *prometheus.HistogramVec
	refused       *prometheus.CounterVec
}

// New makes the metrics and registers them.
func New(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		registry: registry,
		issueDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "issue_duration_seconds",
			Help:    "Time from the moment credentials were wanted, or due for renewal, until their Secret was written.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"reason"}),
		stsRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "sts_requests_total",
			Help: "Requests to AWS STS by operation and error code, each attempt for itself; the code of a success is OK.",
		}, []string{"operation", "code"}),
		stsDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "sts_request_duration_seconds",
			Help:    "Duration of requests to AWS STS by operation, each attempt for itself.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "refused_total",
			Help: "Attempts to give credentials that ended without any, by reason.",
		}, []string{"reason"}),
	}
	registry.MustRegister(m.issueDuration, m.stsRequests, m.stsDuration, m.refused)
	return m
}

// Issued counts credentials that were written, and how long after they were wanted: not at all, if the clock was set back meanwhile.
func (m *Metrics) Issued(reason string, took time.Duration) {
	m.issueDuration.WithLabelValues(reason).Observe(max(0, took).Seconds())
}

// Refused counts an attempt that ended without credentials.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// STS counts one attempt at a request to STS.
func (m *Metrics) STS(operation, code string, took time.Duration) {
	m.stsRequests.WithLabelValues(operation, code).Inc()
	m.stsDuration.WithLabelValues(operation).Observe(took.Seconds())
}

// TellClock registers the metric of how far the machine's clock is ahead of that of STS, as ahead says at the time of each scrape.
func (m *Metrics) TellClock(ahead func() time.Duration) error {
	return m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "clock_offset_seconds",
		Help: "How far the machine's clock is ahead of that of AWS STS, negative if it is behind; 0 as long as the two agree within a few seconds.",
	}, func() float64 { return ahead().Seconds() }))
}
