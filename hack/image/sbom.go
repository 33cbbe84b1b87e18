package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
)

// sbomType is the media type of an SBOM, and of the artifact that attaches it to an image.
const sbomType types.MediaType = "application/spdx+json"

// certificates is the module that the image's CA certificates come from.
const certificates = "golang.org/x/crypto/x509roots/fallback"

const unknown = "NOASSERTION" // SPDX's word

// component is a program with the modules that it contains.
type component struct {
	name    string
	modules []debug.Module
}

// sbom returns an SPDX document of the image for a platform. It lists the programs, the modules
// that their own build information names, Go's standard library and the CA certificates.
func (b *build) sbom(platform v1.Platform) ([]byte, error) {
	files, err := b.programFiles(platform)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	var components []component
	for _, f := range files {
		sum.Write(f.content) // a hash never fails
		info, err := buildinfo.Read(bytes.NewReader(f.content))
		if err != nil {
			return nil, fmt.Errorf("%s for %s: %w", f.path, platform, err)
		}
		components = append(components, component{f.path, modulesOf(f.path, info)})
	}
	var out bytes.Buffer
	err = spdxjson.Write(b.document(platform, sum.Sum(nil), components), &out, spdxjson.Indent("  "))
	return out.Bytes(), err
}

// modulesOf returns the modules of a program. The certificates, which are files of the image, count
// as the controller's.
func modulesOf(binary string, info *buildinfo.BuildInfo) []debug.Module {
	modules := []debug.Module{{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, module := range info.Deps {
		modules = append(modules, *module)
	}
	own, ok := debug.ReadBuildInfo()
	if !ok || binary != program {
		return modules
	}
	for _, module := range own.Deps {
		if module.Path == certificates {
			modules = append(modules, *module)
		}
	}
	return modules
}

// document returns a document that depends on nothing but its arguments, and so is reproducible. A
// module that several programs contain is one package.
func (b *build) document(platform v1.Platform, sum []byte, components []component) *spdx.Document {
	d := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      fmt.Sprintf("%s %s %s", program, b.version, platform),
		DocumentNamespace: fmt.Sprintf("https://spdx.org/spdxdocs/%s-%x", program, sum),
		CreationInfo: &spdx.CreationInfo{
			Created: b.created.Format(time.RFC3339), Creators: []spdx.Creator{{CreatorType: "Tool", Creator: program + "/hack/image"}},
		},
	}
	ids := map[string]spdx.ElementID{} // of modules, by purl
	for _, c := range components {
		main := newPackage(spdx.ElementID("program-"+c.name), c.name, b.version)
		main.PrimaryPackagePurpose = "APPLICATION"
		d.Packages = append(d.Packages, main)
		d.Relationships = append(d.Relationships, relationship("DOCUMENT", "DESCRIBES", main.PackageSPDXIdentifier))
		for _, module := range c.modules {
			if module.Replace != nil {
				module = *module.Replace
			}
			purl := "pkg:golang/" + module.Path + "@" + module.Version
			if _, found := ids[purl]; !found {
				ids[purl] = spdx.ElementID(fmt.Sprintf("module-%d", len(ids)))
				d.Packages = append(d.Packages, modulePackage(ids[purl], module, purl))
			}
			d.Relationships = append(d.Relationships, relationship(main.PackageSPDXIdentifier, "DEPENDS_ON", ids[purl]))
		}
	}
	return d
}

func modulePackage(id spdx.ElementID, module debug.Module, purl string) *spdx.Package {
	p := newPackage(id, module.Path, module.Version)
	p.PackageExternalReferences = []*spdx.PackageExternalReference{{Category: "PACKAGE-MANAGER", RefType: "purl", Locator: purl}}
	return p
}

func newPackage(id spdx.ElementID, path, version string) *spdx.Package {
	return &spdx.Package{
		PackageSPDXIdentifier: id, PackageName: path, PackageVersion: version, PackageDownloadLocation: unknown,
		PackageLicenseConcluded: unknown, PackageLicenseDeclared: unknown, PackageCopyrightText: unknown,
	}
}

func relationship(from spdx.ElementID, kind string, to spdx.ElementID) *spdx.Relationship {
	return &spdx.Relationship{RefA: spdx.DocElementID{ElementRefID: from}, Relationship: kind, RefB: spdx.DocElementID{ElementRefID: to}}
}

// writeSBOMs writes the document of each platform beside the archive.
func (b *build) writeSBOMs(archive string, platforms []v1.Platform) error {
	for _, platform := range platforms {
		text, err := b.sbom(platform)
		if err != nil {
			return err
		}
		path := fmt.Sprintf("%s.%s.spdx.json", archive, strings.ReplaceAll(platform.String(), "/", "-"))
		if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // as public as the image
			return err
		}
	}
	return nil
}

// pushSBOMs attaches each platform's document to its image, which the registry then lists as the
// image's referrer.
func (b *build) pushSBOMs(repository name.Repository, index v1.ImageIndex, options ...remote.Option) error {
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, image := range manifest.Manifests {
		text, err := b.sbom(*image.Platform)
		if err != nil {
			return err
		}
		artifact := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), sbomType)
		artifact, err = mutate.AppendLayers(artifact, static.NewLayer(text, sbomType))
		if err != nil {
			return err
		}
		attached := mutate.Subject(artifact, v1.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: image.Size})
		digest, err := attached.(v1.Image).Digest() //nolint:errcheck // an image is made of an image
		if err != nil {
			return err
		}
		if err := remote.Write(repository.Digest(digest.String()), attached.(v1.Image), options...); err != nil { //nolint:errcheck // the same
			return fmt.Errorf("pushing the SBOM of %s: %w", image.Platform, err)
		}
	}
	return nil
}
