package main

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// writeArchive writes an OCI image layout as one file. On an error it leaves no file.
func writeArchive(path string, index v1.ImageIndex, fullName string) error {
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder, whose files are the operating system's to clean up at the latest
	if err := writeLayout(dir, index, fullName); err != nil {
		return err
	}
	partial := path + ".partial"
	err = writeTar(partial, os.DirFS(dir))
	if err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	return nil
}

// writeLayout writes the folder that an OCI archive is a tar file of.
func writeLayout(dir string, index v1.ImageIndex, fullName string) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          fullName, // for containerd
		"org.opencontainers.image.ref.name": fullName, // for all others
	}))
}

// writeTar writes a tar file of the files in a folder, sorted by path.
func writeTar(path string, folder fs.FS) (err error) {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	writer := tar.NewWriter(out)
	err = fs.WalkDir(folder, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return addFile(writer, folder, path)
	})
	return errors.Join(err, writer.Close())
}

func addFile(writer *tar.Writer, folder fs.FS, path string) error {
	content, err := fs.ReadFile(folder, path)
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: path, Size: int64(len(content)), Mode: 0o644, ModTime: epoch}
	if err := writer.WriteHeader(header); err != nil {
		return err
	}
	_, err = writer.Write(content)
	return err
}
