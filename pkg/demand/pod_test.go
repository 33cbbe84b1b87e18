package demand_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/demand"
)

const mountPath = "/meta/aws-iam"

func TestFromPod(t *testing.T) {
	for _, c := range []struct {
		says string
		pod  *corev1.Pod
		want []string // secrets
	}{
		{"an empty pod wants nothing", pod(), nil},
		{"a volume", pod(volume("v", "aws-iam-app")), []string{"aws-iam-app"}},
		{"a volume that no container mounts", pod(volume("v", "aws-iam-app"), container("c")), []string{"aws-iam-app"}},
		{"a projected volume", pod(projected("v", "aws-iam-app")), []string{"aws-iam-app"}},
		{"several in one projected volume", pod(projected("v", "other", "aws-iam-b", "aws-iam-a")), []string{"aws-iam-a", "aws-iam-b"}},
		{"several volumes, in the order of their names", pod(volume("x", "aws-iam-c"), projected("y", "aws-iam-b"), volume("z", "aws-iam-a")), []string{"aws-iam-a", "aws-iam-b", "aws-iam-c"}},
		{"one Secret in many places counts once", pod(volume("x", "aws-iam-a"), projected("y", "aws-iam-a"), container("c", env("aws-iam-a"), envFrom("aws-iam-a"))), []string{"aws-iam-a"}},
		{"a variable", pod(container("c", env("aws-iam-app"))), []string{"aws-iam-app"}},
		{"all variables", pod(container("c", envFrom("aws-iam-app"))), []string{"aws-iam-app"}},
		{"an init container", pod(initContainer("c", env("aws-iam-app"))), []string{"aws-iam-app"}},
		{"an ephemeral container", pod(ephemeralContainer("c", envFrom("aws-iam-app"))), []string{"aws-iam-app"}},
		{"a role with dots", pod(volume("v", "aws-iam-a.b")), []string{"aws-iam-a.b"}},
		{"a role that looks like the prefix", pod(volume("v", "aws-iam-aws-iam-")), []string{"aws-iam-aws-iam-"}},
		{"the prefix alone is a wish that cannot be granted", pod(volume("v", "aws-iam-")), []string{"aws-iam-"}},
		{"other Secrets", pod(volume("v", "tls"), projected("w", "token"), container("c", env("db"), envFrom("db"))), nil},
		{"the prefix elsewhere than at the start", pod(volume("v", "my-aws-iam-app"), volume("w", "AWS-IAM-app"), volume("x", "aws-iam")), nil},
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
		t.Run(c.says, func(t *testing.T) {
			var got []string
			for _, d := range demand.FromPod(c.pod, mountPath) {
				got = append(got, d.Secret)
				if d.Role != strings.TrimPrefix(d.Secret, "aws-iam-") {
					t.Errorf("Secret %q is for role %q", d.Secret, d.Role)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("wants %q, want %q", got, c.want)
			}
			if wants := demand.Wants(c.pod); wants != (len(c.want) > 0) {
				t.Errorf("Wants says %t", wants)
			}
		})
	}
}

// finding is a reason, and what the note must name.
type finding struct {
	reason string
	names  []string
}

func TestFindings(t *testing.T) {
	mismatch := func(container, at string) finding {
		return finding{demand.MountPathMismatch, []string{`"` + container + `"`, `"aws-iam-app"`, at, mountPath}}
	}
	neverRefreshed := func(container string, more ...string) finding {
		return finding{demand.NeverRefreshed, append(more, `"`+container+`"`, `"aws-iam-app"`)}
	}
	secretVolume := volume("v", "aws-iam-app")
	for _, c := range []struct {
		says string
		pod  *corev1.Pod
		want []finding
	}{
		{"mounted where it belongs", pod(secretVolume, container("c", mount("v", mountPath))), nil},
		{"a slash at the end is nothing", pod(secretVolume, container("c", mount("v", mountPath+"/"))), nil},
		{"mounted by none", pod(secretVolume, container("c")), nil},
		{"another volume's mount is not looked at", pod(secretVolume, container("c", mount("w", "/elsewhere"), subPath("w", mountPath))), nil},
		{"mounted elsewhere", pod(secretVolume, container("c", mount("v", "/elsewhere"))), []finding{mismatch("c", "/elsewhere")}},
		{"mounted below", pod(secretVolume, container("c", mount("v", mountPath+"/app"))), []finding{mismatch("c", mountPath+"/app")}},
		{"mounted elsewhere by an init container", pod(secretVolume, initContainer("i", mount("v", "/elsewhere")), container("c", mount("v", mountPath))), []finding{mismatch("i", "/elsewhere")}},
		{"mounted elsewhere by an ephemeral container", pod(secretVolume, ephemeralContainer("e", mount("v", "/elsewhere"))), []finding{mismatch("e", "/elsewhere")}},
		{"mounted elsewhere by the second container", pod(secretVolume, container("a", mount("v", mountPath)), container("b", mount("v", "/elsewhere"))), []finding{mismatch("b", "/elsewhere")}},
		{"mounted elsewhere by both containers", pod(secretVolume, container("a", mount("v", "/x")), container("b", mount("v", "/y"))), []finding{mismatch("a", "/x"), mismatch("b", "/y")}},
		{"one good mount makes another one the container's own business", pod(secretVolume, container("c", mount("v", "/elsewhere"), subPath("v", "/x"), mount("v", mountPath))), nil},
		{"projected, mounted elsewhere", pod(projected("v", "aws-iam-app"), container("c", mount("v", "/elsewhere"))), []finding{mismatch("c", "/elsewhere")}},
		{"projected, mounted where it belongs", pod(projected("v", "aws-iam-app"), container("c", mount("v", mountPath))), nil},

		{"subPath", pod(secretVolume, container("c", subPath("v", mountPath+"/credentials"))), []finding{neverRefreshed("c", "subPath", mountPath)}},
		{"subPathExpr", pod(secretVolume, container("c", func(c *corev1.Container) {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "v", MountPath: mountPath, SubPathExpr: "$(X)"})
		})), []finding{neverRefreshed("c", "subPath")}},
		{"a variable", pod(container("c", env("aws-iam-app"))), []finding{neverRefreshed("c", "environment")}},
		{"a variable and all of one Secret are one finding", pod(container("c", env("aws-iam-app"), envFrom("aws-iam-app"))), []finding{neverRefreshed("c", "environment")}},
		{"variables of two containers are two", pod(container("a", env("aws-iam-app")), container("b", envFrom("aws-iam-app"))), []finding{neverRefreshed("a"), neverRefreshed("b")}},
		{"a volume as it should be does not excuse a variable", pod(secretVolume, container("c", mount("v", mountPath), env("aws-iam-app"))), []finding{neverRefreshed("c", "environment")}},

		{"optional", pod(optional(secretVolume), container("c", mount("v", mountPath))), []finding{{demand.OptionalSecret, []string{`"v"`, `"aws-iam-app"`}}}},
		{"optional in a projected volume", pod(optional(projected("v", "aws-iam-app"))), []finding{{demand.OptionalSecret, []string{`"v"`, `"aws-iam-app"`}}}},
		{"optional, and mounted elsewhere", pod(optional(secretVolume), container("c", mount("v", "/x"))), []finding{{demand.OptionalSecret, nil}, mismatch("c", "/x")}},

		{"items under their own names", pod(items(secretVolume, "credentials.process", "credentials.process", "credentials.json", "credentials.json"), container("c", mount("v", mountPath))), nil},
		{"items that bring a file back to its place", pod(items(secretVolume, "credentials.process", "p", "credentials.json", "aws-iam/credentials.json"), container("c", mount("v", "/meta"))), nil},
		{"items that rename the file that is looked for", pod(items(secretVolume, "credentials.process", "config", "credentials.json", "keys.json"), container("c", mount("v", mountPath))), []finding{mismatch("c", mountPath)}},
		{"items that move the file that is looked for", pod(items(secretVolume, "credentials.process", "config", "credentials.json", "sub/credentials.json"), container("c", mount("v", mountPath))), []finding{mismatch("c", mountPath+"/sub")}},
		{"items without credentials.process serve another purpose", pod(items(secretVolume, "credentials.json", "x.json"), container("c", mount("v", "/elsewhere"))), nil},
		{"items without credentials.json serve another purpose", pod(items(secretVolume, "credentials.process", "x"), container("c", mount("v", "/elsewhere"))), nil},
		{"static keys alone can lie anywhere", pod(items(secretVolume, "credentials", "credentials"), container("c", mount("v", "/root/.aws"))), nil},
		{"items of a projected volume", pod(items(projected("v", "aws-iam-app"), "credentials.process", "p", "credentials.json", "j"), container("c", mount("v", mountPath))), []finding{mismatch("c", mountPath)}},
	} {
		t.Run(c.says, func(t *testing.T) {
			demands := demand.FromPod(c.pod, mountPath)
			if len(demands) != 1 {
				t.Fatalf("wants %v", demands)
			}
			got := demands[0].Findings
			if len(got) != len(c.want) {
				t.Fatalf("found %v, want %v", got, c.want)
			}
			for i, want := range c.want {
				if got[i].Reason != want.reason {
					t.Errorf("reason is %s, want %s", got[i].Reason, want.reason)
				}
				for _, name := range want.names {
					if !strings.Contains(got[i].Note, name) {
						t.Errorf("note does not name %s: %s", name, got[i].Note)
					}
				}
			}
		})
	}
}

