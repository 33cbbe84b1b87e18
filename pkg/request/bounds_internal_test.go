package request

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"kube-aws-iam-controller/pkg/secret/keys"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// maxSize is a limit of the size of all Requests of one pod, in bytes.
const maxSize = 512 << 10

// sizeOfRequests returns the size of requests in memory, in bytes.
func sizeOfRequests(requests []Request) uintptr {
	n := uintptr(cap(requests)) * unsafe.Sizeof(Request{})
	for _, r := range requests {
		n += uintptr(len(r.Secret)+len(r.invalid)) + uintptr(cap(r.warnings))*unsafe.Sizeof(Warning{}) // Role is a part of Secret
		for _, w := range r.warnings {
			n += uintptr(len(w.Note) + len(w.unlessAt)) // Reason is a constant
		}
	}
	return n
}

// randomPod returns a pod that depends on seed only. Its names come from a small pool that includes
// a and b, so that volumes, mounts and Secrets often match, also in ways that the API server
// rejects.
func randomPod(seed uint64, a, b string) *corev1.Pod {
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret
	names := []string{a, b, "v", "w", "aws-iam-" + a, "aws-iam-" + b, "aws-iam." + a, "aws-iam." + b, strings.Repeat(a, 1+random.IntN(1000))}
	for i := range 100 {
		names = append(names, fmt.Sprintf("aws-iam%c%d%s", "-."[i%2], i, strings.Repeat(b, random.IntN(5))))
	}
	name := func() string { return names[random.IntN(len(names))] }
	items := func() (list []corev1.KeyToPath) {
		for range random.IntN(4) {
			list = append(list, corev1.KeyToPath{Key: []string{keys.CredentialsProcess, keys.CredentialsJSON, name()}[random.IntN(3)], Path: name()})
		}
		return list
	}
	pod := &corev1.Pod{}
	pod.Spec.ServiceAccountName = []string{"", a}[random.IntN(2)]
	pod.Labels = map[string]string{InjectLabel: []string{"", "true", "false"}[random.IntN(3)], "app": a}
	pod.Annotations = map[string]string{[]string{RoleAnnotation, ignoredAnnotations[0], ignoredAnnotations[1], corev1.MirrorPodAnnotationKey, "x"}[random.IntN(5)]: a}
	if random.IntN(5) == 0 {
		pod.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"}
	}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(random.IntN(2)))}
	mode := func() *int32 { return new(random.Int32N(0o1000)) }
	for range random.IntN(60) {
		optional := random.IntN(2) == 0
		v := corev1.Volume{Name: name()}
		if random.IntN(2) == 0 {
			v.Secret = &corev1.SecretVolumeSource{SecretName: name(), Items: items(), Optional: &optional, DefaultMode: mode()}
		} else {
			v.Projected = &corev1.ProjectedVolumeSource{DefaultMode: mode()}
			for range random.IntN(100) {
				v.Projected.Sources = append(v.Projected.Sources, corev1.VolumeProjection{
					Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name()}, Items: items(), Optional: &optional},
				})
			}
		}
		pod.Spec.Volumes = append(pod.Spec.Volumes, v)
	}
	for range random.IntN(20) {
		c := corev1.Container{Name: name(), SecurityContext: &corev1.SecurityContext{RunAsNonRoot: new(random.IntN(2) == 0)}}
		for range random.IntN(100) {
			mount := corev1.VolumeMount{Name: name(), MountPath: name()}
			if random.IntN(2) == 0 {
				mount.SubPath = name()
			}
			c.VolumeMounts = append(c.VolumeMounts, mount)
			c.Env = append(c.Env, corev1.EnvVar{Name: name(), ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name()}, Key: []string{keys.Expire, keys.SessionToken, name()}[random.IntN(3)]}}})
			c.Env = append(c.Env, corev1.EnvVar{Name: []string{accessKeyVariable, roleARNVariable, tokenFileVariable, sharedFileVariable, a}[random.IntN(5)], Value: name()})
			c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name()}}})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}

// countChecks returns how many mounts FromPod checks, and how many the pod has.
func countChecks(pod *corev1.Pod) (checks, all int) {
	c := collector{bySecret: map[string]*Request{}}
	secrets := c.addVolumes(pod.Spec.Volumes)
	volumes := map[string][]mounts{}
	for _, s := range secrets {
		volumes[s.volume] = nil
	}
	addMounts(pod, volumes)
	for _, s := range secrets {
		for _, m := range volumes[s.volume] {
			checks += 1 + len(m.paths)
		}
	}
	for c := range containers(pod) {
		all += 2 * len(c.VolumeMounts)
	}
	return checks, all
}

