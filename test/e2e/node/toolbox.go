//go:build linux

package node

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
)

// applets are the names by which the toolbox's busybox is called.
var applets = []string{"cat", "env", "sh", "sleep", "tail"}

// writeToolbox writes a docker-archive of the image Toolbox. It has busybox, /tmp, and a command
// that does nothing.
func writeToolbox(path, busybox string) error {
	program, err := os.ReadFile(busybox) //nolint:gosec // the machine's own
	if err != nil {
		return err
	}
	config := map[string]any{"Entrypoint": []string{"/bin/tail", "-f", "/dev/null"}, "Env": []string{"PATH=/bin"}}
	return writeImage(path, Toolbox, config, func(layer *tar.Writer) error {
		failures := []error{addFile(layer, "bin/busybox", 0o755, program)}
		for _, applet := range applets {
			failures = append(failures, layer.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox"}))
		}
		return errors.Join(failures...)
	})
}

// writeBare writes a docker-archive of the image Bare, which has /tmp and no program.
func writeBare(path string) error {
	return writeImage(path, Bare, map[string]any{}, func(*tar.Writer) error { return nil })
}

// writeImage writes a docker-archive of an image with /tmp and what fill adds.
func writeImage(path, name string, settings map[string]any, fill func(layer *tar.Writer) error) error {
	var layer bytes.Buffer
	files := tar.NewWriter(&layer)
	failures := []error{
		fill(files), files.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}), files.Close(),
	}

	digest := sha256.Sum256(layer.Bytes())
	config, configErr := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": settings,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(digest[:])}},
	})
	manifest, manifestErr := json.Marshal([]map[string]any{{
		"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"},
	}})

	var archive bytes.Buffer
	parts := tar.NewWriter(&archive)
	failures = append(failures, configErr, manifestErr,
		addFile(parts, "config.json", 0o644, config), addFile(parts, "layer.tar", 0o644, layer.Bytes()),
		addFile(parts, "manifest.json", 0o644, manifest), parts.Close())
	return errors.Join(append(failures, os.WriteFile(path, archive.Bytes(), 0o600))...)
}

func addFile(to *tar.Writer, name string, mode int64, content []byte) error {
	if err := to.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := io.Copy(to, bytes.NewReader(content))
	return err
}
