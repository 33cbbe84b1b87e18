package controllers

import (
	"fmt"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/demand"
	"kube-aws-iam-controller/pkg/secret"
)

// Reasons of the events on pods and AWSIAMRoles, beside those of a demand.Finding.
const (
	ReasonCreateCredentials    = "CreateCredentials"
	ReasonUpdateCredentials    = "UpdateCredentials"
	ReasonGetCredentialsFailed = "GetCredentialsFailed"
	ReasonRoleForbidden        = "RoleForbidden"
	ReasonInvalidRole          = "InvalidRole"
	ReasonSecretNotManaged     = "SecretNotManaged"
	ReasonCreateSecretFailed   = "CreateSecretFailed"
	ReasonUpdateSecretFailed   = "UpdateSecretFailed"
	ReasonAuthorizationUnknown = "AuthorizationUnknown"
	ReasonRemovalDelayed       = "RemovalDelayed"
	ReasonRoleReplaced         = "RoleReplaced"
	ReasonSecretContested      = "SecretContested"
)

// maxNote is how long the note of an event may be. Source: validation of events.k8s.io/v1.
const maxNote = 1024

// announcer writes events. The API's own series keep them few: events that agree in pod, Secret, reason and action are counted in one object.
type announcer struct {
	recorder events.EventRecorder
	clock    clock.PassiveClock
	// limits bounds how many events a namespace has.
	limits *eventLimits
}

func newAnnouncer(recorder events.EventRecorder, c clock.PassiveClock) announcer {
	return announcer{recorder, c, newEventLimits()}
}

// hearer is an object on which events are written, and whether one would be news to it.
type hearer struct {
	object runtime.Object
	tell   func(reason, action string) (news bool)
}

// issued tells that there are new credentials, if not too many hear so at the same time.
func (a announcer) issued(to runtime.Object, s types.NamespacedName, reason, note string) {
	if !a.limits.allowSuccess(s.Namespace, a.clock.Now()) {
		return
	}
	a.recorder.Eventf(to, secretReference(s), corev1.EventTypeNormal, reason, "AssumeRole", "%s", note)
}

// refused tells why a Secret is not there or not renewed. The action keeps causes apart that have the same reason.
func (a announcer) refused(to runtime.Object, s types.NamespacedName, reason, action, note string) {
	a.recorder.Eventf(to, secretReference(s), corev1.EventTypeWarning, reason, action, "%s", shorten(note))
}

// mayWarn reports whether a namespace may have one more warning now, and counts it if so. What is
// dropped can be told later.
func (a announcer) mayWarn(namespace string) bool {
	return a.limits.allowWarning(namespace, a.clock.Now())
}

// repeated is refused for what is said again and again, and may be left out.
func (a announcer) repeated(to runtime.Object, s types.NamespacedName, reason, action, note string) {
	if a.mayWarn(s.Namespace) {
		a.refused(to, s, reason, action, note)
	}
}

// warned tells of the seed, on its Secret and on the controller's own pod.
func (a announcer) warned(about *corev1.Secret, self *corev1.Pod, reason, action, note string) {
	a.recorder.Eventf(about, nil, corev1.EventTypeWarning, reason, action, "%s", shorten(note))
	if self != nil {
		a.recorder.Eventf(self, about, corev1.EventTypeWarning, reason, action, "%s", shorten(note))
	}
}

// found tells a pod what in it will not work.
func (a announcer) found(to runtime.Object, s types.NamespacedName, f demand.Finding) {
	a.refused(to, s, f.Reason, "Inspect", f.Note)
}

// notManaged is the note about a Secret that is not this controller's.
func notManaged(s types.NamespacedName, meta metav1.Object) string {
	if claimed := metav1.GetControllerOf(meta); claimed != nil {
		return fmt.Sprintf("Secret %q exists and is controlled by %s %q: it is left alone. Remove it there, or choose another name", s.Name, claimed.Kind, claimed.Name)
	}
	if original := secret.CopyOf(meta); original != "" && meta.GetLabels()[secret.OwnerLabel] == secret.OwnerValue {
		return fmt.Sprintf("Secret %q exists and is a copy of Secret %.200q, as its annotation %s says: it is left alone. Have the program that copies it leave it out, and delete it",
			s.Name, original, secret.SelfAnnotation)
	}
	return fmt.Sprintf("Secret %q exists and is not this controller's: it is left alone. Delete it, or have it handed over by who may assume every role here: "+
		"kubectl label secret --namespace %s %s %s=%s", s.Name, s.Namespace, s.Name, secret.OwnerLabel, secret.OwnerValue)
}

// replacedNote says that an AWSIAMRole decided that a Secret is of another role than its name says.
func replacedNote(g *gathered) string {
	return fmt.Sprintf("Secret %q asks for role %q by its name, but AWSIAMRole %q of the same name decides: it holds credentials of %s. If that is not what the pod needs, rename the AWSIAMRole",
		g.name.Name, g.replacedRole, g.name.Name, g.arn)
}

// sharedNote begins the note to a pod that may not have a role, but can read the Secret of others
// that may.
func sharedNote(g *gathered) string {
	return fmt.Sprintf("The pod still reads Secret %q, which the namespace shares and which others may have: delete the pod, or move it to another namespace. ", g.name.Name)
}

// ofUnservedRole is the note about a Secret that an AWSIAMRole left in a cluster that knows AWSIAMRoles no longer.
func ofUnservedRole(s types.NamespacedName) string {
	return fmt.Sprintf("Secret %q belongs to an AWSIAMRole, which this cluster does not know: it is left alone. Install the CRD, or delete the Secret: "+
		"kubectl delete secret --namespace %s %s", s.Name, s.Namespace, s.Name)
}

// joinNote puts a sentence before a reason. If an event cannot hold both, the reason loses the
// commands at its end, as half a command is of no use.
func joinNote(before, reason string) string {
	if len(before)+len(reason) <= maxNote {
		return before + reason
	}
	why, _, cut := strings.Cut(reason, "To allow it")
	if !cut {
		return before + reason
	}
	return before + why + "What allows it is in docs/security.md"
}

// shorten cuts a note to what an event can hold, between two characters.
func shorten(note string) string {
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

func podReference(pod *wanter) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.name.Namespace, Name: pod.name.Name, UID: pod.uid}}
}

// roleReference refers to an AWSIAMRole, whatever its version: events about it are then counted
// as one.
func roleReference(r *v1.AWSIAMRole) *v1.AWSIAMRole {
	return &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name, UID: r.UID}}
}

func secretReference(s types.NamespacedName) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}}
}