// The size of the result is bounded by a constant, and the work by the size of the pod.
func FuzzFromPod_IsBounded(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed, "app", strings.Repeat("x", 300))
	}
	f.Add(uint64(1), "\x80", strings.Repeat("\x80", 400))
	f.Add(uint64(2), "../..", "\U0010ffff")
	f.Fuzz(func(t *testing.T, seed uint64, a, b string) {
		if len(a)+len(b) > 10_000 {
			t.Skip("long enough")
		}
		pod := randomPod(seed, a, b)
		requests := FromPod(pod, "/meta/aws-iam")
		if len(requests) > maxRequests+1 { // one that says that it was not injected
			t.Fatalf("%d Secrets", len(requests))
		}
		for _, r := range requests {
			if len(r.Secret) > maxSecretName || len(r.warnings) > maxWarnings {
				t.Fatalf("Secret %q has %d warnings", r.Secret, len(r.warnings))
			}
			for _, w := range r.warnings {
				if len(w.Note) > 1024 { // what an event can hold
					t.Fatalf("a note of %d bytes", len(w.Note))
				}
			}
			if sets.New(r.warnings...).Len() != len(r.warnings) {
				t.Fatalf("duplicate warnings: %v", r.warnings)
			}
			if err := r.Validate(); err != nil && len(err.Error()) > 1024 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
		}
		if n := sizeOfRequests(requests); n > maxSize {
			t.Fatalf("%d bytes", n)
		}
		if checks, all := countChecks(pod); checks > maxRequests*all {
			t.Fatalf("%d checks of %d mounts", checks, all)
		}
		if ReducePod(pod); !reflect.DeepEqual(FromPod(pod, "/meta/aws-iam"), requests) {
			t.Fatal("the reduced pod requests something else")
		}
	})
}

// Of any ServiceAccount little is kept, and its reduced form asks for the same.
func FuzzFromServiceAccount_IsBounded(f *testing.F) {
	for _, values := range [][7]string{
		{"app", "app", "", "3600", "", "true", "/meta/b"},
		{"app", "", "arn:aws:iam::123456789012:role/team/App", "", "sts.amazonaws.com", "", ""},
		{strings.Repeat("a", 246), strings.Repeat("r", 641), "", "1h", strings.Repeat("u", 256), "yes", "/" + strings.Repeat("d", 256)},
		{"\x80", strings.Repeat("\x80", 1025), "", strings.Repeat("9", 2000), strings.Repeat("\U0010ffff", 500), "\n", "/a\n"},
		{"app", strings.Repeat("\x00", 640), "", "", "", "", "/$(id)"},
	} {
		f.Add(values[0], values[1], values[2], values[3], values[4], values[5], values[6])
	}
	f.Fuzz(func(t *testing.T, name, role, arn, duration, audience, withKeys, dir string) {
		account := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u", Annotations: map[string]string{
			RoleAnnotation: role, RoleARNAnnotation: arn, DurationAnnotation: duration, AudienceAnnotation: audience, KeysAnnotation: withKeys, MountPathAnnotation: dir, "other": "x",
		}}}
		r, asks := FromServiceAccount(account)
		if asks != (role != "" || arn != "") {
			t.Fatalf("asks for something: %t", asks)
		}
		if len(r.Secret) > maxSecretName || len(r.Role) > maxReference || len(r.Audience) > maxAudience || len(r.MountPath) > maxMountPath || len(r.invalid) > 1024 {
			t.Fatalf("keeps too much: %+v", r)
		}
		if r.Duration != 0 && (r.Duration < minDuration || r.Duration > maxDuration) {
			t.Fatalf("duration %s", r.Duration)
		}
		if err := r.Validate(); err != nil && (strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 1024) {
			t.Fatalf("%q", err)
		}
		if ReduceServiceAccount(account) != asks {
			t.Fatal("the reduced ServiceAccount does not agree")
		}
		if again, _ := FromServiceAccount(account); !reflect.DeepEqual(again, r) {
			t.Fatalf("the reduced ServiceAccount asks for %+v, not %+v", again, r)
		}
		for key, value := range account.Annotations {
			if asks && (key == "other" || len(value) > maxAnnotation) {
				t.Fatalf("keeps %d bytes of %s", len(value), key)
			}
		}
	})
}
