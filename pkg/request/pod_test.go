package request_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/request"
)

const mountPath = "/meta/aws-iam"

func TestFromPod(t *testing.T) {
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want []string // secrets
	}{
		{"an empty pod", pod(), nil},
		{"a volume", pod(volume("v", "aws-iam-app")), []string{"aws-iam-app"}},
		{"a volume that no container mounts", pod(volume("v", "aws-iam-app"), container("c")), []string{"aws-iam-app"}},
		{"a projected volume", pod(projected("v", "aws-iam-app")), []string{"aws-iam-app"}},
		{"several in one projected volume", pod(projected("v", "other", "aws-iam-b", "aws-iam-a")), []string{"aws-iam-a", "aws-iam-b"}},
		{"several volumes, in the order of their names", pod(volume("x", "aws-iam-c"), projected("y", "aws-iam-b"), volume("z", "aws-iam-a")), []string{"aws-iam-a", "aws-iam-b", "aws-iam-c"}},
		{"one Secret in many places", pod(volume("x", "aws-iam-a"), projected("y", "aws-iam-a"), container("c", env("aws-iam-a"), envFrom("aws-iam-a"))), []string{"aws-iam-a"}},
		{"an environment variable", pod(container("c", env("aws-iam-app"))), []string{"aws-iam-app"}},
		{"all variables of a Secret", pod(container("c", envFrom("aws-iam-app"))), []string{"aws-iam-app"}},
		{"an init container", pod(initContainer("c", env("aws-iam-app"))), []string{"aws-iam-app"}},
		{"an ephemeral container", pod(ephemeralContainer("c", envFrom("aws-iam-app"))), []string{"aws-iam-app"}},
		{"a role with dots", pod(volume("v", "aws-iam-a.b")), []string{"aws-iam-a.b"}},
		{"a role that begins with the prefix", pod(volume("v", "aws-iam-aws-iam-")), []string{"aws-iam-aws-iam-"}},
		{"the prefix alone", pod(volume("v", "aws-iam-")), []string{"aws-iam-"}},
		{"a ServiceAccount's Secret in a volume", pod(volume("v", "aws-iam.app")), []string{"aws-iam.app"}},
		{"a ServiceAccount's Secret in a projected volume", pod(projected("v", "aws-iam.app")), []string{"aws-iam.app"}},
		{"a ServiceAccount's Secret in variables", pod(initContainer("c", env("aws-iam.b"), envFrom("aws-iam.a"))), []string{"aws-iam.a", "aws-iam.b"}},
		{"a role and a ServiceAccount of one name", pod(volume("v", "aws-iam.app"), volume("w", "aws-iam-app")), []string{"aws-iam-app", "aws-iam.app"}},
		{"a role that begins with a dot, and a ServiceAccount with a hyphen", pod(volume("v", "aws-iam-.app"), volume("w", "aws-iam.-app")), []string{"aws-iam-.app", "aws-iam.-app"}},
		{"other Secrets", pod(volume("v", "tls"), projected("w", "token"), container("c", env("db"), envFrom("db"))), nil},
		{"the prefix elsewhere than at the start", pod(volume("v", "my-aws-iam-app"), volume("w", "AWS-IAM-app"), volume("x", "aws-iam"), volume("y", "aws-iam_app")), nil},
		{"other kinds of volumes and variables", pod(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{
				{Name: "aws-iam-app"},
				{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "aws-iam-app"}}}},
				{Name: "p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
					ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "aws-iam-app"},
				}}}}},
			}
			p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "aws-iam-app"}}
			p.Spec.Containers = []corev1.Container{{
				Env: []corev1.EnvVar{
					{Name: "aws-iam-app", Value: "aws-iam-app"},
					{Name: "c", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "aws-iam-app"}}}},
				},
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "aws-iam-app"}}}},
			}}
		}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, r := range request.FromPod(c.pod, mountPath) {
				got = append(got, r.Secret)
				if want := r.Role + r.ServiceAccount(); r.Secret != "aws-iam-"+want && r.Secret != "aws-iam."+want || strings.HasPrefix(r.Secret, "aws-iam.") != (r.ServiceAccount() != "") {
					t.Errorf("Secret %q is for role %q, ServiceAccount %q", r.Secret, r.Role, r.ServiceAccount())
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := request.HasRequests(c.pod); got != (len(c.want) > 0) {
				t.Errorf("HasRequests returns %t", got)
			}
		})
	}
}

// wantWarning is the reason of a Warning, and what its note must contain.
type wantWarning struct {
	reason string
	names  []string
}

