package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/secret/keys"
)

// testVolume is a folder that a test writes as the kubelet writes a Secret volume.
type testVolume struct {
	dir     string
	version int
}

func newTestVolume(t *testing.T) *testVolume {
	t.Helper()
	return &testVolume{dir: t.TempDir()}
}

// publish writes a new version of the Secret: a new folder, then the link ..data to it, then it
// removes the old folder.
func (v *testVolume) publish(files map[string]string) error {
	v.version++
	data, next := filepath.Join(v.dir, "..data"), filepath.Join(v.dir, "..data_tmp")
	version := fmt.Sprintf("..%d", v.version)
	if err := os.Mkdir(filepath.Join(v.dir, version), 0o700); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(v.dir, version, name), []byte(content), 0o600); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(v.dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	old, err := os.Readlink(data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := errors.Join(os.Symlink(version, next), os.Rename(next, data)); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(v.dir, old))
}

// mustPublish publishes files, of which an empty name stands for none.
func (v *testVolume) mustPublish(t *testing.T, files map[string]string) {
	t.Helper()
	must(t, v.publish(files))
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// now is the time in tests of the handler.
var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	goodToken = "abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE"
	secretKey = "very/secret+key"
)

// containerJSON returns what the controller writes.
func containerJSON(tb testing.TB, expires time.Time) string {
	tb.Helper()
	text, err := json.Marshal(map[string]string{
		"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": secretKey, "Token": "session-token", "Expiration": expires.Format(time.RFC3339),
		"AccountId": "123456789012", "RoleArn": "arn:aws:iam::123456789012:role/orders",
	})
	must(tb, err)
	return string(text)
}

// goodFiles are those of a Secret whose credentials expire in an hour.
func goodFiles(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{keys.EndpointToken: goodToken, keys.ContainerJSON: containerJSON(t, now.Add(time.Hour))}
}

func TestRead_FollowsTheKubeletsSwap(t *testing.T) {
	volume := newTestVolume(t)
	for _, want := range []string{"1", "2", "3"} {
		volume.mustPublish(t, map[string]string{keys.EndpointToken: "token " + want, keys.ContainerJSON: "json " + want})
		got := secretVolume(volume.dir).read()
		if string(got.token.content) != "token "+want || string(got.containerJSON.content) != "json "+want {
			t.Errorf("version %s: got %q and %q", want, got.token.content, got.containerJSON.content)
		}
		if got.token.err != nil || got.containerJSON.err != nil {
			t.Errorf("version %s: got errors %v and %v", want, got.token.err, got.containerJSON.err)
		}
	}
}

func TestRead_PlainFolder(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, keys.EndpointToken), []byte("token"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, keys.ContainerJSON), []byte("json"), 0o600))
	got := secretVolume(dir).read()
	if string(got.token.content) != "token" || string(got.containerJSON.content) != "json" {
		t.Errorf("got %q and %q", got.token.content, got.containerJSON.content)
	}
}

// Both files are of one version, and there are always both, while the kubelet replaces versions.
func TestRead_NeverMixesVersions(t *testing.T) {
	volume := newTestVolume(t)
	version := func(n int) map[string]string {
		return map[string]string{keys.EndpointToken: strconv.Itoa(n), keys.ContainerJSON: strconv.Itoa(n)}
	}
	volume.mustPublish(t, version(0))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for reads := 0; ; reads++ {
				got := secretVolume(volume.dir).read()
				if err := errors.Join(got.token.err, got.containerJSON.err); err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(got.token.content, got.containerJSON.content) {
					t.Errorf("the token is of version %s, the credentials of %s", got.token.content, got.containerJSON.content)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for n := range 100 {
		must(t, volume.publish(version(n+1)))
	}
	close(done)
	readers.Wait()
}

func TestRead_ReportsWhatCannotBeRead(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    error
	}{
		"no folder":       {func(t *testing.T, dir string) { t.Helper(); must(t, os.Remove(dir)) }, fs.ErrNotExist},
		"no file":         {func(*testing.T, string) {}, fs.ErrNotExist},
		"dangling ..data": {func(t *testing.T, dir string) { t.Helper(); must(t, os.Symlink("..1", filepath.Join(dir, "..data"))) }, fs.ErrNotExist},
		"link to outside": {func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.Symlink("/etc/passwd", filepath.Join(dir, keys.ContainerJSON)))
		}, nil},
		"folder for a file": {func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.Mkdir(filepath.Join(dir, keys.ContainerJSON), 0o700))
		}, nil},
		"larger than needed": {writeLarge, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.prepare(t, dir)
			got := secretVolume(dir).read().containerJSON
			if got.err == nil || (test.want != nil && !errors.Is(got.err, test.want)) {
				t.Errorf("got error %v, want %v", got.err, test.want)
			}
			if len(got.content) > 0 {
				t.Errorf("got %d bytes", len(got.content))
			}
		})
	}
}

func writeLarge(t *testing.T, dir string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, keys.ContainerJSON), []byte(strings.Repeat(" ", maxFileSize+1)), 0o600))
}

func TestRead_LargestFile(t *testing.T) {
	volume := newTestVolume(t)
	want := strings.Repeat("x", maxFileSize)
	volume.mustPublish(t, map[string]string{keys.ContainerJSON: want})
	if got := secretVolume(volume.dir).read().containerJSON; string(got.content) != want || got.err != nil {
		t.Errorf("got %d bytes and error %v", len(got.content), got.err)
	}
}
