package request_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/request"
)

// envKey takes a key of a Secret into a variable.
func envKey(secret, key string, optional bool) containerOption {
	return func(c *corev1.Container) {
		ref := &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key}
		if optional {
			ref.Optional = &optional
		}
		c.Env = append(c.Env, corev1.EnvVar{Name: "KEY_" + key, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: ref}})
	}
}

func TestFromPod_MissingKeys(t *testing.T) {
	const onRequest = `iam.amazonaws.com/keys: "true"`
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		// want are parts of the one warning; if it is empty, there is none. unlessKeys is whether
		// it holds only without the keys that are there on request.
		want       []string
		unlessKeys bool
	}{
		{"a variable of a key", pod(container("c", envKey("aws-iam-app", "role-arn", false))), nil, false},
		{"a file of a key", pod(items(volume("v", "aws-iam-app"), "container.json", "x")), nil, false},
		{
			"a variable of a key that does not exist", pod(container("c", envKey("aws-iam-app", "AWS_ACCESS_KEY_ID", false))),
			[]string{`container "c"`, `"aws-iam-app"`, `"KEY_AWS_ACCESS_KEY_ID"`, "so the container does not start", `: "AWS_ACCESS_KEY_ID".`, "credentials.json", "access-key-id", onRequest, "an AWSIAMRole of the Secret's name"},
			false,
		},
		{
			"an optional variable", pod(container("c", envKey("aws-iam-app", "x", true))),
			[]string{`"KEY_x"`, "so the variable is not set"},
			false,
		},
		{
			"of an init container", pod(initContainer("i", envKey("aws-iam-app", "x", false))),
			[]string{`container "i"`, "so the container does not start"},
			false,
		},
		{
			"a key on request", pod(container("c", envKey("aws-iam.default", "session-token", false))),
			[]string{`"session-token"`, onRequest, `ServiceAccount "default"`},
			true,
		},
		{
			"a file of a key that does not exist", pod(items(volume("v", "aws-iam-app"), "credentials.json", "j", "token", "t")),
			[]string{`volume "v"`, `"aws-iam-app"`, "so the pod does not start", `: "token".`, "credentials.json"},
			false,
		},
		{
			"an optional file", pod(optional(items(volume("v", "aws-iam-app"), "token", "t"))),
			[]string{`volume "v"`, "so the file is missing"},
			false,
		},
		{
			"in a projected volume", pod(items(projected("v", "aws-iam-app"), "access-key-id", "t")),
			[]string{`volume "v"`, "so the pod does not start"},
			true,
		},
		{"of another Secret", pod(volume("v", "aws-iam-app"), container("c", envKey("db", "x", false))), nil, false},
		{"a name beyond all limits", pod(container(strings.Repeat("c", 500), envKey("aws-iam-app", strings.Repeat("k", 500), false))), []string{"kkk", "ccc"}, false},
		{"of a pod that runs", pod(running, container("c", envKey("aws-iam-app", "x", false))), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			missing := func(keys bool) (got []request.Warning) {
				for _, r := range request.FromPod(c.pod, mountPath) {
					for _, w := range r.WarningsFor(request.Request{Keys: keys}, mountPath) {
						if w.Reason == request.MissingKey {
							got = append(got, w)
						}
					}
				}
				return got
			}
			got := missing(false)
			if len(c.want) == 0 && len(got) == 0 {
				return
			}
			if len(got) != 1 || len(c.want) == 0 || (len(missing(true)) == 0) != c.unlessKeys || len(got[0].Note) > 1024 {
				t.Fatalf("warnings are %+v", got)
			}
			for _, part := range c.want {
				if !strings.Contains(got[0].Note, part) {
					t.Errorf("does not say %s: %s", part, got[0].Note)
				}
			}
		})
	}
}

func running(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }

// What keeps a pod from starting is said before what makes its credentials expire.
func TestFromPod_MissingKeysComeFirst(t *testing.T) {
	options := make([]containerOption, 0, 20)
	for range 20 {
		options = append(options, envKey("aws-iam-app", "role-arn", false))
	}
	p := pod(container("a", options...), container("b", options...), container("c", envKey("aws-iam-app", "x", false)))
	if w := request.FromPod(p, mountPath)[0].WarningsFor(request.Request{}, mountPath); w[0].Reason != request.MissingKey || w[1].Reason != request.NeverRefreshed {
		t.Errorf("warnings are %v", w)
	}
}