func TestFromPod_Warnings(t *testing.T) {
	mismatch := func(container, at string) wantWarning {
		return wantWarning{request.MountPathMismatch, []string{`"` + container + `"`, `"aws-iam-app"`, at, mountPath}}
	}
	neverRefreshed := func(container string, more ...string) wantWarning {
		return wantWarning{request.NeverRefreshed, append(more, `"`+container+`"`, `"aws-iam-app"`)}
	}
	secretVolume := volume("v", "aws-iam-app")
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want []wantWarning
	}{
		{"mounted at the mount path", pod(secretVolume, container("c", mount("v", mountPath))), nil},
		{"mounted at the mount path with a trailing slash", pod(secretVolume, container("c", mount("v", mountPath+"/"))), nil},
		{"not mounted", pod(secretVolume, container("c")), nil},
		{"another volume mounted elsewhere", pod(secretVolume, container("c", mount("w", "/elsewhere"), subPath("w", mountPath))), nil},
		{"mounted elsewhere", pod(secretVolume, container("c", mount("v", "/elsewhere"))), []wantWarning{mismatch("c", "/elsewhere")}},
		{"mounted below the mount path", pod(secretVolume, container("c", mount("v", mountPath+"/app"))), []wantWarning{mismatch("c", mountPath+"/app")}},
		{"mounted elsewhere by an init container", pod(secretVolume, initContainer("i", mount("v", "/elsewhere")), container("c", mount("v", mountPath))), []wantWarning{mismatch("i", "/elsewhere")}},
		{"mounted elsewhere by an ephemeral container", pod(secretVolume, ephemeralContainer("e", mount("v", "/elsewhere"))), []wantWarning{mismatch("e", "/elsewhere")}},
		{"mounted elsewhere by the second container", pod(secretVolume, container("a", mount("v", mountPath)), container("b", mount("v", "/elsewhere"))), []wantWarning{mismatch("b", "/elsewhere")}},
		{"mounted elsewhere by both containers", pod(secretVolume, container("a", mount("v", "/x")), container("b", mount("v", "/y"))), []wantWarning{mismatch("a", "/x"), mismatch("b", "/y")}},
		{"one correct mount of several", pod(secretVolume, container("c", mount("v", "/elsewhere"), subPath("v", "/x"), mount("v", mountPath))), nil},
		{"projected, mounted elsewhere", pod(projected("v", "aws-iam-app"), container("c", mount("v", "/elsewhere"))), []wantWarning{mismatch("c", "/elsewhere")}},
		{"projected, mounted at the mount path", pod(projected("v", "aws-iam-app"), container("c", mount("v", mountPath))), nil},

		{"subPath", pod(secretVolume, container("c", subPath("v", mountPath+"/credentials"))), []wantWarning{neverRefreshed("c", "subPath", "the whole volume")}},
		{"subPathExpr", pod(secretVolume, container("c", func(c *corev1.Container) {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "v", MountPath: mountPath, SubPathExpr: "$(X)"})
		})), []wantWarning{neverRefreshed("c", "subPath")}},
		{"an environment variable", pod(container("c", env("aws-iam-app"))), []wantWarning{neverRefreshed("c", "environment")}},
		{"a variable and all variables of one Secret", pod(container("c", env("aws-iam-app"), envFrom("aws-iam-app"))), []wantWarning{neverRefreshed("c", "environment")}},
		{"variables of two containers", pod(container("a", env("aws-iam-app")), container("b", envFrom("aws-iam-app"))), []wantWarning{neverRefreshed("a"), neverRefreshed("b")}},
		{"a correct volume and a variable", pod(secretVolume, container("c", mount("v", mountPath), env("aws-iam-app"))), []wantWarning{neverRefreshed("c", "environment")}},

		{"optional", pod(optional(secretVolume), container("c", mount("v", mountPath))), []wantWarning{{request.OptionalSecret, []string{`"v"`, `"aws-iam-app"`}}}},
		{"optional in a projected volume", pod(optional(projected("v", "aws-iam-app"))), []wantWarning{{request.OptionalSecret, []string{`"v"`, `"aws-iam-app"`}}}},
		{"optional, and mounted elsewhere", pod(optional(secretVolume), container("c", mount("v", "/x"))), []wantWarning{{request.OptionalSecret, nil}, mismatch("c", "/x")}},

		{"items under their own names", pod(items(secretVolume, "credentials.process", "credentials.process", "credentials.json", "credentials.json"), container("c", mount("v", mountPath))), nil},
		{"items that compensate another mount path", pod(items(secretVolume, "credentials.process", "p", "credentials.json", "aws-iam/credentials.json"), container("c", mount("v", "/meta"))), nil},
		{"items that rename credentials.json", pod(items(secretVolume, "credentials.process", "config", "credentials.json", "keys.json"), container("c", mount("v", mountPath))), []wantWarning{mismatch("c", mountPath)}},
		{"items that move credentials.json", pod(items(secretVolume, "credentials.process", "config", "credentials.json", "sub/credentials.json"), container("c", mount("v", mountPath))), []wantWarning{mismatch("c", mountPath+"/sub")}},
		{"items without credentials.process", pod(items(secretVolume, "credentials.json", "x.json"), container("c", mount("v", "/elsewhere"))), nil},
		{"items without credentials.json", pod(items(secretVolume, "credentials.process", "x"), container("c", mount("v", "/elsewhere"))), nil},
		{"items with static credentials only", pod(items(secretVolume, "credentials", "credentials"), container("c", mount("v", "/root/.aws"))), nil},
		{"items of a projected volume", pod(items(projected("v", "aws-iam-app"), "credentials.process", "p", "credentials.json", "j"), container("c", mount("v", mountPath))), []wantWarning{mismatch("c", mountPath)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests := request.FromPod(c.pod, mountPath)
			if len(requests) != 1 {
				t.Fatalf("requests %v", requests)
			}
			got := requests[0].WarningsFor(request.Request{}, mountPath)
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			for i, want := range c.want {
				if got[i].Reason != want.reason {
					t.Errorf("reason is %s, want %s", got[i].Reason, want.reason)
				}
				for _, name := range want.names {
					if !strings.Contains(got[i].Note, name) {
						t.Errorf("note does not contain %s: %s", name, got[i].Note)
					}
				}
			}
		})
	}
}

