package metrics

import (
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Secret is what the metrics tell of one Secret.
type Secret struct {
	Namespace, Name string
	// Source is the kind of object that wants it.
	Source string
	// Expires is zero if the Secret does not say.
	Expires time.Time
}

// secrets reads the Secrets when it is asked, so that what it tells can neither be stale nor be left behind.
type secrets struct {
	list       func() iter.Seq[Secret]
	expiration *prometheus.Desc
	count      *prometheus.Desc
}

// TellSecrets registers the metrics of the Secrets that list yields at the time of each scrape.
func (m *Metrics) TellSecrets(list func() iter.Seq[Secret]) error {
	return m.registry.Register(&secrets{
		list: list,
		expiration: prometheus.NewDesc(namespace+"_credentials_expiration_timestamp_seconds",
			"When STS ceases to accept the credentials in a Secret, in Unix time.", []string{"namespace", "secret"}, nil),
		count: prometheus.NewDesc(namespace+"_secrets",
			"Secrets that the controller keeps, by the kind of object that wants them.", []string{"source"}, nil),
	})
}

// TellBase registers the metric of when the controller's own credentials expire, as expires says at the time of each scrape; of a zero time nothing is told.
func (m *Metrics) TellBase(expires func() time.Time) error {
	return m.registry.Register(&base{expires, prometheus.NewDesc(namespace+"_base_credentials_expiration_timestamp_seconds",
		"When the controller's own AWS credentials expire, in Unix time, if they do.", nil, nil)})
}

// base reads when the controller's own credentials expire.
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
			samples <- prometheus.MustNewConstMetric(s.expiration, prometheus.GaugeValue, float64(secret.Expires.Unix()), secret.Namespace, secret.Name)
		}
	}
	for source, n := range counts {
		samples <- prometheus.MustNewConstMetric(s.count, prometheus.GaugeValue, float64(n), source)
	}
}
