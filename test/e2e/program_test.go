package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// build writes files as a build.sh of test/sdk does, and returns the folder of all programs.
func build(t *testing.T, files map[string]string) (folders string) {
	t.Helper()
	folders = t.TempDir()
	if err := os.Mkdir(filepath.Join(folders, "any"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folders, "any", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folders
}

// anyImages are those of a cluster.
var anyImages = images{toolbox: "toolbox", bare: "bare"}

// read returns the programs of a folder that build made, which are two unless it says so.
func read(t *testing.T, files map[string]string, want int) []program {
	t.Helper()
	files["sdk"] = "Any SDK\n1.2.3\n"
	found, err := readProgram(build(t, files), "any", anyImages)
	if err != nil || len(found) != want {
		t.Fatalf("%v, %+v", err, found)
	}
	return found
}

func TestReadProgram_OfFiles(t *testing.T) {
	p := read(t, map[string]string{}, 2)[0]
	if p.title != "Any SDK" || p.version != "1.2.3" || p.file() != "credentials.process" || p.asks != byVolume {
		t.Errorf("%+v", p)
	}
	p = read(t, map[string]string{
		"env": "AWS_CONFIG_FILE=/meta/aws-iam/config\nAWS_SDK_LOAD_CONFIG=1\n", "mounts": "/usr\n\n/lib\n", "from": "file\n",
	}, 1)[0]
	if p.file() != "config" || !slices.Equal(p.mounts, []string{"/usr", "/lib"}) {
		t.Errorf("%+v", p)
	}
}

func TestReadProgram_OfTheEndpoint(t *testing.T) {
	p := read(t, map[string]string{"env": "AWS_CONFIG_FILE=/meta/aws-iam/config\n", "mounts": "/usr\n"}, 2)[1]
	if p.name != "any-endpoint" || !p.endpoint || p.asks != byAnnotation || p.file() != "" ||
		p.image != "toolbox" || !slices.Equal(p.command, []string{"/sdk/run"}) || !slices.Equal(p.mounts, []string{"/usr"}) {
		t.Errorf("%+v", p)
	}
	p = read(t, map[string]string{"mounts": "/usr\n", "command": "/bin/any\nargument\n", "needs": "/lib/any.so\n", "from": "endpoint\n"}, 1)[0]
	if p.image != "bare" || !slices.Equal(p.command, []string{"/bin/any", "argument"}) || !slices.Equal(p.mounts, []string{"/lib/any.so"}) {
		t.Errorf("%+v", p)
	}
}

func TestReadProgram_Incomplete(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no name": {}, "no version": {"sdk": "Any SDK\n"}, "from elsewhere": {"sdk": "Any SDK\n1.2.3\n", "from": "disk\n"},
	} {
		if _, err := readProgram(build(t, files), "any", anyImages); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReadPrograms(t *testing.T) {
	folders := build(t, map[string]string{"sdk": "Any SDK\n1.2.3\n"})
	if found, err := readPrograms(folders, anyImages); err != nil || len(found) != 2 || found[0].name != "any" {
		t.Errorf("%v, %+v", err, found)
	}
	if err := os.Mkdir(filepath.Join(folders, "broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := readPrograms(folders, anyImages); err == nil {
		t.Error("no error for a folder without a program")
	}
}

func TestPod_HasTheDocumentedEnvironmentAndNoRights(t *testing.T) {
	p := read(t, map[string]string{"mounts": "/usr\n"}, 2)[0]
	pod := p.pod("app", "aws-iam-app", "http://10.88.0.1")
	variables := map[string]string{}
	for _, e := range pod.Spec.Containers[0].Env {
		variables[e.Name] = e.Value
	}
	if variables["AWS_SHARED_CREDENTIALS_FILE"] != "/meta/aws-iam/credentials.process" ||
		variables["AWS_EC2_METADATA_DISABLED"] != "true" || variables["AWS_ACCESS_KEY_ID"] != "" {
		t.Errorf("environment is %v", variables)
	}
	security := pod.Spec.Containers[0].SecurityContext
	if *pod.Spec.AutomountServiceAccountToken || !*pod.Spec.SecurityContext.RunAsNonRoot ||
		*security.AllowPrivilegeEscalation || !*security.ReadOnlyRootFilesystem {
		t.Errorf("security context is %+v", security)
	}
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s can be written", m.MountPath)
		}
	}
}

func TestPod_OfAnImageWithTheProgramMountsTheSecretOnly(t *testing.T) {
	p := remoteProgram("example.org/sdk:v1")
	spec := p.pod("app", "aws-iam-app", "http://172.18.0.1:8080").Spec
	if len(spec.Volumes) != 1 || spec.Volumes[0].Secret == nil || spec.Containers[0].Image != "example.org/sdk:v1" {
		t.Errorf("pod is %+v", spec)
	}
}

func TestStdoutLines(t *testing.T) {
	got := stdoutLines([]string{
		"2026-11-21T12:00:00Z stdout F ok arn:1", "2026-11-21T12:00:00Z stderr F a warning", "cut off", "2026-11-21T12:00:01Z stdout F failed x y",
	})
	if !slices.Equal(got, []string{"ok arn:1", "failed x y"}) {
		t.Errorf("lines are %q", got)
	}
}

// A pod that is to be injected says nothing but how it asks.
func TestPod_Asks(t *testing.T) {
	for _, c := range []struct {
		asks                asking
		endpoint            bool
		secret, account     string
		annotations, labels map[string]string
		mounts              int
	}{
		{byVolume, false, "aws-iam-app", "", nil, nil, 1},
		{byAccountVolume, false, "aws-iam.app", "app", nil, nil, 1},
		{byAnnotation, false, "aws-iam-app", "", map[string]string{"iam.amazonaws.com/role": "app"}, nil, 0},
		{byAnnotation, true, "aws-iam-app", "", map[string]string{"iam.amazonaws.com/role": "app", "iam.amazonaws.com/delivery": "endpoint"}, nil, 0},
		{byLabel, false, "aws-iam.app", "app", nil, map[string]string{"iam.amazonaws.com/inject": "true"}, 0},
		{byAccount, true, "aws-iam.app", "app", map[string]string{"iam.amazonaws.com/delivery": "endpoint"}, nil, 0},
	} {
		t.Run(string(c.asks), func(t *testing.T) {
			p := program{asks: c.asks, endpoint: c.endpoint}
			if got := p.secret("app"); got != c.secret {
				t.Errorf("Secret %s, not %s", got, c.secret)
			}
			pod := p.pod("app", c.secret, "http://10.88.0.1")
			if pod.Spec.ServiceAccountName != c.account || !maps.Equal(pod.Annotations, c.annotations) || !maps.Equal(pod.Labels, c.labels) {
				t.Errorf("ServiceAccount %q, annotations %v, labels %v", pod.Spec.ServiceAccountName, pod.Annotations, pod.Labels)
			}
			if app := pod.Spec.Containers[0]; len(app.VolumeMounts) != c.mounts || c.asks.injected() && len(app.Env) != 1 {
				t.Errorf("container is %+v", app)
			}
		})
	}
}
