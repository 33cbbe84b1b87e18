package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	spdxjson "github.com/spdx/tools-golang/json"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

var platforms = []string{"linux/amd64", "linux/arm64"}

// binaries is a new folder with something for each platform and program.
func binaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, platform := range platforms {
		must(t, os.MkdirAll(filepath.Join(dir, platform), 0o700))
		for _, file := range programs {
			must(t, os.WriteFile(filepath.Join(dir, platform, file), append(smallProgram(t), file+" for "+platform...), 0o600))
		}
	}
	return dir
}

// smallProgram returns the bytes of a Go program, as an SBOM is made from its build information.
var smallProgram = func() func(*testing.T) []byte {
	var content []byte
	return func(t *testing.T) []byte {
		t.Helper()
		if content != nil {
			return slices.Clone(content)
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\nfunc main() {}\n"), 0o600))
		path := filepath.Join(dir, "small")
		out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, filepath.Join(dir, "main.go")).CombinedOutput() //nolint:gosec // paths of the test
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		content, err = os.ReadFile(path)
		must(t, err)
		return slices.Clone(content)
	}
}()

// pack runs the program as version v1 of a fixed commit and time; more flags
// override. It returns what it prints.
func pack(t *testing.T, flags ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	err := run(t.Context(), append([]string{
		"--platforms=" + strings.Join(platforms, ","), "--tag=kube-aws-iam-controller:v1", "--version=v1", "--revision=abc", "--created=1700000000",
	}, flags...), &out)
	return out.String(), err
}

func mustPack(t *testing.T, flags ...string) string {
	t.Helper()
	out, err := pack(t, flags...)
	must(t, err)
	return out
}

// unpack reads an archive as a tool does that is given one: the descriptor that
// its index.json has, and the index that this is of.
func unpack(t *testing.T, archive string) (v1.Descriptor, v1.ImageIndex) {
	t.Helper()
	content, err := os.ReadFile(archive)
	must(t, err)
	root, err := os.OpenRoot(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, root.Close()) })
	for header, body := range entries(t, bytes.NewReader(content)) {
		if header.ModTime.Unix() != 0 || header.Uid != 0 {
			t.Errorf("%s is from %v and of %d, want 1970 and 0", header.Name, header.ModTime, header.Uid)
		}
		must(t, root.MkdirAll(filepath.Dir(header.Name), 0o700))
		must(t, root.WriteFile(header.Name, []byte(body), 0o600))
	}
	path, err := layout.FromPath(root.Name())
	must(t, err)
	outer, err := path.ImageIndex()
	must(t, err)
	manifest, err := outer.IndexManifest()
	must(t, err)
	if len(manifest.Manifests) != 1 {
		t.Fatalf("index.json has %d entries, want 1", len(manifest.Manifests))
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	must(t, err)
	return manifest.Manifests[0], index
}

// entries goes through a tar file.
func entries(t *testing.T, content io.Reader) iter.Seq2[*tar.Header, string] {
	t.Helper()
	return func(yield func(*tar.Header, string) bool) {
		for reader := tar.NewReader(content); ; {
			header, err := reader.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			must(t, err)
			body, err := io.ReadAll(reader)
			must(t, err)
			if !yield(header, string(body)) {
				return
			}
		}
	}
}

func layers(t *testing.T, index v1.ImageIndex) map[string][]v1.Layer {
	t.Helper()
	found := map[string][]v1.Layer{}
	for platform, image := range images(t, index) {
		layers, err := image.Layers()
		must(t, err)
		found[platform] = layers
	}
	return found
}

func images(t *testing.T, index v1.ImageIndex) map[string]v1.Image {
	t.Helper()
	manifest, err := index.IndexManifest()
	must(t, err)
	found := map[string]v1.Image{}
	for _, descriptor := range manifest.Manifests {
		image, err := index.Image(descriptor.Digest)
		must(t, err)
		found[descriptor.Platform.String()] = image
	}
	return found
}

func TestArchiveIsAnImageForEachPlatform(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "image.tar")
	mustPack(t, "--archive="+archive, "--binaries="+binaries(t))
	_, index := unpack(t, archive)
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	found := images(t, index)
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, platforms) {
		t.Fatalf("got platforms %v, want %v", got, platforms)
	}
	for platform, image := range found {
		config, err := image.ConfigFile()
		must(t, err)
		if got := config.OS + "/" + config.Architecture; got != platform {
			t.Errorf("the configuration for %s is for %s", platform, got)
		}
		if want := time.Unix(1700000000, 0); !config.Created.Equal(want) {
			t.Errorf("%s: created %v, want %v", platform, config.Created, want)
		}
		want := v1.Config{
			User:       "65532:65532",
			Entrypoint: []string{"/kube-aws-iam-controller"},
			Labels: map[string]string{
				"org.opencontainers.image.title":    "kube-aws-iam-controller",
				"org.opencontainers.image.version":  "v1",
				"org.opencontainers.image.revision": "abc",
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		}
		if !reflect.DeepEqual(config.Config, want) {
			t.Errorf("%s: got %+v, want %+v", platform, config.Config, want)
		}
	}
}

