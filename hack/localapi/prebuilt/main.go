// Command prebuilt downloads kube-apiserver, etcd and kubectl with the library of setup-envtest,
// which verifies the archive's SHA-512 that its index names. It gives up soon where the download is
// slow to begin, so that its caller can build them from source.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/remote"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/store"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/versions"
)

func main() {
	var d download
	flag.StringVar(&d.index, "index", "", "`URL` of the index of archives; setup-envtest's own if empty")
	flag.StringVar(&d.version, "version", "", "version of Kubernetes, such as 1.36.2")
	flag.StringVar(&d.dir, "dir", "", "`folder` to put the programs into; it must not exist yet")
	flag.DurationVar(&d.timeout, "timeout", 8*time.Second, "longest time without a byte of the archive, from the start")
	flag.Parse()
	if err := d.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// download is what the command line asks for.
type download struct {
	index, version, dir string
	timeout             time.Duration
}

// run writes the programs into the folder, or nothing.
func (d *download) run(ctx context.Context) (err error) {
	spec, err := versions.FromExpr(d.version)
	if err != nil {
		return err
	}
	version := spec.AsConcrete()
	if version == nil {
		return fmt.Errorf("--version: %q is not one version", d.version)
	}
	scratch, err := os.MkdirTemp(filepath.Dir(d.dir), "download-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	archive, err := os.Create(filepath.Join(scratch, "archive"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()

	platform := versions.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}
	if err := d.fetch(ctx, *version, platform, archive); err != nil {
		return err
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return d.unpack(ctx, store.Item{Version: *version, Platform: platform}, archive, scratch)
}

// fetch writes the archive to out and returns an error if its checksum is not the index's, or if no
// byte came for the timeout. The time until the first byte includes the index's.
func (d *download) fetch(ctx context.Context, version versions.Concrete, platform versions.Platform, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(d.timeout, func() { cancel(fmt.Errorf("no answer within %s", d.timeout)) })
	defer timer.Stop()

	client := &remote.HTTPClient{Log: logr.Discard(), IndexURL: d.index}
	item := versions.PlatformItem{Platform: platform}
	err := client.FetchSum(ctx, version, &item)
	if err == nil {
		err = client.GetVersion(ctx, version, item, &timedWriter{out, timer, d.timeout})
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// timedWriter restarts a timer whenever something is written.
type timedWriter struct {
	io.Writer

	timer   *time.Timer
	timeout time.Duration
}

func (w *timedWriter) Write(p []byte) (int, error) {
	w.timer.Reset(w.timeout)
	return w.Writer.Write(p)
}

// unpack moves the archive's programs into the folder once all are there.
func (d *download) unpack(ctx context.Context, item store.Item, archive io.Reader, scratch string) error {
	programs := store.NewAt(scratch)
	if err := programs.Add(logr.NewContext(ctx, logr.Discard()), item, archive); err != nil {
		return err
	}
	unpacked, err := programs.Path(item)
	if err != nil {
		return err
	}
	// The store makes its folders read-only, and such a folder cannot be moved.
	if err := os.Chmod(unpacked, 0o755); err != nil { //nolint:gosec // programs that all can run
		return err
	}
	return os.Rename(unpacked, d.dir)
}
