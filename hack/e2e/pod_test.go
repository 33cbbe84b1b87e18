//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// build writes files as a build.sh of test/sdk does.
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

func TestReadSDK(t *testing.T) {
	s, err := readSDK(build(t, map[string]string{"sdk": "Any SDK\n1.2.3\n"}), "any")
	if err != nil || s.title != "Any SDK" || s.version != "1.2.3" || s.file() != "credentials.process" {
		t.Errorf("%v, %+v", err, s)
	}
	s, err = readSDK(build(t, map[string]string{
		"sdk": "Any SDK\n1.2.3\n", "env": "AWS_CONFIG_FILE=/meta/aws-iam/config\nAWS_SDK_LOAD_CONFIG=1\n", "mounts": "/usr\n\n/lib\n",
	}), "any")
	if err != nil || s.file() != "config" || !slices.Equal(s.mounts, []string{"/usr", "/lib"}) {
		t.Errorf("%v, %+v", err, s)
	}
	for says, files := range map[string]map[string]string{"no name": {}, "no version": {"sdk": "Any SDK\n"}} {
		if _, err := readSDK(build(t, files), "any"); err == nil {
			t.Errorf("%s: no error", says)
		}
	}
}

func TestAPodHasTheDocumentedEnvironmentAndNoRights(t *testing.T) {
	s, err := readSDK(build(t, map[string]string{"sdk": "Any SDK\n1.2.3\n", "mounts": "/usr\n"}), "any")
	if err != nil {
		t.Fatal(err)
	}
	pod := s.pod("app", "aws-iam-app", "http://10.88.0.1")
	env := map[string]string{}
	for _, e := range pod.Spec.Containers[0].Env {
		env[e.Name] = e.Value
	}
	if env["AWS_SHARED_CREDENTIALS_FILE"] != "/meta/aws-iam/credentials.process" || env["AWS_EC2_METADATA_DISABLED"] != "true" || env["AWS_ACCESS_KEY_ID"] != "" {
		t.Errorf("environment is %v", env)
	}
	security := pod.Spec.Containers[0].SecurityContext
	if *pod.Spec.AutomountServiceAccountToken || !*pod.Spec.SecurityContext.RunAsNonRoot || *security.AllowPrivilegeEscalation || !*security.ReadOnlyRootFilesystem {
		t.Errorf("the pod may more than a pod should")
	}
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s can be written", m.MountPath)
		}
	}
}

func TestTheToolboxHoldsBusybox(t *testing.T) {
	folder := t.TempDir()
	busybox, path := filepath.Join(folder, "busybox"), filepath.Join(folder, "toolbox.tar")
	if err := errors.Join(os.WriteFile(busybox, []byte("program"), 0o600), writeToolbox(path, busybox)); err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(path) //nolint:gosec // of the test
	if err != nil {
		t.Fatal(err)
	}
	layer := unpack(t, unpack(t, archive)["layer.tar"])
	if string(layer["bin/busybox"]) != "program" {
		t.Errorf("busybox is %q", layer["bin/busybox"])
	}
	for _, name := range []string{"bin/cat", "bin/sh", "tmp/"} {
		if _, ok := layer[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}
}

func unpack(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		content, readErr := io.ReadAll(reader)
		if err := errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		files[header.Name] = content
	}
}
