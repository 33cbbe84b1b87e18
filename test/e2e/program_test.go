package e2e

import (
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

func TestReadProgram(t *testing.T) {
	s, err := readProgram(build(t, map[string]string{"sdk": "Any SDK\n1.2.3\n"}), "any", "toolbox")
	if err != nil || s.title != "Any SDK" || s.version != "1.2.3" || s.file() != "credentials.process" {
		t.Errorf("%v, %+v", err, s)
	}
	s, err = readProgram(build(t, map[string]string{
		"sdk": "Any SDK\n1.2.3\n", "env": "AWS_CONFIG_FILE=/meta/aws-iam/config\nAWS_SDK_LOAD_CONFIG=1\n", "mounts": "/usr\n\n/lib\n",
	}), "any", "toolbox")
	if err != nil || s.file() != "config" || !slices.Equal(s.mounts, []string{"/usr", "/lib"}) {
		t.Errorf("%v, %+v", err, s)
	}
	for name, files := range map[string]map[string]string{"no name": {}, "no version": {"sdk": "Any SDK\n"}} {
		if _, err := readProgram(build(t, files), "any", "toolbox"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReadPrograms(t *testing.T) {
	folders := build(t, map[string]string{"sdk": "Any SDK\n1.2.3\n"})
	if found, err := readPrograms(folders, "toolbox"); err != nil || len(found) != 1 || found[0].name != "any" {
		t.Errorf("%v, %+v", err, found)
	}
	if err := os.Mkdir(filepath.Join(folders, "broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := readPrograms(folders, "toolbox"); err == nil {
		t.Error("no error for a folder without a program")
	}
}

func TestPod_HasTheDocumentedEnvironmentAndNoRights(t *testing.T) {
	s, err := readProgram(build(t, map[string]string{"sdk": "Any SDK\n1.2.3\n", "mounts": "/usr\n"}), "any", "toolbox")
	if err != nil {
		t.Fatal(err)
	}
	pod := s.pod("app", "aws-iam-app", "http://10.88.0.1")
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

func TestPod_OfAServiceAccountsSecretHasThatServiceAccount(t *testing.T) {
	for name, want := range map[string]struct{ secret, account string }{
		"boto3": {"aws-iam.sdk-x", "sdk-x"},
		"rust":  {"aws-iam-sdk-x", ""},
	} {
		p := program{name: name}
		if got := p.secret("sdk-x"); got != want.secret {
			t.Errorf("Secret %s, not %s", got, want.secret)
		}
		if got := p.pod("sdk-x", want.secret, "").Spec.ServiceAccountName; got != want.account {
			t.Errorf("Secret %s, ServiceAccount %q", want.secret, got)
		}
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