func TestArchiveHasTheNameThatRuntimesLookFor(t *testing.T) {
	for tag, want := range map[string]string{
		"kube-aws-iam-controller":                "docker.io/library/kube-aws-iam-controller:latest",
		"kube-aws-iam-controller:v1":             "docker.io/library/kube-aws-iam-controller:v1",
		"example/controller:v1":                  "docker.io/example/controller:v1",
		"docker.io/example/controller:v1":        "docker.io/example/controller:v1",
		"localhost/controller:v1":                "localhost/controller:v1",
		"registry.example.org:5000/a/b/c:v1.2-3": "registry.example.org:5000/a/b/c:v1.2-3",
	} {
		archive := filepath.Join(t.TempDir(), "image.tar")
		out := mustPack(t, "--archive="+archive, "--binaries="+binaries(t), "--tag="+tag)
		descriptor, _ := unpack(t, archive)
		for _, annotation := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
			if got := descriptor.Annotations[annotation]; got != want {
				t.Errorf("%s: %s is %q, want %q", tag, annotation, got, want)
			}
		}
		if want := want + "@" + descriptor.Digest.String() + "\n"; out != want {
			t.Errorf("%s: printed %q, want %q", tag, out, want)
		}
	}
}

func TestLayersHoldTheFiles(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "image.tar")
	mustPack(t, "--archive="+archive, "--binaries="+binaries(t))
	_, index := unpack(t, archive)
	for platform, layers := range layers(t, index) {
		var got []string
		for i, layer := range layers {
			content, err := layer.Uncompressed()
			must(t, err)
			for header, body := range entries(t, content) {
				got = append(got, fmt.Sprintf("%d %v %s", i, header.FileInfo().Mode(), header.Name))
				if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.Gname != "" || header.ModTime.Unix() != 0 {
					t.Errorf("%s: %s is of %d:%d (%s:%s), from %v; want 0:0 (:), from 1970", platform,
						header.Name, header.Uid, header.Gid, header.Uname, header.Gname, header.ModTime)
				}
				if slices.Contains(programs, header.Name) && !strings.HasSuffix(body, header.Name+" for "+platform) {
					t.Errorf("%s: %s ends in %q", platform, header.Name, body[max(0, len(body)-20):])
				}
			}
		}
		want := []string{
			"0 drwxr-xr-x etc/", "0 -rw-r--r-- etc/group", "0 -rw-r--r-- etc/passwd",
			"0 drwxr-xr-x etc/ssl/", "0 drwxr-xr-x etc/ssl/certs/", "0 -rw-r--r-- etc/ssl/certs/ca-certificates.crt",
			"1 -rwxr-xr-x credentials-endpoint", "1 -rwxr-xr-x kube-aws-iam-controller",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", platform, got, want)
		}
	}
}

func TestVersionsAndPlatformsShareTheBase(t *testing.T) {
	dir := t.TempDir()
	base := map[v1.Hash]bool{}
	for _, version := range []string{"v1", "v2"} {
		archive := filepath.Join(dir, version)
		mustPack(t, "--archive="+archive, "--binaries="+binaries(t), "--version="+version, "--created=1")
		_, index := unpack(t, archive)
		for _, layers := range layers(t, index) {
			digest, err := layers[0].Digest()
			must(t, err)
			base[digest] = true
		}
	}
	if len(base) != 1 {
		t.Errorf("got the base layers %v, want one", base)
	}
}

func TestSameInputGivesSameBytes(t *testing.T) {
	var archives [2][]byte
	for i, umask := range []int{0o022, 0o077} {
		dir := binaries(t)
		must(t, os.Chtimes(filepath.Join(dir, platforms[0], program), time.Time{}, time.Unix(int64(i), 0)))
		withUmask(t, umask, func() { mustPack(t, "--archive="+filepath.Join(dir, "image.tar"), "--binaries="+dir) })
		content, err := os.ReadFile(filepath.Join(dir, "image.tar"))
		must(t, err)
		archives[i] = content
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of the same input differ")
	}
}

