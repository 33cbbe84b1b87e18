package demand_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/demand"
)

// square is a pod with a projected volume that lists one Secret n times and is mounted at n paths.
func square(n int) *corev1.Pod {
	mounts := make([]furnish, n)
	for i := range mounts {
		mounts[i] = mount("v", fmt.Sprintf("/m%d", i))
	}
	return pod(projected("v", slices.Repeat([]string{"aws-iam-app"}, n)...), container("c", mounts...))
}

func TestFromPod_TakesEachSecretOnceForEachVolume(t *testing.T) {
	demands := demand.FromPod(square(400), mountPath)
	if len(demands) != 1 || len(demands[0].Findings) != 1 || demands[0].Findings[0].Reason != demand.MountPathMismatch {
		t.Errorf("not one Secret with one warning: %+v", demands)
	}
}

// Twice the volume and the mounts is twice the work, and not four times.
func TestFromPod_WorkIsLinear(t *testing.T) {
	work := func(build func(n int) *corev1.Pod, n int) float64 {
		p := build(n)
		return testing.AllocsPerRun(5, func() { demand.FromPod(p, mountPath) })
	}
	for says, build := range map[string]func(n int) *corev1.Pod{
		"one volume with one Secret in it many times": square,
		"many volumes of one name": func(n int) *corev1.Pod {
			p := square(n)
			for range n {
				p.Spec.Volumes = append(p.Spec.Volumes, p.Spec.Volumes[0])
				p.Spec.Volumes[0].Projected = &corev1.ProjectedVolumeSource{Sources: p.Spec.Volumes[0].Projected.Sources[:1]}
			}
			return p
		},
		"many volumes of one Secret, mounted by many containers": func(n int) *corev1.Pod {
			var parts []build
			for i := range n {
				parts = append(parts, volume(fmt.Sprint("v", i), "aws-iam-app"), container(fmt.Sprint("c", i), mount(fmt.Sprint("v", i), "/x"), env("aws-iam-app")))
			}
			return pod(parts...)
		},
	} {
		small, large := work(build, 200), work(build, 400)
		if large > 2.5*small {
			t.Errorf("%s: %.0f allocations become %.0f", says, small, large)
		}
	}
}

func TestFromPod_CapsRequests(t *testing.T) {
	var parts []build
	for i := range 70 { // the last by name come first
		parts = append(parts, volume(fmt.Sprint("v", i), fmt.Sprintf("aws-iam-%02d", 99-i)))
	}
	p := pod(append(parts, container("c", mount("v3", mountPath), env("aws-iam-98"), env("aws-iam-00")))...)
	demands := demand.FromPod(p, mountPath)
	if len(demands) != 64 || demands[0].Secret != "aws-iam-36" || demands[63].Secret != "aws-iam-99" {
		t.Fatalf("%d, from %s to %s", len(demands), demands[0].Secret, demands[len(demands)-1].Secret)
	}
	warnings := demands[63].Findings
	if len(warnings) != 1 || warnings[0].Reason != "InvalidRole" || !strings.Contains(warnings[0].Note, `"aws-iam-35"`) || !strings.Contains(warnings[0].Note, "64") {
		t.Errorf("the first Secret says %v", warnings)
	}
	if !demand.Wants(p) {
		t.Error("wants nothing")
	}
}

func TestFromPod_CapsWarningsAndSaysThatThereAreTooManySecrets(t *testing.T) {
	parts := []build{volume("v", "aws-iam-first")}
	for i := range 100 {
		parts = append(parts, volume(fmt.Sprint("v", i), fmt.Sprint("aws-iam-", i)), container(fmt.Sprint("c", i), mount("v", "/elsewhere")))
	}
	demands := demand.FromPod(pod(parts...), mountPath)
	first := demands[slices.IndexFunc(demands, func(d demand.Demand) bool { return d.Secret == "aws-iam-first" })]
	if len(first.Findings) != 8 || first.Findings[7].Reason != demand.TooManySecrets {
		t.Errorf("%d warnings: %v", len(first.Findings), first.Findings)
	}
}

func TestFromPod_WarnsOnlyPodsThatAreNew(t *testing.T) {
	p := pod(optional(volume("v", "aws-iam-app")), container("c", mount("v", "/elsewhere"), env("aws-iam-app")))
	for phase, want := range map[corev1.PodPhase]int{"": 3, corev1.PodPending: 3, corev1.PodRunning: 0, corev1.PodUnknown: 0} {
		p.Status.Phase = phase
		demands := demand.FromPod(p, mountPath)
		if len(demands) != 1 || len(demands[0].Findings) != want {
			t.Errorf("phase %q: %v", phase, demands)
		}
	}
}

func TestFromPod_CutsNamesInMessages(t *testing.T) {
	long := strings.Repeat("x", 5000)
	p := pod(items(optional(volume(long, "aws-iam-"+long)), "credentials.process", long, "credentials.json", long+"/"+long),
		container(long, mount(long, "/"+long), subPath(long, "/y"), env("aws-iam-"+long)))
	findings := demand.FromPod(p, mountPath)[0].Findings
	if len(findings) != 4 {
		t.Errorf("found %v", findings)
	}
	for _, f := range findings {
		if len(f.Note) > 512 || !strings.Contains(f.Note, "…") {
			t.Errorf("%d bytes: %s", len(f.Note), f.Note)
		}
	}
}

