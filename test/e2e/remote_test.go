package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	ststest "kube-aws-iam-controller/test/sts"
)

func TestRemoteManifests(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	o := remoteOptions{image: "example.org:5000/team/controller:v1", session: 10 * time.Minute}
	folder := filepath.Join(t.TempDir(), "manifests")
	if err := o.writeManifests(folder, filepath.Join(root, "test", "e2e", "deploy"), "http://172.18.0.1:8080"); err != nil {
		t.Fatal(err)
	}
	built, err := exec.CommandContext(t.Context(), "go", "-C", "../../hack/tools", "tool", "kustomize", "build", folder).Output() //nolint:gosec // of the test
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	var settings corev1.ConfigMap
	for document := range strings.SplitSeq(string(built), "\n---\n") {
		switch {
		case strings.Contains(document, "\nkind: Deployment\n"):
			err = yaml.Unmarshal([]byte(document), &deployment)
		case strings.Contains(document, "\nkind: ConfigMap\n"):
			err = yaml.Unmarshal([]byte(document), &settings)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	if container.Image != "example.org:5000/team/controller:v1" || container.ImagePullPolicy != corev1.PullIfNotPresent {
		t.Errorf("image is %s, pulled %s", container.Image, container.ImagePullPolicy)
	}
	if last := container.Args[len(container.Args)-1]; last != "--refresh-limit=5m0s" {
		t.Errorf("last argument is %s", last)
	}
	if !slices.Contains(container.Args, "--cluster-name=e2e") {
		t.Errorf("arguments are %v", container.Args)
	}
	if settings.Data["AWS_ENDPOINT_URL_STS"] != "http://172.18.0.1:8080" || settings.Data["AWS_REGION"] == "" {
		t.Errorf("settings are %v", settings.Data)
	}
}

func TestSplitImage(t *testing.T) {
	for image, want := range map[string][2]string{
		"controller:v1":                    {"controller", ":v1"},
		"example.org:5000/controller:v1":   {"example.org:5000/controller", ":v1"},
		"example.org/controller@sha256:ab": {"example.org/controller", "@sha256:ab"},
		"example.org:5000/controller":      {},
		"controller":                       {},
	} {
		name, tag, err := splitImage(image)
		if name != want[0] || tag != want[1] || (err == nil) != (name != "") {
			t.Errorf("%s: %q, %q, %v", image, name, tag, err)
		}
	}
}

func TestDeliveredBy(t *testing.T) {
	session := ststest.Session{AccessKeyID: "A", Issued: noon}
	for _, c := range []struct {
		name    string
		session ststest.Session
		after   time.Duration
		want    bool
	}{
		{"just issued", session, time.Second, false},
		{"after the kubelet's delay", session, kubeletDelay + time.Second, true},
		{"no session", ststest.Session{}, time.Hour, false},
	} {
		if got := deliveredBy(&c.session, noon.Add(c.after)); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestOutputLines(t *testing.T) {
	got := outputLines("ok arn:1\nWARNING: old Java\nfailed ExpiredToken\n")
	if !slices.Equal(got, []string{"ok arn:1", "failed ExpiredToken"}) {
		t.Errorf("lines are %q", got)
	}
}
