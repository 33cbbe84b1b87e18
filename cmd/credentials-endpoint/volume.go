package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"kube-aws-iam-controller/pkg/secret/keys"
)

// maxFileSize is the most that is read of a file, in bytes. It is far above what the controller
// writes, as STS's session tokens have at most 4,096 bytes, and far below the 1 MiB that a Secret
// can hold.
const maxFileSize = 32 << 10

// readAttempts is how often a version of the Secret that the kubelet removes meanwhile is read
// again.
const readAttempts = 3

// secretVolume is the path of the folder at which a Secret is mounted.
type secretVolume string

// file is the content of a file, or why it cannot be read.
type file struct {
	content []byte
	err     error
}

// contents are the files that the endpoint needs, all of the same version of the Secret.
type contents struct {
	token         file // endpoint-token
	containerJSON file
}

// read returns the files of the current version of the Secret.
func (v secretVolume) read() contents {
	var c contents
	for range readAttempts {
		c = v.readVersion()
		// The kubelet removes the folder of the old version after it switches to the new one.
		if !errors.Is(c.token.err, fs.ErrNotExist) && !errors.Is(c.containerJSON.err, fs.ErrNotExist) {
			break
		}
	}
	return c
}

// readVersion reads both files from the folder of one version.
func (v secretVolume) readVersion() contents {
	root, err := v.openVersion()
	if err != nil {
		return contents{token: file{err: err}, containerJSON: file{err: err}}
	}
	defer root.Close() //nolint:errcheck // it was only read from
	return contents{token: readFile(root, keys.EndpointToken), containerJSON: readFile(root, keys.ContainerJSON)}
}

// openVersion opens the folder that ..data, a symbolic link, names now: the kubelet writes each
// version of a Secret to a new folder, then replaces the link. A folder without the link, which is
// not a volume of the kubelet, is opened itself.
func (v secretVolume) openVersion() (*os.Root, error) {
	root, err := os.OpenRoot(filepath.Join(string(v), "..data"))
	if errors.Is(err, fs.ErrNotExist) {
		return os.OpenRoot(string(v))
	}
	return root, err
}

func readFile(root *os.Root, name string) file {
	f, err := root.Open(name)
	if err != nil {
		return file{err: err}
	}
	defer f.Close() //nolint:errcheck // it was only read from
	info, err := f.Stat()
	switch {
	case err != nil:
		return file{err: err}
	case info.Size() > maxFileSize:
		return file{err: fmt.Errorf("%s is larger than %d bytes", name, maxFileSize)}
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return file{err: err}
	}
	return file{content: content}
}
