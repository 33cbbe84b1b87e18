package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const version = "1.36.2"

// mirror serves an index and one archive, in the formats that setup-envtest reads.
type mirror struct {
	url      string
	requests atomic.Int64
}

// newMirror starts a mirror. Each change replaces what it serves at a path.
func newMirror(t *testing.T, changes map[string]http.HandlerFunc) *mirror {
	t.Helper()
	m := &mirror{}
	mux := http.NewServeMux()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.requests.Add(1)
		if change := changes[r.URL.Path]; change != nil {
			change(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	m.url = server.URL + "/index.yaml"
	content := archive(t, "etcd", "kube-apiserver", "kubectl")
	mux.HandleFunc("/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, index(server.URL, fmt.Sprintf("%x", sha512.Sum512(content))))
	})
	mux.HandleFunc("/archive.tar.gz", func(w http.ResponseWriter, _ *http.Request) { respond(w, string(content)) })
	return m
}

func respond(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, text) // the client sees what is missing
	w.(http.Flusher).Flush()       //nolint:errcheck // httptest's is one
}

func index(server, hash string) string {
	return fmt.Sprintf("releases:\n  v%s:\n    envtest-v%s-%s-%s.tar.gz:\n      hash: %s\n      selfLink: %s/archive.tar.gz\n",
		version, version, runtime.GOOS, runtime.GOARCH, hash, server)
}

// archive returns an archive of programs that print their names.
func archive(t *testing.T, programs ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	writer := tar.NewWriter(compressed)
	for _, program := range programs {
		script := "#!/bin/sh\necho " + program + "\n"
		header := &tar.Header{Name: "controller-tools/envtest/" + program, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(script))}
		must(t, writer.WriteHeader(header))
		_, err := writer.Write([]byte(script))
		must(t, err)
	}
	must(t, writer.Close())
	must(t, compressed.Close())
	return out.Bytes()
}

// hang answers nothing until the client gives up.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestDownload_UnpacksPrograms(t *testing.T) {
	d := download{index: newMirror(t, nil).url, version: version, dir: filepath.Join(t.TempDir(), "programs"), timeout: time.Minute}
	must(t, d.run(t.Context()))
	for _, program := range []string{"etcd", "kube-apiserver", "kubectl"} {
		out, err := exec.CommandContext(t.Context(), filepath.Join(d.dir, program)).Output() //nolint:gosec // what was downloaded
		if err != nil || string(out) != program+"\n" {
			t.Errorf("%s prints %q: %v", program, out, err)
		}
	}
	if left := entries(t, filepath.Dir(d.dir)); !slices.Equal(left, []string{"programs"}) {
		t.Errorf("left %v, want only programs", left)
	}
}

