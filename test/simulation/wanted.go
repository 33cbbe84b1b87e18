package simulation

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

const secretPrefix = "aws-iam-"

// wanted is which role a Secret is to be of by now, judged by the truth about rights and by the
// objects that an instance knows.
type wanted struct {
	// asked is true if anything asks for the Secret.
	asked bool
	// entitled is true if something asks for it that may have its role, whose ARN arn then is.
	entitled bool
	arn      string
	// byRole is true if that is an AWSIAMRole.
	byRole bool
}

// isOwnRole reports whether a role is the controller's.
func (w *World) isOwnRole(arn role.ARN) bool {
	return !w.cfg.isUser && arn.Account() == account && strings.EqualFold(arn.Name(), ownRole)
}

// isOwn reports whether an ARN is that of the controller's role.
func (w *World) isOwn(arn string) bool {
	parsed, err := role.ParseARN(arn)
	return err == nil && w.isOwnRole(parsed)
}

// ofPod is the role that a pod asks for by a Secret's name.
func (w *World) ofPod(name key) (role.ARN, bool) {
	reference, ok := strings.CutPrefix(name.Name, secretPrefix)
	if !ok {
		return role.ARN{}, false
	}
	arn, err := w.sts.base.Resolve(reference)
	return arn, err == nil && !w.isOwnRole(arn)
}

// ofAWSIAMRole is the role that the AWSIAMRole of a name asks for, as an instance knows it.
func (inst *instance) ofAWSIAMRole(name key) (arn role.ARN, exists, valid bool) {
	r, ok := inst.cache.roles[name]
	if !ok || !r.DeletionTimestamp.IsZero() {
		return role.ARN{}, false, false
	}
	arn, err := inst.w.sts.base.Resolve(r.Spec.RoleReference)
	return arn, true, err == nil && !inst.w.isOwnRole(arn)
}

// mayHave reports whether a subject might have a role at some moment from one time to another.
func (w *World) mayHave(namespace, subject string, arn role.ARN, from, to time.Duration) bool {
	return w.cfg.alwaysAllow || w.cfg.dryRun || w.rbac.allowed(namespace, subject, w.names(arn), from, to)
}

// wanted is which role a Secret is to be of, if rights were asked about at some moment from one
// time to another.
func (inst *instance) wanted(name key, from, to time.Duration) wanted {
	w := inst.w
	arn, exists, valid := inst.ofAWSIAMRole(name)
	var now wanted
	now.asked = exists
	if valid && w.mayHave(name.Namespace, group(name.Namespace), arn, from, to) {
		return wanted{asked: true, entitled: true, arn: arn.String(), byRole: true}
	}
	if _, ok := strings.CutPrefix(name.Name, secretPrefix); !ok {
		return now
	}
	arn, valid = w.ofPod(name)
	for _, p := range inst.cache.askers(name) {
		now.asked = true
		if valid && w.mayHave(name.Namespace, user(name.Namespace, p.serviceAccount), arn, from, to) {
			return wanted{asked: true, entitled: true, arn: arn.String()}
		}
	}
	return now
}

// managed reports whether a Secret is the controller's own: it has the label, no other controller
// claims it, and it is no copy of another.
func managed(s *corev1.Secret) bool {
	if s == nil || s.Labels[secret.OwnerLabel] != secret.OwnerValue || metav1.GetControllerOf(s) != nil {
		return false
	}
	original, ok := s.Annotations[originalAnnotation]
	return !ok || original == s.Namespace+"/"+s.Name
}

// originalAnnotation says which Secret it is, so that a copy shows.
const originalAnnotation = "iam.amazonaws.com/secret"

// credentialsIn are the session that a Secret holds, and how long a pod that starts now may use it.
func (w *World) credentialsIn(s *corev1.Secret) (held session, usable time.Duration) {
	if s == nil {
		return session{}, 0
	}
	held, ok := w.sts.issued[accessKeyID(s)]
	if !ok {
		return session{}, 0
	}
	return held, held.usable() - w.now
}

// usable is until when a pod that starts may use it. Source: credentials.Credentials.UsableUntil.
func (s session) usable() time.Duration {
	end := s.expires.Sub(epoch)
	return end - min(5*time.Minute, (end-s.issued)/10)
}
