package diagnosis

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
)

const (
	reasonForbidden = v1.ReasonRoleForbidden
	// installation is the command that looks at what all Secrets depend on.
	installation = "kubectl aws-iam check"
)

// isForbidden reports whether an error says that the user has no right to ask.
func isForbidden(err error) bool { return apierrors.IsForbidden(err) }

// secret is the check of the Secret, of which all that comes before it is in order.
func (s *Snapshot) secret(a *Asked) Check {
	name := a.Request.Secret
	switch o := a.Secret.Value; {
	case a.Secret.forbidden():
		return s.secretByStatus(a)
	case a.Secret.missing() && s.Account != nil && a.Pods.Err == nil && len(a.Pods.Value) == 0:
		return unknown(checkSecret, "there is none, as no pod references it")
	case a.Secret.missing():
		return failed(checkSecret, s.next(a), "it does not exist")
	case a.Secret.Err != nil:
		return unknown(checkSecret, "it cannot be read: %v", a.Secret.Err)
	case !secret.IsManaged(o):
		return failed(checkSecret, fmt.Sprintf("kubectl describe secret --namespace %s %s", s.Namespace, name), "%s", secret.UnmanagedNote(o))
	default:
		return s.credentials(a, o)
	}
}

// credentials is the check of a Secret of the controller.
func (s *Snapshot) credentials(a *Asked, o *metav1.PartialObjectMetadata) Check {
	arn := o.Annotations[secret.RoleARNAnnotation]
	switch isOther := !a.Role.IsZero() && arn != "" && arn != a.Role.String(); {
	case isOther && a.Owner != nil && s.AWSIAMRole == nil:
		return failed(checkSecret, fmt.Sprintf("kubectl aws-iam explain awsiamrole --namespace %s %s", s.Namespace, a.Owner.Name),
			"it holds credentials of %s, as an AWSIAMRole has the Secret's name and decides", arn)
	case isOther:
		return failed(checkSecret, s.next(a), "it still holds credentials of %s", arn)
	default:
		return s.lifetime(a, o)
	}
}

// lifetime is the check that the credentials in the Secret are renewed.
func (s *Snapshot) lifetime(a *Asked, o *metav1.PartialObjectMetadata) Check {
	issued, expires, ok := usage.Lifetime(o.Annotations)
	switch {
	case !ok:
		return unknown(checkSecret, "it exists since %s; an older version wrote it, so that only its data says when it expires", s.ago(o.CreationTimestamp.Time))
	case !s.Now.Before(expires):
		return failed(checkSecret, s.next(a), "its credentials expired %s", s.ago(expires))
	case renewal.Lifetime{Issued: issued, Expires: expires}.Urgent(s.Now):
		return failed(checkSecret, s.next(a), "its credentials expire in %s, and are not renewed", duration.HumanDuration(expires.Sub(s.Now)))
	default:
		return passed(checkSecret, "access key %s, issued %s, expires in %s",
			o.Annotations[secret.AccessKeyIDAnnotation], s.ago(issued), duration.HumanDuration(expires.Sub(s.Now)))
	}
}

// secretByStatus is the same check for a user who may not read Secrets.
func (s *Snapshot) secretByStatus(a *Asked) Check {
	const may = "you may not read Secrets"
	e, ok := latest(a)
	switch {
	case a.Owner != nil && a.Owner.Status.Expiration != nil && s.Now.Before(a.Owner.Status.Expiration.Time):
		return passed(checkSecret, "%s; the AWSIAMRole says that its credentials expire in %s", may, duration.HumanDuration(a.Owner.Status.Expiration.Sub(s.Now)))
	case ok && !e.Warning:
		return unknown(checkSecret, "%s; the controller's event of %s says: %s", may, s.ago(e.At), reason(e.Note))
	default:
		return unknown(checkSecret, "%s", may)
	}
}

// leftover is the check of the Secret of a request that is not served.
func (s *Snapshot) leftover(a *Asked) Check {
	switch o := a.Secret.Value; {
	case a.Secret.Err != nil || o == nil:
		return unknown(checkSecret, "not reached")
	case secret.IsManaged(o):
		return unknown(checkSecret, "it still exists, with access key %s, and is not renewed for this object", o.Annotations[secret.AccessKeyIDAnnotation])
	default:
		return unknown(checkSecret, "one of another writer has the name")
	}
}

