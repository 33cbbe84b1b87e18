package metrics

import "github.com/prometheus/client_golang/prometheus"

// RegisterPolicies registers the metric of which admission policies are in force, and returns the
// function that sets it. A policy whose state is unknown has no sample.
func (m *Metrics) RegisterPolicies() (set func(policy string, inForce bool), err error) {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "admission_policy_in_force",
		Help: "Whether an admission policy that restricts the controller is in force (1) or not (0), as determined by " +
			"the leader: at its start, that of tokens every minute or two.",
	}, []string{"policy"})
	return func(policy string, inForce bool) {
		value := 0.0
		if inForce {
			value = 1
		}
		gauge.WithLabelValues(policy).Set(value)
	}, m.registry.Register(gauge)
}
