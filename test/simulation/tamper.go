package simulation

import (
	"bytes"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/secret"
)

// tamper lets somebody other than the controller change a Secret.
func (w *World) tamper(how string, s *corev1.Secret, do func()) {
	name := client.ObjectKeyFromObject(s)
	w.trace.add("Secret %s %s", name, how)
	w.tampered[name] = w.now
	do()
}

// edits are what can be done to a Secret.
var edits = []struct {
	how string
	do  func(*World, *corev1.Secret)
}{
	{"loses a key", func(_ *World, s *corev1.Secret) { delete(s.Data, secret.ConfigKey) }},
	{"has other credentials", func(_ *World, s *corev1.Secret) { s.Data[secret.JSONKey] = []byte(`{"AccessKeyId":"AKIAFOREIGN"}`) }},
	{"has a later expiry", func(w *World, s *corev1.Secret) {
		s.Data[secret.ExpireKey] = []byte(w.time().Add(24 * time.Hour).Format(time.RFC3339))
	}},
	{"says another role", func(w *World, s *corev1.Secret) { s.Data[secret.RoleARNKey] = []byte(w.sts.arn(pick(w, w.cfg.roles))) }},
	{"has no data", func(_ *World, s *corev1.Secret) { s.Data = nil }},
	{"loses the label", func(_ *World, s *corev1.Secret) { delete(s.Labels, secret.OwnerLabel) }},
	{"gets the label", func(_ *World, s *corev1.Secret) { s.Labels[secret.OwnerLabel] = secret.OwnerValue }},
	{"gets a label", func(_ *World, s *corev1.Secret) { s.Labels["backup"] = "daily" }},
	{"is called an AWSIAMRole's", func(_ *World, s *corev1.Secret) { s.Labels[secret.TypeLabel] = secret.TypeAWSIAMRole }},
	{"loses its annotations", func(_ *World, s *corev1.Secret) { s.Annotations = nil }},
	{"gets a controller", func(_ *World, s *corev1.Secret) {
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "any", UID: "any", Controller: new(true)}}
	}},
	{"loses its owners", func(_ *World, s *corev1.Secret) { s.OwnerReferences = nil }},
	{"becomes immutable", func(_ *World, s *corev1.Secret) { s.Immutable = new(true) }},
}

func editSecret(w *World) {
	if s := w.anySecret(); s != nil {
		w.edit(s)
	}
}

// edit does one of the edits.
func (w *World) edit(s *corev1.Secret) {
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	e := pick(w, edits)
	w.tamper(e.how, s, func() { e.do(w, s); _ = w.api.put(s) })
}

// editOften is a tool that has one Secret in its way.
func editOften(w *World) {
	s := w.anySecret()
	if s == nil || !managed(s) {
		return
	}
	name, left := client.ObjectKeyFromObject(s), 20+w.chance.IntN(40)
	w.faults.begin(faultOtherWriter, time.Duration(left)*time.Second)
	w.every(time.Second, func() bool {
		if now := w.api.secrets[name]; managed(now) && !w.healed {
			again := now.DeepCopy()
			w.tamper("loses its credentials once more", again, func() { delete(again.Data, secret.JSONKey); _ = w.api.put(again) })
		}
		left--
		return left > 0 && !w.healed
	})
}

// contest is a writer that sets a Secret back to what it thinks right, whenever somebody else
// changes it.
type contest struct {
	name  key
	until time.Duration
	// back sets it back; it reports whether there was anything to do.
	back func(*corev1.Secret) bool
}

func contestSecret(w *World) {
	s := w.anySecret()
	if s == nil || !managed(s) || w.contest != nil && w.now < w.contest.until {
		return
	}
	d := time.Duration(1+w.chance.IntN(8)) * time.Minute
	w.faults.begin(faultOtherWriter, d)
	w.contest = &contest{name: client.ObjectKeyFromObject(s), until: w.now + d}
	stale := maps.Clone(s.Data)
	w.contest.back = pick(w, []func(*corev1.Secret) bool{
		func(s *corev1.Secret) bool {
			_, had := s.Annotations[secret.IssuedAtAnnotation]
			delete(s.Annotations, secret.IssuedAtAnnotation)
			return had
		},
		func(s *corev1.Secret) bool {
			had := s.Labels["backup"]
			s.Labels["backup"] = "daily"
			return had != "daily"
		},
		func(s *corev1.Secret) bool {
			_, had := s.Data[secret.ConfigKey]
			delete(s.Data, secret.ConfigKey)
			return had
		},
		func(s *corev1.Secret) bool {
			differs := !maps.EqualFunc(s.Data, stale, bytes.Equal)
			s.Data = maps.Clone(stale)
			return differs
		},
	})
	w.secretChanged(w.contest.name, w.api.secrets[w.contest.name])
}

// secretChanged lets watches, and who contests the Secret, know of a change.
func (w *World) secretChanged(name key, now *corev1.Secret) {
	version := w.api.version
	for _, inst := range w.instances {
		inst.cache.deliver(watchSecrets, func() {
			inst.cache.putSecret(name, now)
			inst.cache.seen[watchSecrets] = max(inst.cache.seen[watchSecrets], version)
		})
	}
	if c := w.contest; c != nil && c.name == name && w.contested(c, now) {
		w.setBack(c)
	}
}

// contested reports whether somebody still contests a Secret.
func (w *World) contested(c *contest, now *corev1.Secret) bool {
	return now != nil && w.now < c.until && !w.healed && managed(now)
}

// setBack lets who contests a Secret set it back some time later.
func (w *World) setBack(c *contest) {
	w.after(w.between("contest", 100*time.Millisecond, 5*time.Second), func() {
		latest := w.api.secrets[c.name]
		if !w.contested(c, latest) {
			return
		}
		again := latest.DeepCopy()
		if c.back(again) {
			again.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "argocd-controller", Operation: metav1.ManagedFieldsOperationUpdate, Time: &metav1.Time{Time: w.time()}}}
			w.tamper("is set back", again, func() { _ = w.api.put(again) })
		}
	})
}

// roleChanged lets watches know of a change.
func (w *World) roleChanged(name key, now *v1.AWSIAMRole) {
	if w.current == nil { // else it is the controller's own status
		w.roleTouched[name] = w.now
	}
	version := w.api.version
	for _, inst := range w.instances {
		inst.cache.deliver(watchRoles, func() {
			inst.cache.putRole(name, now)
			inst.cache.seen[watchRoles] = max(inst.cache.seen[watchRoles], version)
		})
	}
}
