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

// desired is the desired state of a Secret, by the actual rights and by the objects in an
// instance's cache.
type desired struct {
	// requested is true if anything asks for the Secret.
	requested bool
	// entitled is true if a requester may assume the role. arn is its ARN then.
	entitled bool
	arn      string
	// byAWSIAMRole is true if that is an AWSIAMRole.
	byAWSIAMRole bool
}

// isOwnRole reports whether a role is the controller's.
func (sim *simulator) isOwnRole(arn role.ARN) bool {
	return !sim.cfg.isUser && arn.Account() == account && strings.EqualFold(arn.Name(), ownRole)
}

// isOwnARN reports whether an ARN is that of the controller's role.
func (sim *simulator) isOwnARN(arn string) bool {
	parsed, err := role.ParseARN(arn)
	return err == nil && sim.isOwnRole(parsed)
}

// ofPods returns the role that the pods of a Secret request: by the Secret's name, or by the
// annotation of their ServiceAccount.
func (sim *simulator) ofPods(name key, accounts map[key]*accountState) (role.ARN, bool) {
	if of, ok := accountOf(name); ok {
		return sim.roleOfAccount(accounts[of])
	}
	reference, ok := strings.CutPrefix(name.Name, secretPrefix)
	if !ok {
		return role.ARN{}, false
	}
	arn, err := sim.sts.base.Resolve(reference)
	return arn, err == nil && !sim.isOwnRole(arn)
}

// ofPod returns the role that a pod requests by a Secret's name, by the actual ServiceAccounts. A
// stranger requests none.
func (sim *simulator) ofPod(p *pod, name key) (role.ARN, bool) {
	arn, ok := sim.ofPods(name, sim.accounts.all)
	return arn, ok && !p.isStranger(name)
}

// ofAWSIAMRole returns the role that an AWSIAMRole in the instance's cache requests.
func (inst *instance) ofAWSIAMRole(name key) (arn role.ARN, exists, valid bool) {
	r, ok := inst.cache.roles[name]
	if !ok || !r.DeletionTimestamp.IsZero() {
		return role.ARN{}, false, false
	}
	arn, err := inst.sim.sts.base.Resolve(r.Spec.RoleReference)
	_, taken := accountOf(name) // no AWSIAMRole can have the name
	return arn, true, err == nil && !inst.sim.isOwnRole(arn) && !taken
}

// mayHave reports whether a subject might have a role at some moment from one time to another.
func (sim *simulator) mayHave(namespace, subject string, arn role.ARN, from, to time.Duration) bool {
	return sim.cfg.alwaysAllow || sim.cfg.dryRun || sim.rbac.allowed(namespace, subject, sim.names(arn), from, to)
}

// desired returns the desired state of a Secret if its rights were reviewed at any time between two
// times.
func (inst *instance) desired(name key, from, to time.Duration) desired {
	sim := inst.sim
	arn, exists, valid := inst.ofAWSIAMRole(name)
	var now desired
	now.requested = exists
	if valid && sim.mayHave(name.Namespace, group(name.Namespace), arn, from, to) {
		return desired{requested: true, entitled: true, arn: arn.String(), byAWSIAMRole: true}
	}
	arn, valid = sim.ofPods(name, inst.cache.accounts)
	for _, p := range inst.cache.podsRequesting(name) {
		now.requested = true
		if valid && sim.mayHave(name.Namespace, user(name.Namespace, p.serviceAccount), arn, from, to) {
			return desired{requested: true, entitled: true, arn: arn.String()}
		}
	}
	return now
}

// managed reports whether the controller manages a Secret: it has the label, no other controller
// owns it, and it is not a copy.
func managed(s *corev1.Secret) bool {
	if s == nil || s.Labels[secret.OwnerLabel] != secret.OwnerValue || metav1.GetControllerOf(s) != nil {
		return false
	}
	original, ok := s.Annotations[originalAnnotation]
	return !ok || original == s.Namespace+"/"+s.Name
}

// originalAnnotation is the name of the Secret itself, by which a copy is recognized.
const originalAnnotation = "iam.amazonaws.com/secret"

// sessionIn returns the session in a Secret, and how long a pod that starts now can use it.
func (sim *simulator) sessionIn(s *corev1.Secret) (current session, usable time.Duration) {
	if s == nil {
		return session{}, 0
	}
	current, ok := sim.sts.issued[accessKeyID(s)]
	if !ok {
		return session{}, 0
	}
	return current, current.usable() - sim.now
}

// usable returns until when a starting pod can use the session. Source:
// credentials.Credentials.UsableUntil.
func (s session) usable() time.Duration {
	end := s.expires.Sub(epoch)
	return end - min(5*time.Minute, (end-s.issued)/10)
}
