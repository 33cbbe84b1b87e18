// Command plugin packs the binaries of the kubectl plugin into one archive for each platform, and
// writes the manifest by which krew installs them. The same binaries make the same archives.
package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"time"
)

func main() {
	var p pack
	var platforms string
	flag.StringVar(&p.folder, "folder", "", "Folder with <os>-<arch>/kubectl-aws_iam of each platform; the archives and the manifest are written into it.")
	flag.StringVar(&platforms, "platforms", "", "Platforms, as <os>/<arch> with commas.")
	flag.StringVar(&p.source, "source", "cmd/kubectl-aws_iam", "Folder of the plugin's source, with the other files of an archive.")
	flag.StringVar(&p.license, "license", "LICENSE", "The license.")
	flag.StringVar(&p.version, "version", "", "Version.")
	flag.StringVar(&p.url, "url", "", "URL of the folder where the archives will be.")
	flag.Int64Var(&p.modified, "modified", 0, "Time of all files, in seconds since 1970.")
	flag.Parse()
	p.platforms = strings.Split(platforms, ",")
	if err := p.run(); err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		os.Exit(1)
	}
}

// pack is one release of the plugin.
type pack struct {
	folder, source, license, version, url string
	platforms                             []string
	modified                              int64
}

const (
	binary = "kubectl-aws_iam"
	// completion is the program by which kubectl completes the plugin's arguments. It is a shell
	// script, so archives for Windows do without it.
	completion = "kubectl_complete-aws_iam"
	// manifest is the file for krew, and has the plugin's name.
	manifest = "aws-iam.yaml"
)

// platform is what the template of the manifest has of a platform.
type platform struct{ OS, Arch, URI, SHA256, Binary string }

func (p *pack) run() error {
	var all []platform
	for _, name := range p.platforms {
		one, err := p.archive(name)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	t, err := template.ParseFiles(filepath.Join(p.source, manifest+".tmpl"))
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, map[string]any{"Version": semantic(p.version), "URL": p.url, "Platforms": all}); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.folder, manifest), text.Bytes(), 0o644) //nolint:gosec // for everyone
}

// semanticVersion is a version that krew accepts.
var semanticVersion = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+`)

// semantic returns a version as krew accepts it: one that is not from a tag comes before all that
// are.
func semantic(version string) string {
	if semanticVersion.MatchString(version) {
		return version
	}
	return "v0.0.0-" + version
}

// archive writes the archive of a platform.
func (p *pack) archive(name string) (platform, error) {
	system, arch, ok := strings.Cut(name, "/")
	if !ok {
		return platform{}, fmt.Errorf("%q is not <os>/<arch>", name)
	}
	one := platform{OS: system, Arch: arch, Binary: binary}
	files := map[string]string{"LICENSE": p.license}
	order := []string{"LICENSE", binary}
	if system == "windows" {
		one.Binary, order[1] = binary+".exe", binary+".exe"
	} else {
		order = append(order, completion)
		files[completion] = filepath.Join(p.source, completion)
	}
	files[one.Binary] = filepath.Join(p.folder, system+"-"+arch, binary)
	content, err := p.pack(order, files)
	if err != nil {
		return platform{}, err
	}
	archive := strings.Join([]string{binary, p.version, system, arch}, "-") + ".tar.gz"
	sum := sha256.Sum256(content)
	one.SHA256, one.URI = hex.EncodeToString(sum[:]), strings.TrimSuffix(p.url, "/")+"/"+archive
	return one, os.WriteFile(filepath.Join(p.folder, archive), content, 0o644) //nolint:gosec // for everyone
}

// pack returns an archive with files, in an order.
func (p *pack) pack(order []string, files map[string]string) ([]byte, error) {
	var content bytes.Buffer
	zipped := gzip.NewWriter(&content)
	archive := tar.NewWriter(zipped)
	for _, name := range order {
		text, err := os.ReadFile(files[name])
		if err != nil {
			return nil, err
		}
		mode := int64(0o755)
		if name == "LICENSE" {
			mode = 0o644
		}
		header := &tar.Header{Name: name, Mode: mode, Size: int64(len(text)), ModTime: time.Unix(p.modified, 0), Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(text); err != nil {
			return nil, err
		}
	}
	err := cmp.Or(archive.Close(), zipped.Close())
	return content.Bytes(), err
}
