package request_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/request"
)

// Where a pod must have the files is decided by another object, which can change after the pod.
func TestWarningsFor_MountPath(t *testing.T) {
	const second = "/meta/second"
	secretVolume := volume("v", "aws-iam-app")
	own := pod(volume("v", "aws-iam.default"), container("c", mount("v", mountPath)))
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		// byDefault and moved are what the one MountPathMismatch contains if the Secret has the
		// default mount path, and if it has another one; without any, there is none.
		byDefault, moved []string
	}{
		{"at the default", pod(secretVolume, container("c", mount("v", mountPath))), nil, []string{"a container", `"aws-iam-app"`, `"/meta/second"`, request.MountPathAnnotation, "an AWSIAMRole of the Secret's name"}},
		{"of a ServiceAccount, at the default", own, nil, []string{request.MountPathAnnotation, `ServiceAccount "default"`}},
		{"at the other path", pod(secretVolume, container("c", mount("v", second+"/"))), []string{`container "c"`, second, mountPath, request.MountPathAnnotation}, nil},
		{"at both", pod(secretVolume, container("c", mount("v", second), mount("v", mountPath))), nil, nil},
		{"at a third", pod(secretVolume, container("c", mount("v", "/x"))), []string{`container "c"`, "/x", mountPath}, []string{`"/meta/second"`}},
		{"each container at one", pod(secretVolume, container("a", mount("v", mountPath)), container("b", mount("v", second))), []string{`container "b"`, second}, []string{"a container"}},
		{"many places and the other path", pod(secretVolume, container("c", mount("v", "/$x"), mount("v", "/a"), mount("v", "/b"), mount("v", "/c"), mount("v", second))), []string{"/$x"}, nil},
		{"items that make it the other path", pod(items(secretVolume, "credentials.process", "p", "credentials.json", "second/credentials.json"), container("c", mount("v", "/meta"))), []string{second}, nil},
		{"a renamed file", pod(items(secretVolume, "credentials.process", "p", "credentials.json", "x.json"), container("c", mount("v", second))), []string{second}, []string{`"/meta/second"`}},
		{"not mounted", pod(secretVolume, container("c")), nil, nil},
		{"without the files", pod(items(secretVolume, "credentials", "c"), container("c", mount("v", "/x"))), nil, nil},
		{"a pod that runs", pod(running, secretVolume, container("c", mount("v", mountPath))), nil, nil},
	} {
		for annotation, want := range map[string][]string{"": c.byDefault, mountPath: c.byDefault, second: c.moved} {
			t.Run(c.name+" "+annotation, func(t *testing.T) {
				checkMismatch(t, request.FromPod(c.pod, mountPath)[0].WarningsFor(request.Request{MountPath: annotation}, mountPath), want)
			})
		}
	}
}

// checkMismatch checks that there is one MountPathMismatch with these parts, or none.
func checkMismatch(t *testing.T, warnings []request.Warning, parts []string) {
	t.Helper()
	warnings = slices.DeleteFunc(warnings, func(w request.Warning) bool { return w.Reason != request.MountPathMismatch })
	if len(warnings) != min(1, len(parts)) {
		t.Fatalf("warnings are %v", warnings)
	}
	for _, part := range parts {
		if !strings.Contains(warnings[0].Note, part) {
			t.Errorf("does not contain %s: %s", part, warnings[0].Note)
		}
	}
}