// next returns the command that follows a Secret that is missing or late, where nothing else says
// why: what the controller logs about it.
func (s *Snapshot) next(a *Asked) string {
	d := s.Deployment.Value
	if d == nil {
		return installation
	}
	return fmt.Sprintf("kubectl logs --namespace %s --selector %s --since 1h | grep '\"secret\":%q'", d.Namespace, settings.Selector, a.Request.Secret)
}

// events is the check of what the controller said about the Secret last.
func (s *Snapshot) events(a *Asked) Check {
	if a.Events.Err != nil {
		return unknown(checkEvents, "they cannot be listed: %v", a.Events.Err)
	}
	e, ok := latest(a)
	switch {
	case !ok:
		return unknown(checkEvents, "there is none of the controller; the API server keeps events for an hour, unless it is set otherwise")
	case !e.Warning:
		return passed(checkEvents, "%s %s: %s", e.Reason, s.ago(e.At), reason(e.Note))
	case s.outdated(a, e):
		return unknown(checkEvents, "%s %s, which is over: %s", e.Reason, s.ago(e.At), reason(e.Note))
	default:
		return failed(checkEvents, s.afterEvent(a, e), "%s %s: %s", e.Reason, s.ago(e.At), reason(e.Note))
	}
}

// outdated reports whether what a Warning says is over: the right was given, or credentials were
// issued since.
func (s *Snapshot) outdated(a *Asked, e Event) bool {
	if o := a.Secret.Value; o != nil && secret.IsManaged(o) {
		if issued, _, ok := usage.Lifetime(o.Annotations); ok && issued.After(e.At) {
			return true
		}
	}
	return e.Reason == v1.ReasonRoleForbidden && a.Decision.Err == nil && a.Decision.Value.Allowed ||
		e.Reason == v1.ReasonServiceAccountWithoutRole && a.Request.Role != ""
}

// afterEvent returns the command that follows a Warning.
func (s *Snapshot) afterEvent(a *Asked, e Event) string {
	kind, name := "pod", ""
	if s.Pod != nil {
		name = s.Pod.Name
	}
	if account := a.ServiceAccount(); account != "" {
		kind, name = "serviceaccount", account
	}
	switch {
	case e.Reason == v1.ReasonGetCredentialsFailed && strings.HasSuffix(e.Action, "/AccessDenied") && name != "":
		return fmt.Sprintf("kubectl aws-iam trust %s --for %s --namespace %s %s", cmp.Or(a.Role.String(), a.Request.Role), kind, s.Namespace, name)
	case e.Reason == v1.ReasonGetCredentialsFailed:
		return installation
	case e.Reason == v1.ReasonSecretNotManaged, e.Reason == v1.ReasonSecretContested:
		return fmt.Sprintf("kubectl describe secret --namespace %s %s", s.Namespace, a.Request.Secret)
	default:
		return "kubectl describe " + s.object()
	}
}

// ofPod are the reasons of events about a pod's own mistakes, which the check mount finds itself.
var ofPod = map[string]bool{
	request.NeverRefreshed: true, request.OptionalSecret: true, request.MountPathMismatch: true, request.MissingKey: true,
	request.FileNotReadable: true, request.CredentialsOverridden: true, request.AnnotationIgnored: true,
}

// latest returns the last event of the controller about a Secret, or false if there is none.
func latest(a *Asked) (last Event, ok bool) {
	for _, e := range a.Events.Value {
		if (e.Secret == "" || e.Secret == a.Request.Secret) && !ofPod[e.Reason] && (!ok || !e.At.Before(last.At)) {
			last, ok = e, true
		}
	}
	return last, ok
}

// reason returns what the note of an event says, without the commands that some end with.
func reason(note string) string {
	for _, end := range []string{"\n", ". To allow it: ", ". To give it one: "} {
		note, _, _ = strings.Cut(note, end)
	}
	return note
}

// ago returns how long ago a time was.
func (s *Snapshot) ago(at time.Time) string { return ago(at, s.Now) }

func ago(at, now time.Time) string {
	if at.After(now) {
		return "in " + duration.HumanDuration(at.Sub(now))
	}
	return duration.HumanDuration(now.Sub(at)) + " ago"
}
