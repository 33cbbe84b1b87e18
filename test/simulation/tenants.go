package simulation

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/secret"
)

// action is something that can happen, as often as its weight says.
type action struct {
	name   string
	weight int
	do     func(*World)
}

// actions are all of them.
var actions = []action{
	{"pod created", 30, createPod},
	{"pod deleted", 14, deletePod},
	{"pod finished", 5, finishPod},
	{"right given", 12, giveRight},
	{"right withdrawn", 8, withdrawRight},
	{"all rights withdrawn", 1, withdrawAll},
	{"AWSIAMRole created", 8, createRole},
	{"AWSIAMRole changed", 6, changeRole},
	{"AWSIAMRole deleted", 5, deleteRole},
	{"Secret edited", 8, editSecret},
	{"Secret deleted", 4, deleteSecret},
	{"foreign Secret created", 2, createForeign},
	{"foreign Secret deleted", 2, deleteForeign},
	{"Secret copied", 2, copySecret},
	{"Secret edited again and again", 1, editOften},
	{"another writer", 2, contestSecret},
	{"namespace deleted", 1, deleteNamespace},
	{"fault", 14, fail},
	{"restart", 4, restart},
}

// act lets one thing happen.
func (w *World) act() {
	var sum int
	for _, a := range actions {
		sum += a.weight
	}
	n := w.chance.IntN(sum)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			w.Reached["action: "+a.name]++
			a.do(w)
			return
		}
	}
}

// askable are the roles that tenants ask for; sometimes the controller's own.
func (w *World) askable() string {
	if w.chance.IntN(25) == 0 {
		if !w.cfg.isUser {
			w.exercised(ownRoleNeverIssued)
		}
		return ownRole
	}
	return pick(w, w.cfg.roles)
}

func createPod(w *World) {
	ns, sa, role := pick(w, w.cfg.namespaces), pick(w, w.cfg.serviceAccounts), w.askable()
	if w.api.leaving[ns] {
		return
	}
	mounts := []string{secretPrefix + role}
	if w.chance.IntN(5) == 0 {
		mounts = append(mounts, secretPrefix+w.askable())
	}
	if w.chance.IntN(3) > 0 {
		for _, m := range mounts {
			w.rbac.give(ns, user(ns, sa), m[len(secretPrefix):])
		}
	}
	if len(w.pods.all) < 60 {
		w.pods.create(ns, sa, mounts...)
	}
}

// anyPod is one that is there, or nil.
func (w *World) anyPod() *pod {
	if len(w.pods.all) == 0 {
		return nil
	}
	return w.pods.all[pick(w, sorted(w.pods.all))]
}

func deletePod(w *World) {
	if p := w.anyPod(); p != nil {
		w.pods.remove(p, time.Duration(w.chance.Int64N(int64(40*time.Second))))
	}
}

func finishPod(w *World) {
	if p := w.anyPod(); p != nil && p.running && !p.finished {
		w.pods.finish(p)
	}
}

func giveRight(w *World) {
	ns := pick(w, w.cfg.namespaces)
	subject, name, scope := user(ns, pick(w, w.cfg.serviceAccounts)), pick(w, w.cfg.roles), ns
	switch w.chance.IntN(8) {
	case 0, 1:
		subject = group(ns)
	case 2:
		scope = "" // a ClusterRoleBinding
	case 3:
		name = w.sts.arn(name)
	case 4:
		name = "*"
	}
	w.rbac.give(scope, subject, name)
}

func withdrawRight(w *World) {
	if len(w.rbac.grants) == 0 {
		return
	}
	b := pick(w, sorted(w.rbac.grants))
	w.rbac.take(b)
	w.withdrawn(b.Namespace)
}

func withdrawAll(w *World) {
	for _, b := range sorted(w.rbac.grants) {
		w.rbac.take(b)
	}
	w.withdrawn("")
}

// reference is how an AWSIAMRole names a role.
func (w *World) reference() string {
	name := w.askable()
	switch w.chance.IntN(8) {
	case 0:
		return "" // invalid
	case 1:
		return "arn:aws:iam::210987654321:role/" + name // refused, or of another account
	case 2, 3:
		return w.sts.arn(name)
	case 4:
		if name == ownRole {
			return w.sts.arn("a/path/Controller")
		}
	}
	return name
}

func createRole(w *World) {
	ns := pick(w, w.cfg.namespaces)
	name := secretPrefix + pick(w, w.cfg.roles)
	if w.chance.IntN(3) == 0 {
		name = pick(w, w.cfg.roles)
	}
	r := &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{"team": ns}}}
	r.Spec.RoleReference = w.reference()
	if w.api.roles[key{Namespace: ns, Name: name}] != nil {
		return
	}
	if w.chance.IntN(2) == 0 && r.Spec.RoleReference != "" {
		w.rbac.give(ns, group(ns), r.Spec.RoleReference)
	}
	w.trace.add("AWSIAMRole %s/%s of %q", ns, name, r.Spec.RoleReference)
	_ = w.api.put(r)
}

// anyRole is a copy of an AWSIAMRole that is there, or nil.
func (w *World) anyRole() *v1.AWSIAMRole {
	if len(w.api.roles) == 0 {
		return nil
	}
	return w.api.roles[pick(w, sorted(w.api.roles))].DeepCopy()
}

func changeRole(w *World) {
	r := w.anyRole()
	if r == nil {
		return
	}
	switch w.chance.IntN(3) {
	case 0:
		r.Spec.RoleReference = w.reference()
	case 1:
		r.Spec.RoleSessionDuration = 900 + w.chance.Int64N(2700)
	default:
		r.Labels = map[string]string{"team": strconv.Itoa(w.chance.IntN(5)), secret.OwnerLabel: "me"}
	}
	w.trace.add("AWSIAMRole %s/%s is now of %q for %d s", r.Namespace, r.Name, r.Spec.RoleReference, r.Spec.RoleSessionDuration)
	_ = w.api.put(r)
}

func deleteRole(w *World) {
	if r := w.anyRole(); r != nil {
		w.trace.add("AWSIAMRole %s/%s is deleted", r.Namespace, r.Name)
		w.api.remove(r)
	}
}

// anySecret is a copy of a Secret that is there, or nil.
func (w *World) anySecret() *corev1.Secret {
	if len(w.api.secrets) == 0 {
		return nil
	}
	return w.api.secrets[pick(w, sorted(w.api.secrets))].DeepCopy()
}

func deleteSecret(w *World) {
	if s := w.anySecret(); s != nil {
		w.tamper("is deleted", s, func() { w.api.remove(s) })
	}
}

func createForeign(w *World) {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: pick(w, w.cfg.namespaces), Name: secretPrefix + pick(w, w.cfg.roles)},
		Type:       corev1.SecretTypeOpaque, Data: map[string][]byte{"mine": []byte("alone")},
	}
	if w.api.get(s) == nil {
		w.tamper("is created by its user", s, func() { _ = w.api.put(s) })
	}
}

func deleteForeign(w *World) {
	for _, name := range sorted(w.api.secrets) {
		if s := w.api.secrets[name]; !managed(s) {
			w.tamper("is deleted by its user", s, func() { w.api.remove(s) })
			return
		}
	}
}

// copySecret is a tool that puts a Secret into another namespace as well.
func copySecret(w *World) {
	s := w.anySecret()
	if s == nil {
		return
	}
	s.Namespace, s.OwnerReferences, s.UID = pick(w, w.cfg.namespaces), nil, ""
	if w.api.get(s) == nil && !w.api.leaving[s.Namespace] {
		w.tamper("is a copy", s, func() { _ = w.api.put(s) })
	}
}
