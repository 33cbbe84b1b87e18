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
	"kube-aws-iam-controller/pkg/secret/keys"
)

// editAsOther changes a Secret as another writer than the controller.
func (sim *simulator) editAsOther(how string, s *corev1.Secret, do func()) {
	name := client.ObjectKeyFromObject(s)
	sim.trace.add("Secret %s %s", name, how)
	sim.editedAt[name] = sim.now
	do()
}

// edits are the changes that another writer can make to a Secret.
var edits = []struct {
	how string
	do  func(*simulator, *corev1.Secret)
}{
	{"loses a key", func(_ *simulator, s *corev1.Secret) { delete(s.Data, keys.Config) }},
	{"has other credentials", func(_ *simulator, s *corev1.Secret) {
		s.Data[keys.CredentialsJSON] = []byte(`{"AccessKeyId":"AKIAFOREIGN"}`)
	}},
	{"has a later expiry", func(sim *simulator, s *corev1.Secret) {
		s.Data[keys.Expire] = []byte(sim.time().Add(24 * time.Hour).Format(time.RFC3339))
	}},
	{"says another role", func(sim *simulator, s *corev1.Secret) {
		s.Data[keys.RoleARN] = []byte(sim.sts.arn(pick(sim, sim.cfg.roles)))
	}},
	{"has no data", func(_ *simulator, s *corev1.Secret) { s.Data = nil }},
	{"loses the label", func(_ *simulator, s *corev1.Secret) { delete(s.Labels, secret.OwnerLabel) }},
	{"gets the label", func(_ *simulator, s *corev1.Secret) { s.Labels[secret.OwnerLabel] = secret.OwnerValue }},
	{"gets a label", func(_ *simulator, s *corev1.Secret) { s.Labels["backup"] = "daily" }},
	{"is called an AWSIAMRole's", func(_ *simulator, s *corev1.Secret) { s.Labels[secret.TypeLabel] = secret.TypeAWSIAMRole }},
	{"loses its annotations", func(_ *simulator, s *corev1.Secret) { s.Annotations = nil }},
	{"gets a controller", func(_ *simulator, s *corev1.Secret) {
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "any", UID: "any", Controller: new(true)}}
	}},
	{"loses its owners", func(_ *simulator, s *corev1.Secret) { s.OwnerReferences = nil }},
	{"becomes immutable", func(_ *simulator, s *corev1.Secret) { s.Immutable = new(true) }},
}

func editSecret(sim *simulator) {
	if s := sim.pickSecret(); s != nil {
		sim.edit(s)
	}
}

// edit makes one of the edits.
func (sim *simulator) edit(s *corev1.Secret) {
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	e := pick(sim, edits)
	sim.editAsOther(e.how, s, func() { e.do(sim, s); _ = sim.api.put(s) })
}

// editRepeatedly simulates a tool that changes one Secret every second.
func editRepeatedly(sim *simulator) {
	s := sim.pickSecret()
	if s == nil || !managed(s) {
		return
	}
	name, left := client.ObjectKeyFromObject(s), 20+sim.chance.IntN(40)
	sim.faults.begin(faultOtherWriter, time.Duration(left)*time.Second)
	sim.every(time.Second, func() bool {
		if now := sim.api.secrets[name]; managed(now) && !sim.healed {
			again := now.DeepCopy()
			sim.editAsOther("loses its credentials once more", again, func() { delete(again.Data, keys.CredentialsJSON); _ = sim.api.put(again) })
		}
		left--
		return left > 0 && !sim.healed
	})
}

// revertingWriter is a writer that reverts all changes that others make to a Secret.
type revertingWriter struct {
	name  key
	until time.Duration
	// back reverts the changes, and reports whether there were any.
	back func(*corev1.Secret) bool
}

func startRevertingWriter(sim *simulator) {
	s := sim.pickSecret()
	if s == nil || !managed(s) || sim.revertingWriter != nil && sim.now < sim.revertingWriter.until {
		return
	}
	d := time.Duration(1+sim.chance.IntN(8)) * time.Minute
	sim.faults.begin(faultOtherWriter, d)
	sim.revertingWriter = &revertingWriter{name: client.ObjectKeyFromObject(s), until: sim.now + d}
	stale := maps.Clone(s.Data)
	sim.revertingWriter.back = pick(sim, []func(*corev1.Secret) bool{
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
			_, had := s.Data[keys.Config]
			delete(s.Data, keys.Config)
			return had
		},
		func(s *corev1.Secret) bool {
			differs := !maps.EqualFunc(s.Data, stale, bytes.Equal)
			s.Data = maps.Clone(stale)
			return differs
		},
	})
	sim.secretChanged(sim.revertingWriter.name, sim.api.secrets[sim.revertingWriter.name])
}

// secretChanged sends a change to the watches and to the reverting writer of the Secret.
func (sim *simulator) secretChanged(name key, now *corev1.Secret) {
	version := sim.api.version
	for _, inst := range sim.instances {
		inst.cache.deliver(watchSecrets, func() {
			inst.cache.putSecret(name, now)
			inst.cache.seen[watchSecrets] = max(inst.cache.seen[watchSecrets], version)
		})
	}
	if c := sim.revertingWriter; c != nil && c.name == name && sim.isReverting(c, now) {
		sim.scheduleRevert(c)
	}
}

// isReverting reports whether a reverting writer is still active.
func (sim *simulator) isReverting(c *revertingWriter, now *corev1.Secret) bool {
	return now != nil && sim.now < c.until && !sim.healed && managed(now)
}

// scheduleRevert schedules the revert of a change.
func (sim *simulator) scheduleRevert(c *revertingWriter) {
	sim.after(sim.between("contest", 100*time.Millisecond, 5*time.Second), func() {
		latest := sim.api.secrets[c.name]
		if !sim.isReverting(c, latest) {
			return
		}
		again := latest.DeepCopy()
		if c.back(again) {
			again.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "argocd-controller", Operation: metav1.ManagedFieldsOperationUpdate, Time: &metav1.Time{Time: sim.time()}}}
			sim.editAsOther("is set back", again, func() { _ = sim.api.put(again) })
		}
	})
}

// awsIAMRoleChanged sends a change to the watches.
func (sim *simulator) awsIAMRoleChanged(name key, now *v1.AWSIAMRole) {
	if sim.current == nil { // otherwise it is the controller's own status
		sim.roleChangedAt[name] = sim.now
	}
	version := sim.api.version
	for _, inst := range sim.instances {
		inst.cache.deliver(watchRoles, func() {
			inst.cache.putAWSIAMRole(name, now)
			inst.cache.seen[watchRoles] = max(inst.cache.seen[watchRoles], version)
		})
	}
}
