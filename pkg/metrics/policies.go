package metrics

import "github.com/prometheus/client_golang/prometheus"

// RegisterPolicies registers the metric of which admission policies are in force, and returns the
// functions that set it, and that remove the sample of a policy whose state is unknown.
func (m *Metrics) RegisterPolicies() (set func(policy string, inForce bool), unset func(policy string), err error) {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "admission_policy_in_force",
		Help: "Whether an admission policy that restricts the controller is in force (1) or not (0), as determined by " +
			"the leader: at its start, that of tokens every minute or two.",
	}, []string{"policy"})
	set = func(policy string, inForce bool) {
		value := 0.0
		if inForce {
			value = 1
		}
		gauge.WithLabelValues(policy).Set(value)
	}
	return set, func(policy string) { gauge.DeleteLabelValues(policy) }, m.registry.Register(gauge)
}
