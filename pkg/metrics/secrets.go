package metrics

import (
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Secret is one Secret in the metrics.
type Secret struct {
	Namespace, Name string
	// Source is the kind of object that requests it.
	Source string
	// Expires is zero if the Secret has no expiry.
	Expires time.Time
}

// secrets lists the Secrets at each scrape, so that its samples are never stale or left behind.
type secrets struct {
	list       func() iter.Seq[Secret]
	expiration *prometheus.Desc
	count      *prometheus.Desc
}

// RegisterSecrets registers the metrics of the Secrets that list yields, read at each scrape.
func (m *Metrics) RegisterSecrets(list func() iter.Seq[Secret]) error {
	return m.registry.Register(&secrets{
		list: list,
		expiration: prometheus.NewDesc(namespace+"_credentials_expiration_timestamp_seconds",
			"When the credentials in a Secret expire, in Unix time.", []string{"namespace", "secret"}, nil),
		count: prometheus.NewDesc(namespace+"_secrets",
			"Secrets that the controller manages, by the kind of object that requests them.", []string{"source"}, nil),
	})
}

// RegisterBaseExpiry registers the metric of when the controller's own credentials expire, read at
// each scrape. A zero time has no sample.
func (m *Metrics) RegisterBaseExpiry(expires func() time.Time) error {
	return m.registry.Register(&base{expires, prometheus.NewDesc(namespace+"_base_credentials_expiration_timestamp_seconds",
		"When the controller's own AWS credentials expire, in Unix time; no sample if they do not expire.", nil, nil)})
}

// RegisterCertificateExpiry registers the metric of when the controller's own certificate, or an
// intermediate one before it, expires, read at each scrape. A zero time has no sample.
func (m *Metrics) RegisterCertificateExpiry(expires func() time.Time) error {
	return m.registry.Register(&base{expires, prometheus.NewDesc(namespace+"_base_certificate_expiration_timestamp_seconds",
		"When the controller's certificate for IAM Roles Anywhere, or an intermediate one before it, expires, in Unix time; no sample "+
			"if it has none.", nil, nil)})
}

// base reads when the controller's own credentials or certificate expire.
type base struct {
	expires    func() time.Time
	expiration *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (b *base) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- b.expiration }

// Collect implements prometheus.Collector.
func (b *base) Collect(samples chan<- prometheus.Metric) {
	if at := b.expires(); !at.IsZero() {
		samples <- prometheus.MustNewConstMetric(b.expiration, prometheus.GaugeValue, float64(at.Unix()))
	}
}

// Describe implements prometheus.Collector.
func (s *secrets) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- s.expiration
	descriptions <- s.count
}

// Collect implements prometheus.Collector.
func (s *secrets) Collect(samples chan<- prometheus.Metric) {
	counts := map[string]int{}
	for secret := range s.list() {
		counts[secret.Source]++
		if !secret.Expires.IsZero() {
			samples <- prometheus.MustNewConstMetric(s.expiration, prometheus.GaugeValue, float64(secret.Expires.Unix()),
				secret.Namespace, secret.Name)
		}
	}
	for source, n := range counts {
		samples <- prometheus.MustNewConstMetric(s.count, prometheus.GaugeValue, float64(n), source)
	}
}
