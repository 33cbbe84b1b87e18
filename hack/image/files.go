package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// The programs' names, among the binaries and in the image.
const (
	program  = "kube-aws-iam-controller"
	endpoint = "credentials-endpoint" // what sidecars of pods run
)

// programs are all of them, sorted.
var programs = []string{endpoint, program}

// user is the user and group that the image runs as: numbers, so that the kubelet sees that it is
// not root (runAsNonRoot).
const user = "65532:65532"

const (
	passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
	group  = "root:x:0:\nnonroot:x:65532:\n"
)

// file is a file or folder of the image. root owns all of them.
type file struct {
	path    string // below the root
	mode    fs.FileMode
	content []byte
}

// baseFiles returns what is the same in every version and on every platform, sorted by path. There
// is no nsswitch.conf: without one Go asks /etc/hosts first, then DNS.
func baseFiles() []file {
	const folder = fs.ModeDir | 0o755
	return []file{
		{path: "etc", mode: folder},
		{path: "etc/group", mode: 0o644, content: []byte(group)},
		{path: "etc/passwd", mode: 0o644, content: []byte(passwd)},
		{path: "etc/ssl", mode: folder},
		{path: "etc/ssl/certs", mode: folder},
		// Where crypto/x509 looks first.
		{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: roots()},
	}
}

// roots returns the certificates of the authorities that Mozilla trusts without a constraint, as
// PEM. It trusts some only for what they signed before a certain day, which a file cannot express.
func roots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			// A buffer takes everything, and a block without headers is always good.
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return out.Bytes()
}

// programFiles returns what differs between versions and platforms.
func (b *build) programFiles(platform v1.Platform) ([]file, error) {
	var files []file
	for _, name := range programs {
		binary, err := os.ReadFile(filepath.Join(b.binaries, filepath.FromSlash(platform.String()), name))
		if err != nil {
			return nil, err
		}
		files = append(files, file{path: name, mode: 0o755, content: binary})
	}
	return files, nil
}

// writeFolder writes the files into a folder that must not exist yet, with
// their modes whatever the umask.
func writeFolder(dir string, files []file) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.mode.IsDir() {
			err = root.Mkdir(f.path, 0o700)
		} else {
			err = root.WriteFile(f.path, f.content, 0o600)
		}
		if err == nil {
			err = root.Chmod(f.path, f.mode.Perm())
		}
		if err != nil {
			return errors.Join(err, root.Close())
		}
	}
	return errors.Join(root.Chmod(".", 0o755), root.Close())
}
