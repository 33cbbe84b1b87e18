// Package events writes the events that tell users why a Secret is, or is not, as they expect.
package events

import (
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
)

// Recorder writes events. It bounds how many a namespace has, so that one namespace cannot keep
// others from getting theirs. The Kubernetes API bounds repetitions: events that agree in object,
// Secret, reason and action are one series. A Recorder is safe for concurrent use.
type Recorder struct {
	recorder events.EventRecorder
	clock    clock.PassiveClock
	limits   *limits
}

// NewRecorder returns a Recorder that writes by another one, within limits measured by a clock.
func NewRecorder(recorder events.EventRecorder, c clock.PassiveClock) *Recorder {
	return &Recorder{recorder, c, newLimits()}
}

// Emit writes an event about a Secret on objects of the same namespace, and returns on how many:
// above the limits of the namespace the event is dropped, and can be emitted later.
func (r *Recorder) Emit(about types.NamespacedName, e Event, on ...Target) (emitted int) {
	allow := r.limits.allowWarning
	if e.eventType == corev1.EventTypeNormal {
		allow = r.limits.allowSuccess
	}
	related := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: about.Namespace, Name: about.Name}}
	for _, t := range on {
		if allow(about.Namespace, r.clock.Now()) {
			r.recorder.Eventf(t.object, related, e.eventType, e.Reason, e.Action, "%s", Shorten(e.Note))
			t.mark(e)
			emitted++
		}
	}
	return emitted
}

// EmitOnce is Emit on those of the objects that have not seen the event.
func (r *Recorder) EmitOnce(about types.NamespacedName, e Event, on ...Target) (emitted int) {
	for _, t := range on {
		if !t.hasSeen(e) {
			emitted += r.Emit(about, e, t)
		}
	}
	return emitted
}

// EmitOnSeed writes an event on the Secret of the controller's own credentials, and on the
// controller's pod if that is not nil. It has no limits.
func (r *Recorder) EmitOnSeed(seed *corev1.Secret, self *corev1.Pod, e Event) {
	r.recorder.Eventf(seed, nil, e.eventType, e.Reason, e.Action, "%s", Shorten(e.Note))
	if self != nil {
		r.recorder.Eventf(self, seed, e.eventType, e.Reason, e.Action, "%s", Shorten(e.Note))
	}
}

// EmitOnSelf writes an event on the controller's own pod, if that is not nil. It has no limits.
func (r *Recorder) EmitOnSelf(self *corev1.Pod, e Event) {
	if self != nil {
		r.recorder.Eventf(self, nil, e.eventType, e.Reason, e.Action, "%s", Shorten(e.Note))
	}
}

// maxNote is the length to which the API server accepts a note, in bytes. Source: the validation
// of events.k8s.io/v1.
const maxNote = 1024

// Shorten cuts a note to what an event can hold, between two characters.
func Shorten(note string) string {
	if len(note) <= maxNote {
		return note
	}
	const ellipsis = "…"
	cut := maxNote - len(ellipsis)
	for !utf8.RuneStart(note[cut]) {
		cut--
	}
	return note[:cut] + ellipsis
}