func TestFindingsBelongToTheirSecret(t *testing.T) {
	p := pod(volume("a", "aws-iam-a"), volume("b", "aws-iam-b"), container("c", mount("a", mountPath), mount("b", "/elsewhere"), env("aws-iam-c")))
	got := map[string]int{}
	for _, d := range demand.FromPod(p, mountPath) {
		got[d.Secret] = len(d.Findings)
		for _, f := range d.Findings {
			if !strings.Contains(f.Note, d.Secret) {
				t.Errorf("a finding of %s says: %s", d.Secret, f.Note)
			}
		}
	}
	if got["aws-iam-a"] != 0 || got["aws-iam-b"] != 1 || got["aws-iam-c"] != 1 {
		t.Errorf("found %v", got)
	}
}

// build is a part of a pod.
type build func(*corev1.Pod)

func pod(parts ...build) *corev1.Pod {
	p := &corev1.Pod{}
	for _, part := range parts {
		part(p)
	}
	return p
}

func volume(name, secret string) build {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}})
	}
}

func projected(name string, secrets ...string) build {
	return func(p *corev1.Pod) {
		source := &corev1.ProjectedVolumeSource{}
		for _, secret := range secrets {
			source.Sources = append(source.Sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}})
		}
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: source}})
	}
}

// optional makes the one volume of part optional.
func optional(part build) build {
	return func(p *corev1.Pod) {
		part(p)
		yes := true
		if v := p.Spec.Volumes[0]; v.Secret != nil {
			v.Secret.Optional = &yes
		} else {
			v.Projected.Sources[0].Secret.Optional = &yes
		}
	}
}

