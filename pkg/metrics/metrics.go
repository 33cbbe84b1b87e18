// Package metrics holds the controller's Prometheus metrics.
package metrics

import (
	"errors"
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
	undecided     prometheus.Counter
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
	m.undecided = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "access_reviews_undecided_total",
		Help: "Access reviews that could not be decided: nothing new is issued, and nothing is taken away.",
	})
	registry.MustRegister(m.issueDuration, m.stsRequests, m.stsDuration, m.refused, m.undecided)
	return m
}

// Issued counts credentials that were written, and how long after they were wanted: not at all, if the clock was set back meanwhile.
func (m *Metrics) Issued(reason string, took time.Duration) {
	m.issueDuration.WithLabelValues(reason).Observe(max(0, took).Seconds())
}

// Refused counts an attempt that ended without credentials.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// ReviewUndecided counts an access review that could not be decided.
func (m *Metrics) ReviewUndecided() { m.undecided.Inc() }

// Counts are numbers of the moment about the Secrets of this replica.
type Counts struct {
	// WithoutRight is how many pods hold a Secret that their ServiceAccount may not have any more.
	WithoutRight func() int
	// RemovalDelayed is how many Secrets wait to be deleted because their role is refused.
	RemovalDelayed func() int
	// Contested is how many Secrets another writer changes back.
	Contested func() int
}

// TellCounts registers the metrics of numbers, as they are at the time of each scrape.
func (m *Metrics) TellCounts(c Counts) error {
	gauge := func(name, help string, of func() int) error {
		return m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(of()) }))
	}
	return errors.Join(
		gauge("pods_without_right", "Pods that hold a Secret, shared with others, whose role their ServiceAccount may not have any more.", c.WithoutRight),
		gauge("secrets_removal_delayed", "Secrets whose role is refused and that wait to be deleted, as such deletions are limited.", c.RemovalDelayed),
		gauge("secrets_contested", "Secrets that another writer changes back again and again.", c.Contested),
	)
}

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
