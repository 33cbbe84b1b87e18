package simulation

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/secret"
)

// action is a random action, with its relative frequency.
type action struct {
	name   string
	weight int
	do     func(*simulator)
}

// actions are all random actions.
var actions = []action{
	{"pod created", 30, createPod},
	{"pod of ServiceAccount's Secret created", 12, createAccountPod},
	{"ServiceAccount annotated", 8, annotateAccount},
	{"ServiceAccount loses its annotation", 3, removeAnnotation},
	{"ServiceAccount deleted", 4, deleteAccount},
	{"pod deleted", 14, deletePod},
	{"pod finished", 5, finishPod},
	{"right given", 12, giveRight},
	{"right withdrawn", 8, withdrawRight},
	{"all rights withdrawn", 1, withdrawAllRights},
	{"AWSIAMRole created", 8, createAWSIAMRole},
	{"AWSIAMRole changed", 6, changeAWSIAMRole},
	{"AWSIAMRole deleted", 5, deleteAWSIAMRole},
	{"Secret edited", 8, editSecret},
	{"Secret deleted", 4, deleteSecret},
	{"foreign Secret created", 2, createUnmanagedSecret},
	{"foreign Secret deleted", 2, deleteUnmanagedSecret},
	{"Secret copied", 2, copySecret},
	{"Secret edited again and again", 1, editRepeatedly},
	{"another writer", 2, startRevertingWriter},
	{"namespace deleted", 1, deleteNamespace},
	{"fault", 14, injectFault},
	{"restart", 4, restart},
}

// runAction runs one random action.
func (sim *simulator) runAction() {
	var sum int
	for _, a := range actions {
		sum += a.weight
	}
	n := sim.chance.IntN(sum)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			sim.Reached["action: "+a.name]++
			a.do(sim)
			return
		}
	}
}

// pickRole returns a role for a tenant to request, which is sometimes the controller's own.
func (sim *simulator) pickRole() string {
	if sim.chance.IntN(25) == 0 {
		if !sim.cfg.isUser {
			sim.recordCheck(ownRoleNeverIssued)
		}
		return ownRole
	}
	return pick(sim, sim.cfg.roles)
}

func createPod(sim *simulator) {
	ns, sa, role := pick(sim, sim.cfg.namespaces), pick(sim, sim.cfg.serviceAccounts), sim.pickRole()
	if sim.api.terminating[ns] {
		return
	}
	mounts := []string{secretPrefix + role}
	if sim.chance.IntN(5) == 0 {
		mounts = append(mounts, secretPrefix+sim.pickRole())
	}
	if sim.chance.IntN(3) > 0 {
		for _, m := range mounts {
			sim.rbac.addGrant(ns, user(ns, sa), m[len(secretPrefix):])
		}
	}
	if len(sim.pods.all) < 60 {
		sim.pods.create(ns, sa, mounts...)
	}
}

// pickPod returns an existing pod, or nil.
func (sim *simulator) pickPod() *pod {
	if len(sim.pods.all) == 0 {
		return nil
	}
	return sim.pods.all[pick(sim, sorted(sim.pods.all))]
}

func deletePod(sim *simulator) {
	if p := sim.pickPod(); p != nil {
		sim.pods.remove(p, time.Duration(sim.chance.Int64N(int64(40*time.Second))))
	}
}

func finishPod(sim *simulator) {
	if p := sim.pickPod(); p != nil && p.running && !p.finished {
		sim.pods.finish(p)
	}
}

func giveRight(sim *simulator) {
	ns := pick(sim, sim.cfg.namespaces)
	subject, name, scope := user(ns, pick(sim, sim.cfg.serviceAccounts)), pick(sim, sim.cfg.roles), ns
	switch sim.chance.IntN(8) {
	case 0, 1:
		subject = group(ns)
	case 2:
		scope = "" // a ClusterRoleBinding
	case 3:
		name = sim.sts.arn(name)
	case 4:
		name = "*"
	}
	sim.rbac.addGrant(scope, subject, name)
}

func withdrawRight(sim *simulator) {
	if len(sim.rbac.grants) == 0 {
		return
	}
	b := pick(sim, sorted(sim.rbac.grants))
	sim.rbac.removeGrant(b)
	sim.scheduleWithdrawnChecks(b.Namespace)
}

func withdrawAllRights(sim *simulator) {
	for _, b := range sorted(sim.rbac.grants) {
		sim.rbac.removeGrant(b)
	}
	sim.scheduleWithdrawnChecks("")
}

