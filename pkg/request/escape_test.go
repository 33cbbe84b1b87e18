package request_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/request"
)

// TestSecretFor reads the table that the policies of config/injection and config/admission are
// tested with, too.
func TestSecretFor(t *testing.T) {
	file, err := os.ReadFile("testdata/role_references.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Show, Base, Reference, Secret string }
	if err := json.Unmarshal(file, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Show, func(t *testing.T) {
			reference := strings.TrimPrefix(c.Reference, c.Base)
			secret, err := request.SecretFor(reference)
			if secret != c.Secret || (err == nil) != (c.Secret != "") {
				t.Fatalf("SecretFor(%q) = %q, %v, want %q", reference, secret, err, c.Secret)
			}
			if secret != "" {
				wantRequestFor(t, secret, strings.TrimPrefix(reference, "/"))
			}
		})
	}
}

// wantRequestFor requires that a pod with the Secret asks for the role.
func wantRequestFor(t *testing.T, secret, role string) {
	t.Helper()
	requests := request.FromPod(podWithVolume(secret), "/meta/aws-iam")
	if len(requests) != 1 || requests[0].Secret != secret || requests[0].Role != role {
		t.Fatalf("a pod with Secret %s has the requests %+v, want one for role %q", secret, requests, role)
	}
	if err := requests[0].Validate(); err != nil {
		t.Fatalf("the request for Secret %s: %v", secret, err)
	}
}

func podWithVolume(secret string) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{
		Name:         "aws-iam",
		VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}},
	}}}}
}

func TestFromPod_RejectsEscapesThatNameNoRole(t *testing.T) {
	for _, c := range []struct{ name, secret string }{
		{"nothing between the zeros", "aws-role.00"},
		{"one zero", "aws-role.0"},
		{"no zero in front", "aws-role.app0"},
		{"no zero at the end", "aws-role.0app"},
		{"an escape of no character", "aws-role.0-80"},
		{"an escape that is cut off", "aws-role.0app-0"},
		{"a dot", "aws-role.0a.b0"},
		{"upper case", "aws-role.0App0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests := request.FromPod(podWithVolume(c.secret), "/meta/aws-iam")
			if len(requests) != 1 || requests[0].Role != "" {
				t.Fatalf("requests are %+v, want one without a role", requests)
			}
			err := requests[0].Validate()
			if err == nil || !strings.Contains(err.Error(), c.secret) {
				t.Errorf("Validate = %v, want an error that names the Secret", err)
			}
		})
	}
}

// FuzzSecretFor checks that each valid role has one Secret, which stands for that role alone.
func FuzzSecretFor(f *testing.F) {
	for _, seed := range []string{"app", "Stack-OrdersRole-1AB2C3", "a--b", "-a-0", "team/App", "arn:aws:iam::123456789012:role/a.b", "a\n", "-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reference string) {
		secret, err := request.SecretFor(reference)
		if err == nil {
			wantRequestFor(t, secret, strings.TrimPrefix(reference, "/"))
		}
	})
}

// FuzzEscapedSecret checks that no two names of Secrets stand for one role but aws-iam-<role> and
// its escape, so that a name cannot hide a role from who reviews it.
func FuzzEscapedSecret(f *testing.F) {
	for _, seed := range []string{"app", "-stack---orders-role--1-a-b2-c3", "-", "--", "---", "a-8", "-6a", "arn-7aws-7iam-7-7123456789012-7role-6app"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		name := "aws-role.0" + escaped + "0"
		requests := request.FromPod(podWithVolume(name), "/meta/aws-iam")
		if len(requests) != 1 || requests[0].Role == "" || requests[0].Validate() != nil {
			return
		}
		role := requests[0].Role
		secret, err := request.SecretFor(role)
		if err == nil && secret != name && secret != "aws-iam-"+role {
			t.Errorf("Secrets %s and %s both stand for role %s", name, secret, role)
		}
	})
}
