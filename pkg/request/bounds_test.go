package request_test

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
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret/keys"
)

// podWithRepeats returns a pod with a projected volume that lists one Secret n times and is mounted
// at n paths.
func podWithRepeats(n int) *corev1.Pod {
	mounts := make([]containerOption, n)
	for i := range mounts {
		mounts[i] = mount("v", fmt.Sprintf("/m%d", i))
	}
	return pod(projected("v", slices.Repeat([]string{"aws-iam-app"}, n)...), container("c", mounts...))
}

func TestFromPod_MergesRepeatedSources(t *testing.T) {
	requests := request.FromPod(podWithRepeats(400), mountPath)
	if len(requests) != 1 || len(requests[0].WarningsFor(request.Request{}, mountPath)) != 1 || requests[0].WarningsFor(request.Request{}, mountPath)[0].Reason != request.MountPathMismatch {
		t.Errorf("not one Secret with one warning: %+v", requests)
	}
}

// Twice the volumes and the mounts take twice the allocations, not four times.
func TestFromPod_WorkIsLinear(t *testing.T) {
	work := func(build func(n int) *corev1.Pod, n int) float64 {
		p := build(n)
		return testing.AllocsPerRun(5, func() { request.FromPod(p, mountPath) })
	}
	for name, build := range map[string]func(n int) *corev1.Pod{
		"one volume with one Secret in it many times": podWithRepeats,
		"many volumes of one name": func(n int) *corev1.Pod {
			p := podWithRepeats(n)
			for range n {
				p.Spec.Volumes = append(p.Spec.Volumes, p.Spec.Volumes[0])
				p.Spec.Volumes[0].Projected = &corev1.ProjectedVolumeSource{Sources: p.Spec.Volumes[0].Projected.Sources[:1]}
			}
			return p
		},
		"many volumes of one Secret, mounted by many containers": func(n int) *corev1.Pod {
			var options []podOption
			for i := range n {
				options = append(options, volume(fmt.Sprint("v", i), "aws-iam-app"), container(fmt.Sprint("c", i), mount(fmt.Sprint("v", i), "/x"), env("aws-iam-app")))
			}
			return pod(options...)
		},
	} {
		small, large := work(build, 200), work(build, 400)
		if large > 2.5*small {
			t.Errorf("%s: %.0f allocations become %.0f", name, small, large)
		}
	}
}

func TestFromPod_LimitsRequests(t *testing.T) {
	var options []podOption
	for i := range 70 { // the last by name come first
		options = append(options, volume(fmt.Sprint("v", i), fmt.Sprintf("aws-iam-%02d", 99-i)))
	}
	p := pod(append(options, container("c", mount("v3", mountPath), env("aws-iam-98"), env("aws-iam-00")))...)
	requests := request.FromPod(p, mountPath)
	if len(requests) != 64 || requests[0].Secret != "aws-iam-36" || requests[63].Secret != "aws-iam-99" {
		t.Fatalf("%d, from %s to %s", len(requests), requests[0].Secret, requests[len(requests)-1].Secret)
	}
	warnings := requests[63].WarningsFor(request.Request{}, mountPath)
	if len(warnings) != 1 || warnings[0].Reason != "InvalidRole" || !strings.Contains(warnings[0].Note, `"aws-iam-35"`) || !strings.Contains(warnings[0].Note, "64") {
		t.Errorf("warnings of the first Secret: %v", warnings)
	}
	if !request.HasRequests(p) {
		t.Error("has no requests")
	}
}

func TestFromPod_LimitsWarningsAndWarnsOfTooManySecrets(t *testing.T) {
	options := []podOption{volume("v", "aws-iam-first")}
	for i := range 100 {
		options = append(options, volume(fmt.Sprint("v", i), fmt.Sprint("aws-iam-", i)), container(fmt.Sprint("c", i), mount("v", "/elsewhere")))
	}
	requests := request.FromPod(pod(options...), mountPath)
	first := requests[slices.IndexFunc(requests, func(r request.Request) bool { return r.Secret == "aws-iam-first" })]
	if len(first.WarningsFor(request.Request{}, mountPath)) != 8 || first.WarningsFor(request.Request{}, mountPath)[7].Reason != request.InvalidRole {
		t.Errorf("%d warnings: %v", len(first.WarningsFor(request.Request{}, mountPath)), first.WarningsFor(request.Request{}, mountPath))
	}
}

