package request_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/request"
)

// withMode sets the default mode of a volume.
func withMode(option podOption, mode int32) podOption {
	return func(p *corev1.Pod) {
		option(p)
		if v := p.Spec.Volumes[0]; v.Secret != nil {
			v.Secret.DefaultMode = &mode
		} else {
			v.Projected.DefaultMode = &mode
		}
	}
}

// withItemMode sets the mode of the last item of a volume.
func withItemMode(option podOption, mode int32) podOption {
	return func(p *corev1.Pod) {
		option(p)
		list := p.Spec.Volumes[0].Secret.Items
		list[len(list)-1].Mode = &mode
	}
}

func TestFromPod_FileNotReadable(t *testing.T) {
	type podContext = corev1.PodSecurityContext
	type containerContext = corev1.SecurityContext
	secret := volume("v", "aws-iam-app")
	both := items(secret, "credentials.process", "credentials.process", "credentials.json", "credentials.json")
	json := items(secret, "credentials.json", "credentials.json")
	user, one, zero := new(int64(1000)), new(int64(1)), new(int64(0))
	for _, c := range []struct {
		name      string
		volume    podOption
		pod       podContext
		container containerContext
		want      bool
	}{
		{"the default mode", secret, podContext{RunAsUser: user}, containerContext{}, false},
		{"0400, and a user", withMode(secret, 0o400), podContext{RunAsUser: user}, containerContext{}, true},
		{"0400, and a user of the container", withMode(secret, 0o400), podContext{RunAsUser: zero}, containerContext{RunAsUser: user}, true},
		{"0400, and root in the container", withMode(secret, 0o400), podContext{RunAsUser: user}, containerContext{RunAsUser: zero}, false},
		{"0400, and the user of the image", withMode(secret, 0o400), podContext{}, containerContext{}, false},
		{"0400, and a user of the image that is not root", withMode(secret, 0o400), podContext{RunAsNonRoot: new(true)}, containerContext{}, true},
		{"0400, and root with a read-only root file system", withMode(secret, 0o400), podContext{}, containerContext{RunAsUser: zero, ReadOnlyRootFilesystem: new(true)}, false},
		{"0400, and an fsGroup", withMode(secret, 0o400), podContext{RunAsUser: user, FSGroup: one}, containerContext{}, false},
		{"0400 in a projected volume", withMode(projected("v", "aws-iam-app"), 0o400), podContext{RunAsUser: user}, containerContext{}, true},
		{"0440, and the group of the image", withMode(secret, 0o440), podContext{RunAsUser: user}, containerContext{}, false},
		{"0440, and another group", withMode(secret, 0o440), podContext{RunAsUser: user, RunAsGroup: one}, containerContext{}, true},
		{"0440, and another group of the container", withMode(secret, 0o440), podContext{RunAsUser: user, RunAsGroup: zero}, containerContext{RunAsGroup: one}, true},
		{"0440, and the group root besides", withMode(secret, 0o440), podContext{RunAsUser: user, RunAsGroup: one, SupplementalGroups: []int64{5, 0}}, containerContext{}, false},
		{"0404", withMode(secret, 0o404), podContext{RunAsUser: user, RunAsGroup: one}, containerContext{}, false},
		{"one file of 0400", withItemMode(both, 0o400), podContext{RunAsUser: user}, containerContext{}, true},
		{"all files of another mode", withItemMode(withMode(json, 0o400), 0o444), podContext{RunAsUser: user}, containerContext{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(c.volume, container("app", mount("v", mountPath)), container("other"))
			p.Spec.SecurityContext, p.Spec.Containers[0].SecurityContext = &c.pod, &c.container
			p.Spec.Containers[1].SecurityContext = &corev1.SecurityContext{RunAsUser: new(int64(1000))}
			var want []string
			if c.want {
				want = []string{`"app"`, "defaultMode", "fsGroup"}
			}
			wantNote(t, p, request.FileNotReadable, want)
		})
	}
}
