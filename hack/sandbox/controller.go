package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is how long the controller may take to end: it gives up by itself before.
const patience = time.Minute

// Controller is the controller's binary, running.
type Controller struct {
	*os.Process
	// Log is the file of what it prints.
	Log string
	// Exited yields how it ended, once it has.
	Exited chan error
}

// StartController runs the binary as a user would, with flags, a kubeconfig, and the keys of an AWS user in its environment.
func (s *Sandbox) StartController(binary, name, kubeconfig string, flags ...string) (*Controller, error) {
	c := &Controller{Log: filepath.Join(s.Dir, name+".log"), Exited: make(chan error, 1)}
	out, err := os.Create(c.Log)
	if err != nil {
		return nil, err
	}
	keys := s.STS.AddUser(Account, name)
	command := exec.Command(binary, append([]string{"--base-role-arn=arn:aws:iam::" + Account + ":role/"}, flags...)...) //nolint:gosec,noctx // the user's own binary, which is to outlive a signal, to be stopped in order
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "AWS_ENDPOINT_URL_STS="+s.STS.URL, "AWS_REGION="+Region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID="+keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+keys.SecretAccessKey)
	command.Stdout, command.Stderr = out, out
	if err := command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("the controller does not start: %w", err), out.Close())
	}
	c.Process = command.Process
	go func() {
		c.Exited <- command.Wait()
		_ = out.Close()
	}()
	return c, nil
}

// Stop ends the controller as a cluster would, and waits for it.
func (c *Controller) Stop() error {
	if err := c.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return <-c.Exited
	}
	select {
	case err := <-c.Exited:
		return err
	case <-time.After(patience):
		return errors.Join(errors.New("the controller does not end on SIGTERM"), c.Kill())
	}
}

// LogTail is the end of what the controller printed.
func (c *Controller) LogTail(most int) string {
	text, err := os.ReadFile(c.Log)
	if err != nil {
		return ""
	}
	lines := strings.SplitAfter(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "")
}