func TestReducePod_KeepsWhatMatters(t *testing.T) {
	for what, p := range realPods(t) {
		want := demand.FromPod(p, mountPath)
		before := p.Size()
		p.Namespace, p.Name, p.UID, p.ResourceVersion, p.Spec.ServiceAccountName = "n", "p", "u", "7", "s"
		demand.ReducePod(p)
		if got := demand.FromPod(p, mountPath); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: asks for %v and not %v", what, got, want)
		}
		if p.Namespace != "n" || p.Name != "p" || p.UID != "u" || p.ResourceVersion != "7" || p.Spec.ServiceAccountName != "s" {
			t.Errorf("%s: lost its identity: %+v", what, p.ObjectMeta)
		}
		if after := p.Size(); after > before/4 {
			t.Errorf("%s: %d bytes are still %d", what, before, after)
		}
	}
}

// Sources of one volume are judged together, as the kubelet does.
func TestFromPod_MergesTheSourcesOfAVolume(t *testing.T) {
	p := pod(projected("v", "aws-iam-app", "aws-iam-app"), container("c", mount("v", mountPath)))
	sources := p.Spec.Volumes[0].Projected.Sources
	yes := true
	sources[0].Secret.Items = []corev1.KeyToPath{{Key: demand.ProcessFile, Path: "p"}}
	sources[0].Secret.Optional = &yes
	sources[1].Secret.Items = []corev1.KeyToPath{{Key: demand.JSONFile, Path: "elsewhere/credentials.json"}}
	findings := demand.FromPod(p, mountPath)[0].Findings
	if len(findings) != 1 || findings[0].Reason != demand.MountPathMismatch || !strings.Contains(findings[0].Note, mountPath+"/elsewhere") {
		t.Errorf("found %v", findings)
	}
}

// awsIAMRole has labels of a size, in bytes.
func awsIAMRole(labels int) *v1.AWSIAMRole {
	r := &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r", UID: "u", ResourceVersion: "1", Generation: 2}}
	r.Spec.RoleReference = "app"
	r.Annotations = map[string]string{"a": "b"}
	r.Finalizers = []string{"example.org/f"}
	r.Labels = map[string]string{}
	for ; labels >= 16; labels -= 16 {
		r.Labels[fmt.Sprintf("label-%06d", labels)] = "size"
	}
	if labels > 0 {
		r.Labels["l"] = strings.Repeat("x", labels-1)
	}
	return r
}

func TestReduceAWSIAMRole_KeepsWhatIsUsed(t *testing.T) {
	r := awsIAMRole(4096)
	labels := maps.Clone(r.Labels)
	for _, c := range []string{"Ready", "Other", "Authorized", "Ready"} {
		r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{Type: c, Message: strings.Repeat("m", 5000)})
	}
	for range 2 { // a transform must be idempotent
		demand.ReduceAWSIAMRole(r)
		if r.Namespace != "n" || r.Name != "r" || r.UID != "u" || r.ResourceVersion != "1" || r.Generation != 2 || r.Spec.RoleReference != "app" || !maps.Equal(r.Labels, labels) {
			t.Errorf("lost something: %+v", r.ObjectMeta)
		}
		if len(r.Annotations) > 0 || len(r.Finalizers) > 0 {
			t.Errorf("keeps too much: %+v", r.ObjectMeta)
		}
		if c := r.Status.Conditions; len(c) != 2 || c[0].Type != "Ready" || c[1].Type != "Authorized" || len(c[0].Message) != demand.MaxConditionMessage {
			t.Errorf("conditions: %+v", c)
		}
		if err := demand.FromAWSIAMRole(r).Check(); err != nil {
			t.Errorf("refused: %v", err)
		}
	}
}

func TestReduceAWSIAMRole_RefusesManyLabels(t *testing.T) {
	r := awsIAMRole(4097)
	for range 2 {
		demand.ReduceAWSIAMRole(r)
		err := demand.FromAWSIAMRole(r).Check()
		if len(r.Labels) > 0 || err == nil || !strings.Contains(err.Error(), "4097") || !strings.Contains(err.Error(), "4096") {
			t.Errorf("%d labels, %v", len(r.Labels), err)
		}
	}
	if err := demand.FromAWSIAMRole(awsIAMRole(4097)).Check(); err == nil {
		t.Error("accepted when it was not reduced")
	}
}

func TestReduceAWSIAMRole_ALongReferenceIsNoRole(t *testing.T) {
	r := awsIAMRole(0)
	r.Spec.RoleReference = strings.Repeat("a", 641)
	demand.ReduceAWSIAMRole(r)
	if len(r.Spec.RoleReference) > 640 || !strings.HasSuffix(r.Spec.RoleReference, "…") {
		t.Errorf("%d bytes: %s", len(r.Spec.RoleReference), r.Spec.RoleReference)
	}
}