func TestFromPod_WarnsOnlyAboutPendingPods(t *testing.T) {
	p := pod(optional(volume("v", "aws-iam-app")), container("c", mount("v", "/elsewhere"), env("aws-iam-app")))
	for phase, want := range map[corev1.PodPhase]int{"": 3, corev1.PodPending: 3, corev1.PodRunning: 0, corev1.PodUnknown: 0} {
		p.Status.Phase = phase
		requests := request.FromPod(p, mountPath)
		if len(requests) != 1 || len(requests[0].WarningsFor(request.Request{}, mountPath)) != want {
			t.Errorf("phase %q: %v", phase, requests)
		}
	}
}

func TestFromPod_CutsNamesInMessages(t *testing.T) {
	long := strings.Repeat("x", 5000)
	p := pod(items(optional(volume(long, "aws-iam-"+long)), "credentials.process", long, "credentials.json", long+"/"+long),
		container(long, mount(long, "/"+long), subPath(long, "/y"), env("aws-iam-"+long)))
	warnings := request.FromPod(p, mountPath)[0].WarningsFor(request.Request{}, mountPath)
	if len(warnings) != 4 {
		t.Errorf("warnings: %v", warnings)
	}
	for _, w := range warnings {
		if len(w.Note) > 512 || !strings.Contains(w.Note, "…") {
			t.Errorf("%d bytes: %s", len(w.Note), w.Note)
		}
	}
}

func TestReducePod_KeepsRequestsAndIdentity(t *testing.T) {
	for what, p := range realPods(t) {
		p.Namespace, p.Name, p.UID, p.ResourceVersion, p.Spec.ServiceAccountName = "n", "p", "u", "7", "s"
		want := request.FromPod(p, mountPath)
		before := p.Size()
		request.ReducePod(p)
		if got := request.FromPod(p, mountPath); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: requests %v, not %v", what, got, want)
		}
		if p.Namespace != "n" || p.Name != "p" || p.UID != "u" || p.ResourceVersion != "7" || p.Spec.ServiceAccountName != "s" {
			t.Errorf("%s: lost its identity: %+v", what, p.ObjectMeta)
		}
		if after := p.Size(); after > before/4 {
			t.Errorf("%s: %d bytes are still %d", what, before, after)
		}
	}
}

// The kubelet merges the sources of one volume.
func TestFromPod_MergesTheSourcesOfAVolume(t *testing.T) {
	p := pod(projected("v", "aws-iam-app", "aws-iam-app"), container("c", mount("v", mountPath)))
	sources := p.Spec.Volumes[0].Projected.Sources
	yes := true
	sources[0].Secret.Items = []corev1.KeyToPath{{Key: keys.CredentialsProcess, Path: "p"}}
	sources[0].Secret.Optional = &yes
	sources[1].Secret.Items = []corev1.KeyToPath{{Key: keys.CredentialsJSON, Path: "elsewhere/credentials.json"}}
	warnings := request.FromPod(p, mountPath)[0].WarningsFor(request.Request{}, mountPath)
	if len(warnings) != 1 || warnings[0].Reason != request.MountPathMismatch || !strings.Contains(warnings[0].Note, mountPath+"/elsewhere") {
		t.Errorf("warnings: %v", warnings)
	}
}

// awsIAMRole returns an AWSIAMRole with labels of that size, in bytes.
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

