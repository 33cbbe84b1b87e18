package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// krew is what krew reads of a manifest.
type krew struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Version, Homepage, ShortDescription, Description string
		Platforms                                        []struct {
			Selector         struct{ MatchLabels map[string]string }
			URI, SHA256, Bin string
		}
	}
}

func packed(t *testing.T, version string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	platforms := []string{"linux/amd64", "darwin/arm64", "windows/amd64"}
	for _, name := range []string{"linux-amd64", "darwin-arm64", "windows-amd64"} {
		dir := filepath.Join(folder, name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, binary), []byte("program of "+name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	p := pack{
		folder: folder, source: "../../cmd/kubectl-aws_iam", license: "../../LICENSE", version: version, url: "https://example.org/x/",
		platforms: platforms, modified: 1_700_000_000,
	}
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	return folder
}

// filesOf returns the names and modes of the files in an archive, and the content of one.
func filesOf(t *testing.T, archive []byte, of string) (names []string, content string) {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(zipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, content
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.FileInfo().Mode().String()+" "+header.Name)
		if header.Name == of {
			content = string(text)
		}
	}
}

func readFile(t *testing.T, folder, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name)) //nolint:gosec // of this test's folders
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestPack(t *testing.T) {
	folder := packed(t, "v1.2.3")
	var k krew
	if err := yaml.Unmarshal(readFile(t, folder, "aws-iam.yaml"), &k); err != nil {
		t.Fatal(err)
	}
	if k.Kind != "Plugin" || k.Metadata.Name != "aws-iam" || k.Spec.Version != "v1.2.3" || k.Spec.ShortDescription == "" || k.Spec.Description == "" || len(k.Spec.Platforms) != 3 {
		t.Errorf("the manifest is %+v", k)
	}
	for _, p := range k.Spec.Platforms {
		system, arch := p.Selector.MatchLabels["os"], p.Selector.MatchLabels["arch"]
		archive := readFile(t, folder, filepath.Base(p.URI))
		if want := "https://example.org/x/kubectl-aws_iam-v1.2.3-" + system + "-" + arch + ".tar.gz"; p.URI != want {
			t.Errorf("the archive is at %s, want %s", p.URI, want)
		}
		if sum := sha256.Sum256(archive); hex.EncodeToString(sum[:]) != p.SHA256 {
			t.Errorf("%s has another checksum", p.URI)
		}
		want := []string{"-rw-r--r-- LICENSE", "-rwxr-xr-x kubectl-aws_iam", "-rwxr-xr-x kubectl_complete-aws_iam"}
		if system == "windows" {
			want = []string{"-rw-r--r-- LICENSE", "-rwxr-xr-x kubectl-aws_iam.exe"}
		}
		if names, content := filesOf(t, archive, p.Bin); !slices.Equal(names, want) || content != "program of "+system+"-"+arch {
			t.Errorf("%s has %q, and in %s is %q", p.URI, names, p.Bin, content)
		}
	}
}

func TestPack_Reproducible(t *testing.T) {
	one, two := packed(t, "v1.2.3"), packed(t, "v1.2.3")
	for _, name := range []string{"aws-iam.yaml", "kubectl-aws_iam-v1.2.3-linux-amd64.tar.gz"} {
		if !bytes.Equal(readFile(t, one, name), readFile(t, two, name)) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestSemantic(t *testing.T) {
	for version, want := range map[string]string{"v1.2.3": "v1.2.3", "v1.2.3-4-gabc-dirty": "v1.2.3-4-gabc-dirty", "1ea5d7d6b180": "v0.0.0-1ea5d7d6b180", "dev": "v0.0.0-dev"} {
		if got := semantic(version); got != want {
			t.Errorf("%s becomes %s", version, got)
		}
	}
}

func TestPack_Errors(t *testing.T) {
	for name, p := range map[string]pack{
		"a platform without a system": {folder: t.TempDir(), platforms: []string{"amd64"}},
		"no binary":                   {folder: t.TempDir(), platforms: []string{"linux/amd64"}, license: "../../LICENSE", source: "../../cmd/kubectl-aws_iam"},
		"no template":                 {folder: t.TempDir(), source: t.TempDir()},
	} {
		if err := p.run(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
