package credentials_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// volume is a folder with one file, which changes as the kubelet changes those of Secrets and
// tokens: a symbolic link to a folder is replaced.
type volume struct {
	t      *testing.T
	folder string
	file   string
	count  int
}

// newVolume returns a volume without the file.
func newVolume(t *testing.T, file string) *volume {
	t.Helper()
	v := &volume{t: t, folder: t.TempDir(), file: file}
	if err := os.Symlink(filepath.Join("..data", file), v.path()); err != nil {
		t.Fatal(err)
	}
	return v
}

// path returns the path of the file.
func (v *volume) path() string { return filepath.Join(v.folder, v.file) }

// write replaces the file.
func (v *volume) write(text string) {
	v.t.Helper()
	v.count++
	version := "..version-" + strconv.Itoa(v.count)
	folder, link := filepath.Join(v.folder, version), filepath.Join(v.folder, "..data_tmp")
	if err := errors.Join(
		os.Mkdir(folder, 0o700),
		os.WriteFile(filepath.Join(folder, v.file), []byte(text), 0o600),
		os.Symlink(version, link),
		os.Rename(link, filepath.Join(v.folder, "..data")),
	); err != nil {
		v.t.Fatal(err)
	}
}

// remove removes the file.
func (v *volume) remove() {
	v.t.Helper()
	if err := os.Remove(filepath.Join(v.folder, "..data")); err != nil {
		v.t.Fatal(err)
	}
}

// text returns the content of the file, or "" if there is none.
func (v *volume) text() string {
	text, _ := os.ReadFile(v.path())
	return string(text)
}
