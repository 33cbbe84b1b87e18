package fairqueue

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

// unfinishedInterval is the interval at which the metrics of work in progress are set, as in
// client-go.
const unfinishedInterval = 500 * time.Millisecond

// metrics are client-go's metrics of work queues, with controller-runtime's labels. The methods of
// a nil *metrics do nothing.
type metrics struct {
	depth                              *prometheus.GaugeVec // by priority
	adds, retries                      prometheus.Counter
	latency, workDuration              prometheus.Observer
	unfinishedWork, longestRunningWork prometheus.Gauge
}

// newMetrics returns the metrics of the queue of that name. controller-runtime registers them for
// its own queues and exports neither them nor the provider that has them, so they are found by
// registering them again. The help texts have to be the same for that.
func newMetrics(r prometheus.Registerer, name string) *metrics {
	labels := []string{"name", "controller"}
	values := []string{name, name}
	gauge := func(key, help string, labels ...string) *prometheus.GaugeVec {
		return registered(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Subsystem: ctrlmetrics.WorkQueueSubsystem, Name: key, Help: help}, labels))
	}
	counter := func(key, help string) prometheus.Counter {
		return registered(r, prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: ctrlmetrics.WorkQueueSubsystem, Name: key, Help: help}, labels)).WithLabelValues(values...)
	}
	histogram := func(key, help string) prometheus.Observer {
		return registered(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{Subsystem: ctrlmetrics.WorkQueueSubsystem, Name: key, Help: help}, labels)).WithLabelValues(values...)
	}
	return &metrics{
		depth:        gauge(ctrlmetrics.DepthKey, "Current depth of workqueue by workqueue and priority", append(labels, "priority")...).MustCurryWith(prometheus.Labels{"name": name, "controller": name}),
		adds:         counter(ctrlmetrics.AddsKey, "Total number of adds handled by workqueue"),
		latency:      histogram(ctrlmetrics.QueueLatencyKey, "How long in seconds an item stays in workqueue before being requested"),
		workDuration: histogram(ctrlmetrics.WorkDurationKey, "How long in seconds processing an item from workqueue takes."),
		unfinishedWork: gauge(ctrlmetrics.UnfinishedWorkKey, "How many seconds of work has been done that "+
			"is in progress and hasn't been observed by work_duration. Large "+
			"values indicate stuck threads. One can deduce the number of stuck "+
			"threads by observing the rate at which this increases.", labels...).WithLabelValues(values...),
		longestRunningWork: gauge(ctrlmetrics.LongestRunningProcessorKey, "How many seconds has the longest running "+
			"processor for workqueue been running.", labels...).WithLabelValues(values...),
		retries: counter(ctrlmetrics.RetriesKey, "Total number of items added to the workqueue with a non-zero delay (rate-limited requeues, explicit RequeueAfter or AddAfter calls)"),
	}
}

// registered registers a collector and returns it, or the one that is already registered under its
// name. If that one is of another type, it returns c, which is not exposed.
func registered[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](r.Register(c)); ok {
		if existing, same := already.ExistingCollector.(C); same {
			return existing
		}
	}
	return c
}

func (m *metrics) depthOf(priority int) prometheus.Gauge {
	return m.depth.WithLabelValues(strconv.Itoa(priority))
}

func (m *metrics) added(priority int) {
	if m != nil {
		m.adds.Inc()
		m.depthOf(priority).Inc()
	}
}

func (m *metrics) raised(from, to int) {
	if m != nil {
		m.depthOf(from).Dec()
		m.depthOf(to).Inc()
	}
}

func (m *metrics) taken(priority int, waited time.Duration) {
	if m != nil {
		m.depthOf(priority).Dec()
		m.latency.Observe(waited.Seconds())
	}
}

func (m *metrics) done(took time.Duration) {
	if m != nil {
		m.workDuration.Observe(took.Seconds())
	}
}

func (m *metrics) retry() {
	if m != nil {
		m.retries.Inc()
	}
}

func (m *metrics) unfinished(total, longest time.Duration) {
	if m != nil {
		m.unfinishedWork.Set(total.Seconds())
		m.longestRunningWork.Set(longest.Seconds())
	}
}