// items puts keys of the one volume of part at paths: key, path, key, path…
func items(part build, keyed ...string) build {
	return func(p *corev1.Pod) {
		part(p)
		var list []corev1.KeyToPath
		for pair := range slices.Chunk(keyed, 2) {
			list = append(list, corev1.KeyToPath{Key: pair[0], Path: pair[1]})
		}
		if v := p.Spec.Volumes[0]; v.Secret != nil {
			v.Secret.Items = list
		} else {
			v.Projected.Sources[0].Secret.Items = list
		}
	}
}

// furnish is a part of a container.
type furnish func(*corev1.Container)

func furnished(name string, parts []furnish) corev1.Container {
	c := corev1.Container{Name: name}
	for _, part := range parts {
		part(&c)
	}
	return c
}

func container(name string, parts ...furnish) build {
	return func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, furnished(name, parts)) }
}

func initContainer(name string, parts ...furnish) build {
	return func(p *corev1.Pod) { p.Spec.InitContainers = append(p.Spec.InitContainers, furnished(name, parts)) }
}

func ephemeralContainer(name string, parts ...furnish) build {
	return func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon(furnished(name, parts)),
		})
	}
}

func mount(volume, at string) furnish {
	return func(c *corev1.Container) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: at})
	}
}

func subPath(volume, at string) furnish {
	return func(c *corev1.Container) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: at, SubPath: "credentials"})
	}
}

func env(secret string) furnish {
	return func(c *corev1.Container) {
		c.Env = append(c.Env, corev1.EnvVar{Name: "X", ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}},
		}})
	}
}

func envFrom(secret string) furnish {
	return func(c *corev1.Container) {
		c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}})
	}
}
