package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"kube-aws-iam-controller/pkg/secret/keys"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pods are the pods of the cluster, with the kubelet that runs them.
type pods struct {
	sim  *simulator
	all  map[key]*pod
	made int
}

// pod mounts Secrets, starts when they exist, and calls AWS every minute with their credentials.
type pod struct {
	name           key
	uid            types.UID
	serviceAccount string
	secrets        []key
	created        time.Duration
	running        bool
	finished       bool
	terminating    bool
	// reads has what the pod last read from each Secret.
	reads map[key]mounted
}

// mounted is the content of a Secret in a pod's volume.
type mounted struct {
	version, accessKeyID, role string
	at                         time.Duration
}

func newPods(sim *simulator) *pods { return &pods{sim: sim, all: map[key]*pod{}} }

// live reports whether the pod is in a watch of unfinished pods.
func (p *pod) live() bool { return !p.finished }

// object returns the pod as an object of the API.
func (p *pod) object() *corev1.Pod {
	o := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.name.Namespace, Name: p.name.Name, UID: p.uid},
		Spec:       corev1.PodSpec{ServiceAccountName: p.serviceAccount, Containers: []corev1.Container{{Name: "main", Image: "example/app:1"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	if p.running {
		o.Status.Phase = corev1.PodRunning
	}
	for i, s := range p.secrets {
		volume := fmt.Sprintf("volume-%d", i)
		o.Spec.Volumes = append(o.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: s.Name}}})
		o.Spec.Containers[0].VolumeMounts = append(o.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: mountPath})
	}
	return o
}

// create creates a pod of a ServiceAccount that mounts Secrets.
func (p *pods) create(namespace, serviceAccount string, secrets ...string) {
	p.made++
	made := &pod{
		name: key{Namespace: namespace, Name: fmt.Sprintf("pod-%d", p.made)}, uid: types.UID(fmt.Sprintf("pod-uid-%d", p.made)),
		serviceAccount: serviceAccount, created: p.sim.now, reads: map[key]mounted{},
	}
	for _, s := range slices.Compact(slices.Sorted(slices.Values(secrets))) {
		made.secrets = append(made.secrets, key{Namespace: namespace, Name: s})
	}
	p.sim.trace.add("pod %s of %s mounts %v", made.name, serviceAccount, secrets)
	p.all[made.name] = made
	p.notifyWatches(made)
	p.sim.after(p.sim.between("kubelet", 100*time.Millisecond, 2*time.Second), func() { p.tryStart(made) })
	p.sim.scheduleServedCheck(made)
}

// notifyWatches sends a pod to the watches.
func (p *pods) notifyWatches(one *pod) {
	now := one
	if !one.live() || p.all[one.name] != one {
		now = nil
	}
	for _, inst := range p.sim.instances {
		inst.cache.deliver(watchPods, func() { inst.cache.putPod(one.name, now) })
	}
}

// exists reports whether a pod is still there and not finished.
func (p *pods) exists(one *pod) bool { return p.all[one.name] == one && !one.finished }

// tryStart starts a pod if all Secrets that it mounts exist, and otherwise tries again after some
// seconds, as the kubelet does.
func (p *pods) tryStart(one *pod) {
	if !p.exists(one) || one.terminating {
		return
	}
	for _, name := range one.secrets {
		if p.sim.api.secrets[name] == nil {
			p.sim.after(p.sim.between("kubelet", time.Second, 5*time.Second), func() { p.tryStart(one) })
			return
		}
	}
	one.running = true
	p.sim.trace.add("pod %s starts", one.name)
	for _, name := range one.secrets {
		p.read(one, name)
		p.sim.checkStart(one, name)
	}
	p.notifyWatches(one)
	p.sim.every(time.Minute, func() bool { return p.use(one) })
}

// use runs every minute: the kubelet updates the pod's volumes, and the pod calls AWS with the
// credentials in them.
func (p *pods) use(one *pod) bool {
	if !p.exists(one) {
		return false
	}
	for _, name := range one.secrets {
		p.sim.checkUse(one, name)
		p.sim.after(p.sim.between("volume", 0, 30*time.Second), func() { // 60 to 90 s after a change at the latest
			if p.exists(one) && p.sim.api.secrets[name] != nil {
				p.read(one, name)
			}
		})
	}
	return true
}

// read copies a Secret into the pod's volume.
func (p *pods) read(one *pod, name key) {
	s := p.sim.api.secrets[name]
	one.reads[name] = mounted{version: s.ResourceVersion, accessKeyID: accessKeyID(s), role: string(s.Data[keys.RoleARN]), at: p.sim.now}
}

// accessKeyID returns the access key ID that an SDK reads from a Secret, or "" if it cannot.
func accessKeyID(s *corev1.Secret) string {
	var found struct{ AccessKeyId, SecretAccessKey, SessionToken string } //nolint:revive // AWS's names
	if json.Unmarshal(s.Data[keys.CredentialsJSON], &found) != nil || found.SecretAccessKey == "" || found.SessionToken == "" {
		return ""
	}
	return found.AccessKeyId
}

// finish ends the containers of a pod.
func (p *pods) finish(one *pod) {
	p.sim.trace.add("pod %s finishes", one.name)
	one.finished = true
	p.notifyWatches(one)
}

// remove ends a pod, which is gone after a grace period.
func (p *pods) remove(one *pod, grace time.Duration) {
	if one.terminating {
		return
	}
	p.sim.trace.add("pod %s is to go within %s", one.name, grace)
	one.terminating = true
	p.notifyWatches(one)
	p.sim.after(grace, func() {
		if p.all[one.name] == one {
			delete(p.all, one.name)
			p.notifyWatches(one)
		}
	})
}
