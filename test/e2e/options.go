package e2e

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// options are what environment variables say. Paths are absolute; those in the variables can be
// relative to the repository's root.
type options struct {
	// assets is a folder with the programs of Kubernetes, and etcd (E2E_ASSETS).
	assets string
	// sdks has a folder for each program of test/sdk (E2E_SDKS).
	sdks string
	// logs is the folder for logs, which are kept (E2E_LOGS).
	logs string
	// docs is the folder whose tables are to be those of this run, "" for none (E2E_DOCS).
	docs string
	// manifests is the folder of the controller's kustomization for the local node.
	manifests string

	// For the local node: archives of the controller's image and of the same with a clock that can
	// be wrong (clock.sh), a static busybox, and moto's server.
	imageArchive, clockArchive, busybox, moto string

	remote remoteOptions
}

// remoteOptions are for a cluster that is there already.
type remoteOptions struct {
	// kubeconfig is its administrator's (E2E_KUBECONFIG). If it is "", tests start a local node.
	kubeconfig string
	// image is the controller's, as the nodes name it (E2E_IMAGE).
	image string
	// program is an image with a program of test/sdk, as /sdk/run, and sh and cat (E2E_SDK_IMAGE).
	program string
	// stsAddress is the host:port of this machine on which the STS double listens, and at which
	// pods reach it (E2E_STS_ADDRESS).
	stsAddress string
	// session is how long sessions last (E2E_SESSION). A kubelet takes up to a minute and a half to
	// bring a change into a pod, which has to be little of a session.
	session time.Duration
}

const defaultRemoteSession = 10 * time.Minute

// readOptions reads the environment of a run in which only some tests run, or all.
func readOptions(root string, getenv func(string) string, some bool) (options, error) {
	path := func(variable, preset string) string {
		value := getenv(variable)
		if value == "" {
			value = preset
		}
		if value == "" || filepath.IsAbs(value) {
			return value
		}
		return filepath.Join(root, value)
	}
	o := options{
		assets:       path("E2E_ASSETS", "bin/e2e/assets"),
		sdks:         path("E2E_SDKS", "bin/e2e/sdks"),
		logs:         path("E2E_LOGS", "bin/e2e/logs"),
		docs:         path("E2E_DOCS", ""),
		manifests:    path("", "test/e2e/deploy"),
		imageArchive: path("", "bin/e2e/image.tar"),
		clockArchive: path("", "bin/e2e/clock.tar"),
		busybox:      "/bin/busybox",
		moto:         path("E2E_MOTO", "bin/e2e/moto"),
		remote:       remoteOptions{kubeconfig: path("E2E_KUBECONFIG", "")},
	}
	if o.docs != "" && some {
		return o, errors.New("the docs have the tables of a whole run: leave out -run (RUN) or E2E_DOCS (DOCS)")
	}
	if o.remote.kubeconfig == "" {
		return o, nil
	}
	return o, o.remote.read(getenv)
}

func (o *remoteOptions) read(getenv func(string) string) (err error) {
	o.image, o.program, o.stsAddress = getenv("E2E_IMAGE"), getenv("E2E_SDK_IMAGE"), getenv("E2E_STS_ADDRESS")
	if o.image == "" || o.program == "" {
		return errors.New("E2E_KUBECONFIG needs E2E_IMAGE and E2E_SDK_IMAGE: images that the nodes have or can pull")
	}
	if _, _, err := net.SplitHostPort(o.stsAddress); err != nil {
		return fmt.Errorf("E2E_KUBECONFIG needs E2E_STS_ADDRESS, a host:port of this machine that pods reach: %w", err)
	}
	o.session = defaultRemoteSession
	if text := getenv("E2E_SESSION"); text != "" {
		if o.session, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("E2E_SESSION: %w", err)
		}
	}
	return nil
}