func TestReduceAWSIAMRole_KeepsOnlyUsedFields(t *testing.T) {
	r := awsIAMRole(4096)
	labels := maps.Clone(r.Labels)
	for _, c := range []string{"Ready", "Other", "Authorized", "Ready"} {
		r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{Type: c, Message: strings.Repeat("m", 5000)})
	}
	for range 2 { // a transform must be idempotent
		request.ReduceAWSIAMRole(r)
		if r.Namespace != "n" || r.Name != "r" || r.UID != "u" || r.ResourceVersion != "1" || r.Generation != 2 || r.Spec.RoleReference != "app" || !maps.Equal(r.Labels, labels) {
			t.Errorf("lost something: %+v", r.ObjectMeta)
		}
		if len(r.Annotations) > 0 || len(r.Finalizers) > 0 {
			t.Errorf("keeps too much: %+v", r.ObjectMeta)
		}
		if c := r.Status.Conditions; len(c) != 2 || c[0].Type != "Ready" || c[1].Type != "Authorized" || len(c[0].Message) != request.MaxConditionMessage {
			t.Errorf("conditions: %+v", c)
		}
		if err := request.FromAWSIAMRole(r).Validate(); err != nil {
			t.Errorf("rejected: %v", err)
		}
	}
}

// The annotations about the content of the Secret stay, up to a limit, whether or not labels are
// dropped.
func TestReduceAWSIAMRole_Annotations(t *testing.T) {
	for _, c := range []struct {
		annotation, value string
		want              request.Request
		problem           string // what the error contains; if it is empty, the annotation is valid
	}{
		{request.KeysAnnotation, "", request.Request{}, ""},
		{request.KeysAnnotation, "true", request.Request{Keys: true}, ""},
		{request.KeysAnnotation, "false", request.Request{}, ""},
		{request.KeysAnnotation, "yes", request.Request{}, `iam.amazonaws.com/keys is "yes": write "true" or "false"`},
		{request.KeysAnnotation, strings.Repeat("x", 5000), request.Request{}, "iam.amazonaws.com/keys"},
		{request.MountPathAnnotation, "/meta/second", request.Request{MountPath: "/meta/second"}, ""},
		{request.MountPathAnnotation, "/", request.Request{}, `iam.amazonaws.com/mount-path is "/", not an absolute path`},
		{request.MountPathAnnotation, "/" + strings.Repeat("x", 5000), request.Request{}, "iam.amazonaws.com/mount-path"},
	} {
		for _, labels := range []int{0, 4097} {
			r := awsIAMRole(labels)
			r.Annotations[c.annotation] = c.value
			for range 3 { // before it is reduced, after it, and again
				asked := request.FromAWSIAMRole(r)
				err := asked.Validate()
				if labels == 0 && (asked.Keys != c.want.Keys || asked.MountPath != c.want.MountPath || (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem)) {
					t.Errorf("%s %.10q: %+v, %v", c.annotation, c.value, asked, err)
				}
				if labels > 0 && (err == nil || !strings.Contains(err.Error(), "4097")) {
					t.Errorf("%s %.10q with %d bytes of labels: %v", c.annotation, c.value, labels, err)
				}
				request.ReduceAWSIAMRole(r)
				if len(r.Annotations[c.annotation]) > 1024 || r.Annotations["a"] != "" {
					t.Errorf("%s %.10q: annotations %v", c.annotation, c.value, r.Annotations)
				}
			}
		}
	}
}

func TestReduceAWSIAMRole_DropsLabelsOverTheLimit(t *testing.T) {
	r := awsIAMRole(4097)
	for range 2 {
		request.ReduceAWSIAMRole(r)
		err := request.FromAWSIAMRole(r).Validate()
		if len(r.Labels) > 0 || err == nil || !strings.Contains(err.Error(), "4097") || !strings.Contains(err.Error(), "4096") {
			t.Errorf("%d labels, %v", len(r.Labels), err)
		}
	}
	if err := request.FromAWSIAMRole(awsIAMRole(4097)).Validate(); err == nil {
		t.Error("accepted before it is reduced")
	}
}

func TestReduceAWSIAMRole_CutsLongReference(t *testing.T) {
	r := awsIAMRole(0)
	r.Spec.RoleReference = strings.Repeat("a", 641)
	request.ReduceAWSIAMRole(r)
	if len(r.Spec.RoleReference) > 640 || !strings.HasSuffix(r.Spec.RoleReference, "…") {
		t.Errorf("%d bytes: %s", len(r.Spec.RoleReference), r.Spec.RoleReference)
	}
}
