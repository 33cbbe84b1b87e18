package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/secret"
)

// pods are the pods of the cluster, with the kubelet that runs them.
type pods struct {
	w    *World
	all  map[key]*pod
	made int
}

// pod is one pod. It mounts Secrets, starts when they are there, and calls AWS every minute with
// what it finds in them.
type pod struct {
	name           key
	uid            types.UID
	serviceAccount string
	secrets        []key
	created        time.Duration
	running        bool
	finished       bool
	leaving        bool
	// reads is what it found in each Secret when it looked last.
	reads map[key]mounted
}

// mounted is what a pod has of a Secret.
type mounted struct {
	version, accessKeyID, role string
	at                         time.Duration
}

func newPods(w *World) *pods { return &pods{w: w, all: map[key]*pod{}} }

// live reports whether a watch of unfinished pods has it.
func (p *pod) live() bool { return !p.finished }

// object is the pod as the API server has it.
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

// create makes a pod of a ServiceAccount that mounts Secrets.
func (p *pods) create(namespace, serviceAccount string, secrets ...string) {
	p.made++
	made := &pod{
		name: key{Namespace: namespace, Name: fmt.Sprintf("pod-%d", p.made)}, uid: types.UID(fmt.Sprintf("pod-uid-%d", p.made)),
		serviceAccount: serviceAccount, created: p.w.now, reads: map[key]mounted{},
	}
	for _, s := range slices.Compact(slices.Sorted(slices.Values(secrets))) {
		made.secrets = append(made.secrets, key{Namespace: namespace, Name: s})
	}
	p.w.trace.add("pod %s of %s mounts %v", made.name, serviceAccount, secrets)
	p.all[made.name] = made
	p.notify(made)
	p.w.after(p.w.between("kubelet", 100*time.Millisecond, 2*time.Second), func() { p.tryStart(made) })
	p.w.podCreated(made)
}

// notify lets the watches know of a pod.
func (p *pods) notify(one *pod) {
	now := one
	if !one.live() || p.all[one.name] != one {
		now = nil
	}
	for _, inst := range p.w.instances {
		inst.cache.deliver(watchPods, func() { inst.cache.putPod(one.name, now) })
	}
}

// exists reports whether a pod is still there and its containers may run.
func (p *pods) exists(one *pod) bool { return p.all[one.name] == one && !one.finished }

// tryStart is the kubelet: it starts a pod as soon as all that it mounts is there, and looks
// again every few seconds.
func (p *pods) tryStart(one *pod) {
	if !p.exists(one) || one.leaving {
		return
	}
	for _, name := range one.secrets {
		if p.w.api.secrets[name] == nil {
			p.w.after(p.w.between("kubelet", time.Second, 5*time.Second), func() { p.tryStart(one) })
			return
		}
	}
	one.running = true
	p.w.trace.add("pod %s starts", one.name)
	for _, name := range one.secrets {
		p.read(one, name)
		p.w.judgeStart(one, name)
	}
	p.notify(one)
	p.w.every(time.Minute, func() bool { return p.use(one) })
}

// use is what a pod does every minute: the kubelet has looked at its Secrets meanwhile, and it
// calls AWS with what it has.
func (p *pods) use(one *pod) bool {
	if !p.exists(one) {
		return false
	}
	for _, name := range one.secrets {
		p.w.judgeUse(one, name)
		p.w.after(p.w.between("volume", 0, 30*time.Second), func() { // 60 to 90 s after a change at the latest
			if p.exists(one) && p.w.api.secrets[name] != nil {
				p.read(one, name)
			}
		})
	}
	return true
}

// read takes what a Secret holds into the pod's volume.
func (p *pods) read(one *pod, name key) {
	s := p.w.api.secrets[name]
	one.reads[name] = mounted{version: s.ResourceVersion, accessKeyID: accessKeyID(s), role: string(s.Data[secret.RoleARNKey]), at: p.w.now}
}

// accessKeyID is what an SDK finds in a Secret; nothing if it cannot read it.
func accessKeyID(s *corev1.Secret) string {
	var found struct{ AccessKeyId, SecretAccessKey, SessionToken string } //nolint:revive // AWS's names
	if json.Unmarshal(s.Data[secret.JSONKey], &found) != nil || found.SecretAccessKey == "" || found.SessionToken == "" {
		return ""
	}
	return found.AccessKeyId
}

// finish ends the containers of a pod.
func (p *pods) finish(one *pod) {
	p.w.trace.add("pod %s finishes", one.name)
	one.finished = true
	p.notify(one)
}

// remove ends a pod that may take a while to go.
func (p *pods) remove(one *pod, grace time.Duration) {
	if one.leaving {
		return
	}
	p.w.trace.add("pod %s is to go within %s", one.name, grace)
	one.leaving = true
	p.notify(one)
	p.w.after(grace, func() {
		if p.all[one.name] == one {
			delete(p.all, one.name)
			p.notify(one)
		}
	})
}
