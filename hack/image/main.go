// Command image packs the project's binaries as a container image: into an OCI archive, to a
// registry, or, for the Dockerfile, into a folder. With an image goes an SBOM for each platform,
// beside the archive and as a referrer in the registry. The command needs no container engine and
// no root, and the same input gives the same bytes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options are those of the command line.
type options struct {
	tag       string
	platforms string
	build     build

	archive string
	rootfs  string
	push    bool
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&o.tag, "tag", "", "what to call the image, such as registry.example.org/kube-aws-iam-controller:v1")
	flags.StringVar(&o.platforms, "platforms", "", "comma-separated list of `os/architecture` to pack")
	flags.StringVar(&o.build.binaries, "binaries", "bin", "`folder` with os/architecture/"+program+" and "+endpoint+" in it")
	flags.StringVar(&o.build.version, "version", "dev", "version, for the labels")
	flags.StringVar(&o.build.revision, "revision", "", "commit, for the labels")
	created := flags.Int64("created", 0, "when the image was made, in `seconds` since 1970")
	flags.StringVar(&o.archive, "archive", "", "OCI archive to write: a `file`; SBOMs go beside it")
	flags.BoolVar(&o.push, "push", false, "push to the tag's registry, logged in as docker or podman is")
	flags.StringVar(&o.rootfs, "rootfs", "", "new `folder` to write the root file system of one platform into")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.build.created = time.Unix(*created, 0).UTC()
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	if o.archive == "" && o.rootfs == "" && !o.push {
		return o, errors.New("nothing to do: give --archive, --push or --rootfs")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	platforms, err := parsePlatforms(o.platforms)
	if err != nil {
		return err
	}
	if o.rootfs != "" {
		if err := o.writeRootfs(platforms); err != nil {
			return err
		}
	}
	if o.archive == "" && !o.push {
		return nil
	}
	return o.publish(ctx, platforms, out)
}

func parsePlatforms(list string) ([]v1.Platform, error) {
	var platforms []v1.Platform
	for text := range strings.SplitSeq(list, ",") {
		platform, err := v1.ParsePlatform(text)
		if err != nil {
			return nil, fmt.Errorf("--platforms: %w", err)
		}
		if platform.OS == "" || platform.Architecture == "" {
			return nil, fmt.Errorf("--platforms: %q is not of the form os/architecture", text)
		}
		platforms = append(platforms, *platform)
	}
	return platforms, nil
}

// writeRootfs does what --rootfs asks for.
func (o *options) writeRootfs(platforms []v1.Platform) error {
	if len(platforms) != 1 {
		return fmt.Errorf("--rootfs is for one platform, and --platforms has %d", len(platforms))
	}
	files, err := o.build.programFiles(platforms[0])
	if err != nil {
		return err
	}
	return writeFolder(o.rootfs, append(baseFiles(), files...))
}

// publish does what --archive and --push ask for, and prints the reference of this very image.
func (o *options) publish(ctx context.Context, platforms []v1.Platform, out io.Writer) error {
	tag, err := name.NewTag(o.tag)
	if err != nil {
		return fmt.Errorf("--tag: %w", err)
	}
	if o.push && strings.HasPrefix(fullName(tag), "docker.io/library/") {
		return fmt.Errorf("--tag: %s names no registry to push to, such as registry.example.org/%s", o.tag, o.tag)
	}
	index, err := o.build.index(platforms)
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if o.archive != "" {
		if err := writeArchive(o.archive, index, fullName(tag)); err != nil {
			return err
		}
		if err := o.build.writeSBOMs(o.archive, platforms); err != nil {
			return err
		}
	}
	if o.push {
		if err := o.build.pushIndex(ctx, tag, index); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%s@%s\n", fullName(tag), digest)
	return err
}

// pushIndex pushes the image, then the SBOMs that refer to it.
func (b *build) pushIndex(ctx context.Context, tag name.Tag, index v1.ImageIndex) error {
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if err := remote.WriteIndex(tag, index, options...); err != nil {
		return fmt.Errorf("pushing %s: %w", tag, err)
	}
	return b.pushSBOMs(tag.Repository, index, options...)
}

// fullName returns the tag as containerd, podman and the kubelet write it: a name without a
// registry is docker.io's, which the library writes index.docker.io.
func fullName(tag name.Tag) string {
	return strings.Replace(tag.Name(), name.DefaultRegistry+"/", "docker.io/", 1)
}