func TestDownload_FailureLeavesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		version string
		path    string
		answer  http.HandlerFunc
		want    string
	}{
		"index is missing":   {path: "/index.yaml", answer: http.NotFound, want: "404"},
		"archive is missing": {path: "/archive.tar.gz", answer: http.NotFound, want: "404"},
		"index hangs":        {path: "/index.yaml", answer: hang, want: "no answer within"},
		"archive hangs":      {path: "/archive.tar.gz", answer: hang, want: "no answer within"},
		"archive stalls": {path: "/archive.tar.gz", want: "no answer within", answer: func(w http.ResponseWriter, r *http.Request) {
			respond(w, "the first bytes")
			hang(w, r)
		}},
		"checksum is wrong": {path: "/archive.tar.gz", want: "checksum mismatch", answer: func(w http.ResponseWriter, _ *http.Request) {
			respond(w, "another archive")
		}},
		"index is a web page": {path: "/index.yaml", want: "unable to", answer: func(w http.ResponseWriter, _ *http.Request) {
			respond(w, "<html><body>Please log in: now</body></html>")
		}},
		"index lacks the version": {version: "1.36.1", want: "unable to find archive for 1.36.1"},
		"version is a range":      {version: "1.36.x", want: "is not one version"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t, map[string]http.HandlerFunc{test.path: test.answer})
			d := download{index: m.url, version: version, dir: filepath.Join(t.TempDir(), "programs"), timeout: time.Minute}
			if test.version != "" {
				d.version = test.version
			}
			if strings.HasPrefix(test.want, "no answer") {
				d.timeout = 200 * time.Millisecond
			}
			if err := d.run(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
			if left := entries(t, filepath.Dir(d.dir)); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// fakeGo runs the Go command, but for builds of Kubernetes, which take minutes.
const fakeGo = `#!/bin/sh
case "$*" in
*"build -v"*) for program in server kube-apiserver kubectl; do echo from source >"$6$program" && chmod +x "$6$program"; done ;;
*k8s.io/kubernetes*) ;;
*) exec %q "$@" ;;
esac
`

// build is a cache folder, and what the last run of build.sh with it printed.
type build struct{ cache, stdout, stderr string }

// run runs build.sh kubectl.
func (b *build) run(t *testing.T, index string, variables ...string) {
	t.Helper()
	bin := t.TempDir()
	goCommand, err := exec.LookPath("go")
	must(t, err)
	goCache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	must(t, err)
	script := fmt.Sprintf(fakeGo, goCommand)
	must(t, os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o700)) //nolint:gosec // a program
	command := exec.CommandContext(t.Context(), "../build.sh", "kubectl")
	command.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+b.cache, "KUBEBUILDER_ASSETS=",
		"LOCALAPI_DOWNLOAD=", "LOCALAPI_TIMEOUT=", "LOCALAPI_INDEX="+index, "GOCACHE="+strings.TrimSpace(string(goCache)))
	command.Env = append(command.Env, variables...)
	var stdout, stderr strings.Builder
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	b.stdout, b.stderr = strings.TrimSpace(stdout.String()), stderr.String()
}

func TestBuildScript_DownloadsOnce(t *testing.T) {
	m := newMirror(t, nil)
	b := build{cache: t.TempDir()}
	b.run(t, m.url)
	if b.stderr != "" || !strings.Contains(filepath.Base(b.stdout), "v"+version+"-envtest-") {
		t.Errorf("printed folder %s and %q", b.stdout, b.stderr)
	}
	if got := entries(t, b.stdout); !slices.Equal(got, []string{"etcd", "kube-apiserver", "kubectl"}) {
		t.Errorf("the folder holds %v", got)
	}
	first, requests := b.stdout, m.requests.Load()
	b.run(t, m.url)
	if b.stdout != first || m.requests.Load() != requests {
		t.Errorf("the second run printed %s after %d requests more", b.stdout, m.requests.Load()-requests)
	}
}

func TestBuildScript_FallsBackToSource(t *testing.T) {
	for name, test := range map[string]struct {
		answer   http.HandlerFunc
		variable string
		want     string // its only line before the build
	}{
		"server hangs":    {answer: hang, variable: "LOCALAPI_TIMEOUT=200ms", want: "No prebuilt API server: no answer within 200ms\n"},
		"index is absent": {answer: http.NotFound, want: "No prebuilt API server: unable to get index -- got status \"404 Not Found\"\n"},
		"download is off": {variable: "LOCALAPI_DOWNLOAD=off"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t, map[string]http.HandlerFunc{"/index.yaml": test.answer})
			b := build{cache: t.TempDir()}
			b.run(t, m.url, test.variable)
			if before, _, _ := strings.Cut(b.stderr, "Building "); before != test.want {
				t.Errorf("printed %q, want %q", before, test.want)
			}
			if off := test.variable == "LOCALAPI_DOWNLOAD=off"; off != (m.requests.Load() == 0) {
				t.Errorf("%d requests", m.requests.Load())
			}
			if strings.Contains(b.stdout, "envtest") {
				t.Errorf("printed %s", b.stdout)
			}
			if got := entries(t, b.stdout); !slices.Equal(got, []string{"etcd", "kube-apiserver", "kubectl"}) {
				t.Errorf("the folder holds %v", got)
			}
		})
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range found {
		names = append(names, entry.Name())
	}
	return names
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