// pickReference returns how an AWSIAMRole names a role.
func (sim *simulator) pickReference() string {
	name := sim.pickRole()
	switch sim.chance.IntN(8) {
	case 0:
		return "" // invalid
	case 1:
		return "arn:aws:iam::210987654321:role/" + name // refused, or of another account
	case 2, 3:
		return sim.sts.arn(name)
	case 4:
		if name == ownRole {
			return sim.sts.arn("a/path/Controller")
		}
	}
	return name
}

func createAWSIAMRole(sim *simulator) {
	ns := pick(sim, sim.cfg.namespaces)
	name := secretPrefix + pick(sim, sim.cfg.roles)
	switch sim.chance.IntN(9) {
	case 0, 1, 2:
		name = pick(sim, sim.cfg.roles)
	case 3: // rejected
		name = accountSecret(pick(sim, sim.cfg.serviceAccounts))
	}
	r := &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{"team": ns}}}
	r.Spec.RoleReference = sim.pickReference()
	if sim.api.roles[key{Namespace: ns, Name: name}] != nil {
		return
	}
	if sim.chance.IntN(2) == 0 && r.Spec.RoleReference != "" {
		sim.rbac.addGrant(ns, group(ns), r.Spec.RoleReference)
	}
	sim.trace.add("AWSIAMRole %s/%s of %q", ns, name, r.Spec.RoleReference)
	_ = sim.api.put(r)
}

// pickAWSIAMRole returns a copy of an existing AWSIAMRole, or nil.
func (sim *simulator) pickAWSIAMRole() *v1.AWSIAMRole {
	if len(sim.api.roles) == 0 {
		return nil
	}
	return sim.api.roles[pick(sim, sorted(sim.api.roles))].DeepCopy()
}

func changeAWSIAMRole(sim *simulator) {
	r := sim.pickAWSIAMRole()
	if r == nil {
		return
	}
	switch sim.chance.IntN(3) {
	case 0:
		r.Spec.RoleReference = sim.pickReference()
	case 1:
		r.Spec.RoleSessionDuration = 900 + sim.chance.Int64N(2700)
	default:
		r.Labels = map[string]string{"team": strconv.Itoa(sim.chance.IntN(5)), secret.OwnerLabel: "me"}
	}
	sim.trace.add("AWSIAMRole %s/%s is now of %q for %d s", r.Namespace, r.Name, r.Spec.RoleReference, r.Spec.RoleSessionDuration)
	_ = sim.api.put(r)
}

func deleteAWSIAMRole(sim *simulator) {
	if r := sim.pickAWSIAMRole(); r != nil {
		sim.trace.add("AWSIAMRole %s/%s is deleted", r.Namespace, r.Name)
		sim.api.remove(r)
	}
}

// pickSecret returns a copy of an existing Secret, or nil.
func (sim *simulator) pickSecret() *corev1.Secret {
	if len(sim.api.secrets) == 0 {
		return nil
	}
	return sim.api.secrets[pick(sim, sorted(sim.api.secrets))].DeepCopy()
}

func deleteSecret(sim *simulator) {
	if s := sim.pickSecret(); s != nil {
		sim.editAsOther("is deleted", s, func() { sim.api.remove(s) })
	}
}

// pickSecretName returns the name of a Secret that pods can ask for.
func (sim *simulator) pickSecretName() string {
	if sim.chance.IntN(4) == 0 {
		return accountSecret(pick(sim, sim.cfg.serviceAccounts))
	}
	return secretPrefix + pick(sim, sim.cfg.roles)
}

func createUnmanagedSecret(sim *simulator) {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: pick(sim, sim.cfg.namespaces), Name: sim.pickSecretName()},
		Type:       corev1.SecretTypeOpaque, Data: map[string][]byte{"mine": []byte("alone")},
	}
	if sim.api.get(s) == nil {
		sim.editAsOther("is created by its user", s, func() { _ = sim.api.put(s) })
	}
}

func deleteUnmanagedSecret(sim *simulator) {
	for _, name := range sorted(sim.api.secrets) {
		if s := sim.api.secrets[name]; !managed(s) {
			sim.editAsOther("is deleted by its user", s, func() { sim.api.remove(s) })
			return
		}
	}
}

// copySecret simulates a tool that copies a Secret to another namespace.
func copySecret(sim *simulator) {
	s := sim.pickSecret()
	if s == nil {
		return
	}
	s.Namespace, s.OwnerReferences, s.UID = pick(sim, sim.cfg.namespaces), nil, ""
	if sim.api.get(s) == nil && !sim.api.terminating[s.Namespace] {
		sim.editAsOther("is a copy", s, func() { _ = sim.api.put(s) })
	}
}
