//go:build linux

package node

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestToolbox_HoldsBusybox(t *testing.T) {
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

func TestBare_HasNoProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bare.tar")
	if err := writeBare(path); err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(path) //nolint:gosec // of the test
	if err != nil {
		t.Fatal(err)
	}
	layer := unpack(t, unpack(t, archive)["layer.tar"])
	if _, ok := layer["tmp/"]; !ok || len(layer) != 1 {
		t.Errorf("the image has %d files, and /tmp: %t", len(layer), ok)
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
