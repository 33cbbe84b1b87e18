// Package metrics provides the controller's Prometheus metrics.
package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "kube_aws_iam_controller"

// Metrics holds the metrics that the controller updates, and registers those that are read at each
// scrape.
type Metrics struct {
	registry      prometheus.Registerer
	issueDuration *prometheus.HistogramVec
	stsRequests   *prometheus.CounterVec
	stsDuration   *prometheus.HistogramVec
	refused       *prometheus.CounterVec
	undecided     prometheus.Counter
}

// New returns the Metrics after registering them.
func New(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		registry: registry,
		issueDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "issue_duration_seconds",
			Help:    "Time from the moment credentials were requested, or due for renewal, until their Secret was written.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"reason"}),
		stsRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "sts_requests_total",
			Help: "Requests to AWS STS by operation and error code; each attempt counts. The code of a success is OK, and " +
				"Other stands for all codes that AWS does not document.",
		}, []string{"operation", "code"}),
		stsDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "sts_request_duration_seconds",
			Help:    "Duration of each attempt at a request to AWS STS, by operation.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "refused_total",
			Help: "Attempts to issue credentials that failed or were rejected, by reason.",
		}, []string{"reason"}),
	}
	m.undecided = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "access_reviews_undecided_total",
		Help: "Access reviews that could not be decided: nothing new is issued, and no Secret is deleted.",
	})
	registry.MustRegister(m.issueDuration, m.stsRequests, m.stsDuration, m.refused, m.undecided)
	return m
}

// Issued observes the time from a request until its credentials were written. A negative time,
// after the clock was set back, counts as zero.
func (m *Metrics) Issued(reason string, took time.Duration) {
	m.issueDuration.WithLabelValues(reason).Observe(max(0, took).Seconds())
}

// Refused counts an attempt that ended without credentials.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// ReviewUndecided counts an access review that could not be decided.
func (m *Metrics) ReviewUndecided() { m.undecided.Inc() }

// Counts return current numbers about the Secrets of this replica.
type Counts struct {
	// WithoutRight returns how many pods mount a Secret whose role their ServiceAccount is no
	// longer allowed to have.
	WithoutRight func() int
	// NotInjected returns how many pods should have a Secret by injection and run without it.
	NotInjected func() int
	// RemovalDelayed returns how many Secrets wait to be deleted because their role is rejected.
	RemovalDelayed func() int
	// Contested returns how many Secrets another writer changes back.
	Contested func() int
}

// RegisterCounts registers the metrics of Counts, read at each scrape.
func (m *Metrics) RegisterCounts(c Counts) error {
	gauge := func(name, help string, of func() int) error {
		return m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(of()) }))
	}
	return errors.Join(
		gauge("pods_without_right", "Pods that mount a shared Secret whose role their ServiceAccount is no longer "+
			"allowed to have.", c.WithoutRight),
		gauge("pods_not_injected", "Pods that should have got the Secret of their ServiceAccount by injection, and run "+
			"without it.", c.NotInjected),
		gauge("secrets_removal_delayed", "Secrets whose role is rejected and that wait to be deleted, because such "+
			"deletions are rate limited.", c.RemovalDelayed),
		gauge("secrets_contested", "Secrets that another writer repeatedly changes back.", c.Contested),
	)
}

// STS observes one attempt at a request to STS. The code can be any that an endpoint answers with.
func (m *Metrics) STS(operation, code string, took time.Duration) {
	m.stsRequests.WithLabelValues(operation, codeLabel(code)).Inc()
	m.stsDuration.WithLabelValues(operation).Observe(took.Seconds())
}

// RegisterClockOffset registers the metric of how far the local clock is ahead of that of STS, read
// at each scrape.
func (m *Metrics) RegisterClockOffset(ahead func() time.Duration) error {
	return m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "clock_offset_seconds",
		Help: "How far the local clock is ahead of the clock of AWS STS, negative if it is behind; 0 while they agree " +
			"within a few seconds.",
	}, func() float64 { return ahead().Seconds() }))
}
