package events

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
)

// Event is what an event says.
type Event struct {
	eventType string
	// Reason is one word of api/v1. Action keeps causes apart that have the same reason.
	Reason, Action string
	// Note says what is wrong and what to do.
	Note  string
	scope scope
}

// scope is what an event is about: it says until when a pod does not see the same again.
type scope int

const (
	ofSecret scope = iota // until it is written
	ofRight               // until the pod has the right to the role, or the Secret is written
	ofPod                 // while the pod exists: its faults stay
)

// Created returns the event of a new Secret.
func Created(secret types.NamespacedName, role string, expires time.Time) Event {
	return success(v1.ReasonCreateCredentials, secret, role, expires)
}

// Renewed returns the event of a Secret that has new credentials.
func Renewed(secret types.NamespacedName, role string, expires time.Time) Event {
	return success(v1.ReasonUpdateCredentials, secret, role, expires)
}

func success(reason string, secret types.NamespacedName, role string, expires time.Time) Event {
	return Event{eventType: corev1.EventTypeNormal, Reason: reason, Action: "AssumeRole", Note: fmt.Sprintf(
		"Secret %q has credentials of role %s until %s, and is renewed before", secret.Name, role, expires.Format(time.RFC3339))}
}

// Warning returns the event of what keeps a Secret from being written or renewed.
func Warning(reason, action, note string) Event {
	return Event{eventType: corev1.EventTypeWarning, Reason: reason, Action: action, Note: note}
}

// Forbidden returns the event for an object that has no right to the role.
func Forbidden(note string) Event {
	return Warning(v1.ReasonRoleForbidden, "Authorize", note).of(ofRight)
}

// inspect begins the action of events of what in a pod will not work.
const inspect = "Inspect/"

// Inspected returns the event of what in a pod will not work. A pod can have several faults of one
// reason, and the API server keeps only the first note of events that have object, reason and
// action in common: the action stands for the note.
func Inspected(reason, note string) Event {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(note)) // never fails
	return Warning(reason, fmt.Sprintf("%s%08x", inspect, sum.Sum32()), note).of(ofPod)
}

func (e Event) of(s scope) Event {
	e.scope = s
	return e
}

// key returns what a pod sees once: the event without its note, but for the faults of a pod, of
// which several can have one reason.
func (e Event) key() Event {
	if !strings.HasPrefix(e.Action, inspect) {
		e.Note = ""
	}
	return e
}

// RoleReplaced returns the event for a pod whose Secret has another role than its name asks for.
func RoleReplaced(secret types.NamespacedName, asked, role string) Event {
	return Warning(v1.ReasonRoleReplaced, "Decide", fmt.Sprintf(
		"Secret %q asks for role %q by its name, but AWSIAMRole %q of the same name decides: it holds credentials of %s. "+
			"If that is not what the pod needs, rename the AWSIAMRole", secret.Name, asked, secret.Name, role)).of(ofPod)
}

// UnknownDeleter stands for a writer that deletes a Secret: the next one has no trace of it.
const UnknownDeleter = "unknown, as it deletes the Secret"

// Contested returns the event of a Secret that another writer keeps changing back.
func Contested(secret types.NamespacedName, writer string) Event {
	if writer == UnknownDeleter {
		return Warning(v1.ReasonSecretContested, "Write", fmt.Sprintf(
			"Secret %q is deleted again and again, and written again with growing pauses. Have what deletes it leave it alone: "+
				"the API server's audit log says who it is", secret.Name))
	}
	if !strings.HasPrefix(writer, "another ") { // a name that the writer chose
		writer = strconv.Quote(writer)
	}
	return Warning(v1.ReasonSecretContested, "Write", fmt.Sprintf(
		"Secret %q is changed again and again by %s, and written again with growing pauses. Have that writer leave it alone: see who writes it by "+
			"kubectl get secret --namespace %s %s --show-managed-fields --output jsonpath='{.metadata.managedFields[*].manager}'",
		secret.Name, writer, secret.Namespace, secret.Name))
}

// DryRun begins the note to an object that would be refused without --dry-run-authorization.
const DryRun = "Dry run, not refused yet: "

// Shared returns the beginning of the note to a pod that has no right to a role, but can read the
// Secret that other pods have by right.
func Shared(secret types.NamespacedName) string {
	return fmt.Sprintf("The pod still reads Secret %q, which the namespace shares and which others may have: "+
		"delete the pod, or move it to another namespace. ", secret.Name)
}

// RemovalDelayed returns the event for a pod whose Secret waits for its deletion.
func RemovalDelayed(note string) Event {
	return Warning(v1.ReasonRemovalDelayed, "Delete", note).of(ofRight)
}

// Delayed begins the note about a Secret that waits for its deletion.
const Delayed = "The Secret is no longer renewed and will be deleted when its turn comes, " +
	"as deletions for refused roles are limited in the whole cluster: "

// Join returns a note that begins with a sentence and continues with why a role is refused, and
// with the hint what would allow it. If an event cannot hold all, the hint is left out: half a
// command is of no use.
func Join(before, reason, message string) string {
	if len(before)+len(message) <= maxNote || reason == message {
		return before + message
	}
	return before + reason + ". What allows it is in docs/security.md"
}
