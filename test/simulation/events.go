package simulation

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
)

// eventLog counts Warning events by the UID of their object and by reason.
type eventLog struct {
	warnings map[types.UID]map[string]int
}

func newEventLog() *eventLog { return &eventLog{warnings: map[types.UID]map[string]int{}} }

// recorder writes the events of one instance.
type recorder struct{ inst *instance }

var _ events.EventRecorder = recorder{}

// Eventf implements events.EventRecorder.
func (r recorder) Eventf(regarding, _ runtime.Object, kind, reason, action, _ string, _ ...any) {
	o, err := meta.Accessor(regarding)
	if err != nil {
		panic(err)
	}
	sim := r.inst.sim
	if !r.inst.alive {
		return
	}
	sim.trace.add("%d event %s %s %s/%s on %s/%s", r.inst.number, kind, o.GetName(), reason, action, o.GetNamespace(), o.GetName())
	if kind != corev1.EventTypeWarning {
		return
	}
	if sim.eventLog.warnings[o.GetUID()] == nil {
		sim.eventLog.warnings[o.GetUID()] = map[string]int{}
	}
	sim.eventLog.warnings[o.GetUID()][reason]++
}