func TestRootfsIsWhatTheImageHolds(t *testing.T) {
	dir := t.TempDir()
	archive, rootfs := filepath.Join(dir, "image.tar"), filepath.Join(dir, "rootfs")
	withUmask(t, 0o077, func() {
		mustPack(t, "--archive="+archive, "--rootfs="+rootfs, "--binaries="+binaries(t), "--platforms=linux/arm64")
	})
	_, index := unpack(t, archive)
	want := map[string]string{".": "drwxr-xr-x "}
	for header, body := range entries(t, mutate.Extract(images(t, index)["linux/arm64"])) {
		want[filepath.Clean(header.Name)] = fmt.Sprint(header.FileInfo().Mode(), " ", body)
	}
	got := map[string]string{}
	folder := os.DirFS(rootfs)
	must(t, fs.WalkDir(folder, ".", func(path string, entry fs.DirEntry, err error) error {
		must(t, err)
		info, err := entry.Info()
		must(t, err)
		var body []byte
		if !entry.IsDir() {
			body, err = fs.ReadFile(folder, path)
			must(t, err)
		}
		got[path] = fmt.Sprint(info.Mode(), " ", string(body))
		return nil
	}))
	if !maps.Equal(got, want) {
		t.Errorf("the folder has %q, the image has %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestPushGivesTheRegistryWhatTheArchiveHolds(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	defer server.Close()
	tag := strings.TrimPrefix(server.URL, "http://") + "/a/controller:v1"
	archive := filepath.Join(t.TempDir(), "image.tar")
	out := mustPack(t, "--push", "--archive="+archive, "--binaries="+binaries(t), "--tag="+tag)
	descriptor, _ := unpack(t, archive)

	reference, err := name.ParseReference(tag)
	must(t, err)
	index, err := remote.Index(reference)
	must(t, err)
	must(t, validate.Index(index))
	digest, err := index.Digest()
	must(t, err)
	if digest != descriptor.Digest {
		t.Errorf("the registry has %s, the archive %s", digest, descriptor.Digest)
	}
	if want := tag + "@" + digest.String() + "\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	for platform, image := range images(t, index) {
		digest, err := image.Digest()
		must(t, err)
		if got := attachedSBOM(t, reference.Context().Digest(digest.String())); !bytes.Equal(got, sbomBeside(t, archive, platform)) {
			t.Errorf("%s: the registry has the SBOM %s", platform, got)
		}
	}
}

// sbomBeside reads the SBOM of a platform that was written with an archive.
func sbomBeside(t *testing.T, archive, platform string) []byte {
	t.Helper()
	text, err := os.ReadFile(archive + "." + strings.ReplaceAll(platform, "/", "-") + ".spdx.json")
	must(t, err)
	return text
}

// attachedSBOM reads the SBOM that refers to an image in a registry.
func attachedSBOM(t *testing.T, image name.Digest) []byte {
	t.Helper()
	referrers, err := remote.Referrers(image)
	must(t, err)
	manifest, err := referrers.IndexManifest()
	must(t, err)
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].ArtifactType != string(sbomType) {
		t.Fatalf("%s has the referrers %+v", image, manifest.Manifests)
	}
	artifact, err := remote.Image(image.Context().Digest(manifest.Manifests[0].Digest.String()))
	must(t, err)
	layers, err := artifact.Layers()
	must(t, err)
	content, err := layers[0].Uncompressed()
	must(t, err)
	text, err := io.ReadAll(content)
	must(t, err)
	return text
}

func TestSBOM_ListsProgramsModulesAndCertificates(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "image.tar")
	mustPack(t, "--archive="+archive, "--binaries="+binaries(t))
	document, err := spdxjson.Read(bytes.NewReader(sbomBeside(t, archive, "linux/arm64")))
	must(t, err)
	if document.DocumentName != "kube-aws-iam-controller v1 linux/arm64" || document.CreationInfo.Created != "2023-11-14T22:13:20Z" {
		t.Errorf("it is the document %q of %s", document.DocumentName, document.CreationInfo.Created)
	}
	var got []string
	for _, p := range document.Packages {
		got = append(got, p.PackageName)
	}
	if want := []string{"credentials-endpoint", "std", "kube-aws-iam-controller", "golang.org/x/crypto/x509roots/fallback"}; !slices.Equal(got, want) {
		t.Errorf("got the packages %v", got)
	}
	var relationships []string
	for _, r := range document.Relationships {
		relationships = append(relationships, fmt.Sprint(r.RefA.ElementRefID, " ", r.Relationship, " ", r.RefB.ElementRefID))
	}
	if want := []string{
		"DOCUMENT DESCRIBES program-credentials-endpoint", "program-credentials-endpoint DEPENDS_ON module-0",
		"DOCUMENT DESCRIBES program-kube-aws-iam-controller", "program-kube-aws-iam-controller DEPENDS_ON module-0",
		"program-kube-aws-iam-controller DEPENDS_ON module-1",
	}; !slices.Equal(relationships, want) {
		t.Errorf("got the relationships %q", relationships)
	}
}

