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
