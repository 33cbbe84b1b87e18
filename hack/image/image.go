package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// build is the input of the image.
type build struct {
	binaries string // folder
	version  string
	revision string // none if empty
	created  time.Time
}

// index returns the image for all platforms.
func (b *build) index(platforms []v1.Platform) (v1.ImageIndex, error) {
	base, err := layer(baseFiles())
	if err != nil {
		return nil, err
	}
	var index v1.ImageIndex = empty.Index
	for _, platform := range platforms {
		image, err := b.image(platform, base)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	return index, nil
}

// image returns the image for one platform: the base, which versions share, and the programs.
func (b *build) image(platform v1.Platform, base v1.Layer) (v1.Image, error) {
	files, err := b.programFiles(platform)
	if err != nil {
		return nil, err
	}
	binaries, err := layer(files)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, b.config(platform))
	if err != nil {
		return nil, err
	}
	return mutate.Append(image,
		mutate.Addendum{Layer: base, History: v1.History{CreatedBy: "users and CA certificates", Created: v1.Time{Time: epoch}}},
		mutate.Addendum{Layer: binaries, History: v1.History{CreatedBy: program + " " + b.version, Created: v1.Time{Time: b.created}}},
	)
}

func (b *build) config(platform v1.Platform) *v1.ConfigFile {
	labels := map[string]string{
		"org.opencontainers.image.title":    program,
		"org.opencontainers.image.version":  b.version,
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	if b.revision != "" {
		labels["org.opencontainers.image.revision"] = b.revision
	}
	return &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Variant:      platform.Variant,
		Created:      v1.Time{Time: b.created},
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{User: user, Entrypoint: []string{"/" + program}, Labels: labels},
	}
}

// epoch is the modification time of every file, so that layers with the same content have the same
// digest in every version.
var epoch = time.Unix(0, 0).UTC()

func layer(files []file) (v1.Layer, error) {
	var content bytes.Buffer
	writer := tar.NewWriter(&content)
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.path, Size: int64(len(f.content)), Mode: int64(f.mode.Perm()), ModTime: epoch}
		if f.mode.IsDir() {
			header.Typeflag, header.Name = tar.TypeDir, f.path+"/"
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
}
