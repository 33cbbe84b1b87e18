package demand

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
)

// maxKept is more bytes than what is kept of any pod has.
const maxKept = 512 << 10

// kept returns how many bytes demands have.
func kept(demands []Demand) uintptr {
	n := uintptr(cap(demands)) * unsafe.Sizeof(Demand{})
	for _, d := range demands {
		n += uintptr(len(d.Secret)) + uintptr(cap(d.Findings))*unsafe.Sizeof(Finding{}) // Role is a part of Secret
		for _, f := range d.Findings {
			n += uintptr(len(f.Note)) // Reason is a constant
		}
	}
	return n
}

// anyPod builds a pod by a seed. Names come from a small pool, so that volumes, mounts and Secrets
// meet often, also in ways that the API server refuses; a and b are among them.
func anyPod(seed uint64, a, b string) *corev1.Pod {
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret
	names := []string{a, b, "v", "w", "aws-iam-" + a, "aws-iam-" + b, strings.Repeat(a, 1+random.IntN(1000))}
	for i := range 100 {
		names = append(names, fmt.Sprintf("aws-iam-%d%s", i, strings.Repeat(b, random.IntN(5))))
	}
	name := func() string { return names[random.IntN(len(names))] }
	items := func() (list []corev1.KeyToPath) {
		for range random.IntN(4) {
			list = append(list, corev1.KeyToPath{Key: []string{ProcessFile, JSONFile, name()}[random.IntN(3)], Path: name()})
		}
		return list
	}
	pod := &corev1.Pod{}
	for range random.IntN(60) {
		optional := random.IntN(2) == 0
		v := corev1.Volume{Name: name()}
		if random.IntN(2) == 0 {
			v.Secret = &corev1.SecretVolumeSource{SecretName: name(), Items: items(), Optional: &optional}
		} else {
			v.Projected = &corev1.ProjectedVolumeSource{}
			for range random.IntN(100) {
				v.Projected.Sources = append(v.Projected.Sources, corev1.VolumeProjection{
					Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name()}, Items: items(), Optional: &optional},
				})
			}
		}
		pod.Spec.Volumes = append(pod.Spec.Volumes, v)
	}
	for range random.IntN(20) {
		c := corev1.Container{Name: name()}
		for range random.IntN(100) {
			mount := corev1.VolumeMount{Name: name(), MountPath: name()}
			if random.IntN(2) == 0 {
				mount.SubPath = name()
			}
			c.VolumeMounts = append(c.VolumeMounts, mount)
			c.Env = append(c.Env, corev1.EnvVar{Name: name(), ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name()}}}})
			c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name()}}})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}

// steps returns how often FromPod looks at a volume's mounts in a container, and how many mounts
// the pod has.
func steps(pod *corev1.Pod) (looks, all int) {
	r := requests{bySecret: map[string]*Demand{}}
	placements := r.addVolumes(pod.Spec.Volumes)
	volumes := map[string][]mounts{}
	for _, p := range placements {
		volumes[p.volume] = nil
	}
	mountsByVolume(pod, volumes)
	for _, p := range placements {
		for _, m := range volumes[p.volume] {
			looks += 1 + len(m.paths)
		}
	}
	for c := range containers(pod) {
		all += 2 * len(c.VolumeMounts)
	}
	return looks, all
}

// Whatever a pod has in it, what is kept of it is bounded by a constant, and the work by its size.
func FuzzFromPod_IsBounded(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed, "app", strings.Repeat("x", 300))
	}
	f.Add(uint64(1), "\x80", strings.Repeat("\x80", 400))
	f.Add(uint64(2), "../..", "\U0010ffff")
	f.Fuzz(func(t *testing.T, seed uint64, a, b string) {
		if len(a)+len(b) > 10_000 {
			t.Skip("long enough")
		}
		pod := anyPod(seed, a, b)
		demands := FromPod(pod, "/meta/aws-iam")
		if len(demands) > maxRequests {
			t.Fatalf("%d Secrets", len(demands))
		}
		for _, d := range demands {
			if len(d.Secret) > maxSecretName || len(d.Findings) > maxFindings {
				t.Fatalf("Secret %q has %d findings", d.Secret, len(d.Findings))
			}
			for i, finding := range d.Findings {
				for _, other := range d.Findings[:i] {
					if finding == other {
						t.Fatalf("there twice: %s", finding.Note)
					}
				}
			}
			if err := d.Check(); err != nil && len(err.Error()) > 1024 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
		}
		if n := kept(demands); n > maxKept {
			t.Fatalf("%d bytes are kept", n)
		}
		if looks, all := steps(pod); looks > maxRequests*all {
			t.Fatalf("%d looks at %d mounts", looks, all)
		}
		if ReducePod(pod); !reflect.DeepEqual(FromPod(pod, "/meta/aws-iam"), demands) {
			t.Fatalf("reduced, it asks for %v and not for %v", FromPod(pod, "/meta/aws-iam"), demands)
		}
	})
}