func TestFromPod_WarningsBelongToTheirSecret(t *testing.T) {
	p := pod(volume("a", "aws-iam-a"), volume("b", "aws-iam-b"), container("c", mount("a", mountPath), mount("b", "/elsewhere"), env("aws-iam-c")))
	got := map[string]int{}
	for _, r := range request.FromPod(p, mountPath) {
		got[r.Secret] = len(r.WarningsFor(request.Request{}, mountPath))
		for _, w := range r.WarningsFor(request.Request{}, mountPath) {
			if !strings.Contains(w.Note, r.Secret) {
				t.Errorf("a warning of %s: %s", r.Secret, w.Note)
			}
		}
	}
	if got["aws-iam-a"] != 0 || got["aws-iam-b"] != 1 || got["aws-iam-c"] != 1 {
		t.Errorf("warnings: %v", got)
	}
}

// podOption changes a pod.
type podOption func(*corev1.Pod)

func pod(options ...podOption) *corev1.Pod {
	p := &corev1.Pod{}
	for _, option := range options {
		option(p)
	}
	return p
}

// as makes the pod one of a ServiceAccount.
func as(serviceAccount string) podOption {
	return func(p *corev1.Pod) { p.Spec.ServiceAccountName = serviceAccount }
}

func volume(name, secret string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}})
	}
}

func projected(name string, secrets ...string) podOption {
	return func(p *corev1.Pod) {
		source := &corev1.ProjectedVolumeSource{}
		for _, secret := range secrets {
			source.Sources = append(source.Sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}})
		}
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: source}})
	}
}

// optional makes the pod's one volume optional.
func optional(option podOption) podOption {
	return func(p *corev1.Pod) {
		option(p)
		yes := true
		if v := p.Spec.Volumes[0]; v.Secret != nil {
			v.Secret.Optional = &yes
		} else {
			v.Projected.Sources[0].Secret.Optional = &yes
		}
	}
}

// items adds items to the pod's one volume: key, path, key, path…
func items(option podOption, keysAndPaths ...string) podOption {
	return func(p *corev1.Pod) {
		option(p)
		var list []corev1.KeyToPath
		for pair := range slices.Chunk(keysAndPaths, 2) {
			list = append(list, corev1.KeyToPath{Key: pair[0], Path: pair[1]})
		}
		if v := p.Spec.Volumes[0]; v.Secret != nil {
			v.Secret.Items = list
		} else {
			v.Projected.Sources[0].Secret.Items = list
		}
	}
}

// containerOption changes a container.
type containerOption func(*corev1.Container)

func newContainer(name string, options []containerOption) corev1.Container {
	c := corev1.Container{Name: name}
	for _, option := range options {
		option(&c)
	}
	return c
}

func container(name string, options ...containerOption) podOption {
	return func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, newContainer(name, options)) }
}

func initContainer(name string, options ...containerOption) podOption {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, newContainer(name, options))
	}
}

func ephemeralContainer(name string, options ...containerOption) podOption {
	return func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon(newContainer(name, options)),
		})
	}
}

func mount(volume, at string) containerOption {
	return func(c *corev1.Container) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: at})
	}
}

func subPath(volume, at string) containerOption {
	return func(c *corev1.Container) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: at, SubPath: "credentials"})
	}
}

func env(secret string) containerOption {
	return func(c *corev1.Container) {
		c.Env = append(c.Env, corev1.EnvVar{Name: "X", ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}},
		}})
	}
}

func envFrom(secret string) containerOption {
	return func(c *corev1.Container) {
		c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}})
	}
}
