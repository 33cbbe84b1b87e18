// Package env starts, on this machine and without root, what the controller needs around it: a real
// API server, an STS double, and the controller's binary as a process of its own.
package env

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "kube-aws-iam-controller/api/v1"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	// Account and Region are those of the STS double.
	Account = "123456789012"
	Region  = "eu-central-1"
)

// Sandbox is an API server without nodes, and the STS double.
type Sandbox struct {
	// Dir is a folder that only the Sandbox uses.
	Dir string
	// API is the API server; Admin is its administrator's configuration, without a rate limit.
	API   envtest.Environment
	Admin *rest.Config
	// Cluster is the administrator's client.
	Cluster client.WithWatch
	STS     *ststest.Server
}

// Start starts an API server with the CRD of AWSIAMRole, and the STS double, on loopback. Flags are
// added to the API server's. The result is to be stopped, after an error too.
func Start(dir string, flags map[string]string) (s *Sandbox, err error) {
	s = &Sandbox{Dir: dir, STS: ststest.New()}
	s.API.CRDDirectoryPaths, s.API.ErrorIfCRDPathMissing = []string{"config/crd/bases"}, true
	err = s.start(flags)
	return s, err
}

// StartAt starts an API server without the CRD, and the STS double, at addresses that pods can
// reach. The result is to be stopped, after an error too.
func StartAt(dir, api, sts string, flags map[string]string) (s *Sandbox, err error) {
	s = &Sandbox{Dir: dir}
	if s.STS, err = ststest.Listen(sts); err != nil {
		return s, err
	}
	serving := &s.API.ControlPlane.GetAPIServer().SecureServing
	if serving.Address, serving.Port, err = net.SplitHostPort(api); err != nil {
		return s, err
	}
	if err := s.writeCertificates(serving.Address); err != nil {
		return s, err
	}
	err = s.start(flags)
	return s, err
}

// writeCertificates makes the API server's certificate. It is an hour old, and not of this moment,
// as envtest's are: clients whose clock is behind accept it.
func (s *Sandbox) writeCertificates(address string) error {
	server := s.API.ControlPlane.GetAPIServer()
	server.CertDir = filepath.Join(s.Dir, "certificates")
	if err := os.MkdirAll(server.CertDir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"apiserver", "sa-signer"} {
		certificate, key, err := cert.GenerateSelfSignedCertKey(address, nil, []string{"localhost"})
		if err := errors.Join(err, os.WriteFile(filepath.Join(server.CertDir, name+".crt"), certificate, 0o600),
			os.WriteFile(filepath.Join(server.CertDir, name+".key"), key, 0o600)); err != nil {
			return err
		}
		if name == "apiserver" {
			server.CA = certificate
		}
	}
	return nil
}

func (s *Sandbox) start(flags map[string]string) error {
	for name, value := range flags {
		s.API.ControlPlane.GetAPIServer().Configure().Set(name, value)
	}
	admin, err := s.API.Start()
	if err != nil {
		return fmt.Errorf("the API server does not start: %w", err)
	}
	s.Admin = rest.CopyConfig(admin)
	s.Admin.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return err
	}
	s.Cluster, err = client.NewWithWatch(s.Admin, client.Options{Scheme: scheme})
	return err
}

// Stop stops the API server and the STS double. The API server waits for its watches, which are to
// be closed before.
func (s *Sandbox) Stop() error {
	if s.STS != nil {
		s.STS.Close()
	}
	return s.API.Stop()
}

// Kubeconfig adds a user to the API server and writes a kubeconfig for it.
func (s *Sandbox) Kubeconfig(name string, groups ...string) (path string, err error) {
	user, err := s.API.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		return "", err
	}
	config, err := user.KubeConfig()
	if err != nil {
		return "", err
	}
	path = filepath.Join(s.Dir, strings.ReplaceAll(name, ":", "-")+".kubeconfig")
	return path, os.WriteFile(path, config, 0o600)
}

// Isolate removes the user's AWS settings from the environment, and has every temporary file in one
// folder.
func Isolate(dir string) error {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	return errors.Join(os.Setenv("TMPDIR", dir), os.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "none")))
}
