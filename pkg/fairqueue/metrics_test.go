package fairqueue_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"kube-aws-iam-controller/pkg/fairqueue"
)

// The queue counts in the metrics that controller-runtime registers for its own queues. This
// fails if one of their help texts or labels changes, as the queue's would then not be served.
func TestQueue_Metrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue{fairqueue.New(fairqueue.Options{Name: "metrics", Metrics: ctrlmetrics.Registry}), t, nil}
		defer q.ShutDown()
		q.add(waiting, 0, "a/1 a/2 a/3")
		q.add(urgent, 0, "a/1")
		q.add(background, time.Second, "a/4")
		time.Sleep(2 * time.Second)
		q.get()
		time.Sleep(3 * time.Second)
		q.Done(request("a/1"))
		q.get()
		time.Sleep(time.Second)
		synctest.Wait()

		got := gather(t)
		want := map[string]float64{
			"workqueue_adds_total":                        4,
			"workqueue_depth -10":                         1,
			"workqueue_depth 0":                           1,
			"workqueue_depth 10":                          0,
			"workqueue_retries_total":                     1,
			"workqueue_queue_duration_seconds":            2 + 5,
			"workqueue_work_duration_seconds":             3,
			"workqueue_unfinished_work_seconds":           1,
			"workqueue_longest_running_processor_seconds": 1,
		}
		if !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// gather returns the served metrics of the queue that is called "metrics": values of counters and
// gauges, sums of histograms.
func gather(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["name"] != "metrics" || labels["controller"] != "metrics" {
				continue
			}
			name := family.GetName()
			if priority, ok := labels["priority"]; ok {
				name += " " + priority
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	return all
}