func TestDocument_TakesReplacements(t *testing.T) {
	document := (&build{version: "v1"}).document(v1.Platform{}, nil, []component{{program, []debug.Module{
		{Path: "example.org/a", Version: "v1.0.0"},
		{Path: "example.org/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/c", Version: "v2.0.0"}},
	}}})
	var got []string
	for _, p := range document.Packages[1:] {
		got = append(got, p.PackageExternalReferences[0].Locator)
	}
	if want := []string{"pkg:golang/example.org/a@v1.0.0", "pkg:golang/example.org/c@v2.0.0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRootsAreThoseTrustedWithoutReserve(t *testing.T) {
	names := map[string]bool{}
	trusted := map[string]bool{}
	for block, rest := pem.Decode(roots()); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		names[certificate.Subject.CommonName] = true
		trusted[string(block.Bytes)] = true
	}
	for root := range bundle.Roots() {
		if want := root.Constraint == nil; trusted[string(root.Certificate)] != want {
			certificate, err := x509.ParseCertificate(root.Certificate)
			must(t, err)
			t.Errorf("%s: in the file is %v, want %v", certificate.Subject, !want, want)
		}
	}
	// Those by which AWS says that its services can be known.
	for _, root := range []string{
		"Amazon Root CA 1", "Amazon Root CA 2", "Amazon Root CA 3", "Amazon Root CA 4",
		"Starfield Services Root Certificate Authority - G2",
	} {
		if !names[root] {
			t.Errorf("%s is missing", root)
		}
	}
}

func TestDockerfileRunsTheSameInTheSameWay(t *testing.T) {
	content, err := os.ReadFile("../../Dockerfile")
	must(t, err)
	config := (&build{revision: "abc"}).config(v1.Platform{}).Config
	for _, want := range []string{"USER " + config.User, fmt.Sprintf("ENTRYPOINT [%q]", config.Entrypoint[0])} {
		if !slices.Contains(strings.Split(string(content), "\n"), want) {
			t.Errorf("the Dockerfile lacks the line %s", want)
		}
	}
	for label := range config.Labels {
		if !strings.Contains(string(content), label+"=") {
			t.Errorf("the Dockerfile lacks the label %s", label)
		}
	}
}

func TestWhatCannotBePackedLeavesNothing(t *testing.T) {
	for what, test := range map[string]struct {
		flags []string
		want  string
	}{
		"nothing to do":          {nil, "give --archive, --push or --rootfs"},
		"no flag":                {[]string{"--rootfs=out", "archive"}, `"archive" is not a flag`},
		"a time that is none":    {[]string{"--archive=out", "--created=now"}, "invalid value"},
		"no platform":            {[]string{"--archive=out", "--platforms="}, "not of the form os/architecture"},
		"half a platform":        {[]string{"--archive=out", "--platforms=linux"}, "not of the form os/architecture"},
		"a platform too many":    {[]string{"--archive=out", "--platforms=linux/amd64/v1/x"}, "too many slashes"},
		"a platform not built":   {[]string{"--archive=out", "--platforms=linux/s390x"}, "no such file"},
		"a root of two":          {[]string{"--rootfs=out"}, "--rootfs is for one platform"},
		"a root that is there":   {[]string{"--rootfs=bin", "--platforms=linux/amd64"}, "exists"},
		"a root not built":       {[]string{"--rootfs=out", "--platforms=linux/s390x"}, "no such file"},
		"a name that is none":    {[]string{"--archive=out", "--tag=Controller:v1"}, "--tag"},
		"a digest":               {[]string{"--archive=out", "--tag=controller@sha256:" + strings.Repeat("0", 64)}, "--tag"},
		"an archive into no dir": {[]string{"--archive=no/out"}, "no such file"},
		"a folder in its place":  {[]string{"--archive=bin"}, "exists"},
		"no registry":            {[]string{"--push", "--archive=out"}, "names no registry to push to"},
		"no registry there":      {[]string{"--push", "--tag=127.0.0.1:1/controller:v1"}, "pushing 127.0.0.1:1/controller:v1"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Chdir(t.TempDir())
			must(t, os.Rename(binaries(t), "bin"))
			out, err := pack(t, test.flags...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
			left, err := os.ReadDir(".")
			must(t, err)
			if out != "" || len(left) != 1 {
				t.Errorf("printed %q and left %v, want nothing but bin", out, left)
			}
		})
	}
}

func withUmask(t *testing.T, umask int, do func()) {
	t.Helper()
	defer syscall.Umask(syscall.Umask(umask))
	do()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
