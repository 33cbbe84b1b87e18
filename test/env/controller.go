package env

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

// stopTimeout is how long the controller can take to end. It gives up by itself before.
const stopTimeout = time.Minute

// Controller is a process of the controller's binary.
type Controller struct {
	*os.Process
	// Log is the file with its output.
	Log string
	// Exited yields the error of Wait when the process has ended.
	Exited chan error
}

// StartController starts the binary as a user would, with flags, a kubeconfig, and the keys of an
// AWS user in its environment.
func (s *Sandbox) StartController(binary, name, kubeconfig string, flags ...string) (*Controller, error) {
	c := &Controller{Log: filepath.Join(s.Dir, name+".log"), Exited: make(chan error, 1)}
	out, err := os.Create(c.Log)
	if err != nil {
		return nil, err
	}
	keys := s.STS.AddUser(Account, name)
	args := append([]string{"--base-role-arn=arn:aws:iam::" + Account + ":role/"}, flags...)
	command := exec.Command(binary, args...) //nolint:gosec,noctx // the user's own binary; Stop stops it in order after a signal
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig,
		"AWS_ENDPOINT_URL_STS="+s.STS.URL, "AWS_REGION="+Region, "AWS_EC2_METADATA_DISABLED=true",
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

// Stop stops the controller as a kubelet does, and waits for its end.
func (c *Controller) Stop() error {
	if err := c.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return <-c.Exited
	}
	select {
	case err := <-c.Exited:
		return err
	case <-time.After(stopTimeout):
		return errors.Join(errors.New("the controller does not end on SIGTERM"), c.Kill())
	}
}

// LogTail returns the last lines of the log.
func (c *Controller) LogTail(most int) string {
	text, err := os.ReadFile(c.Log)
	if err != nil {
		return ""
	}
	lines := strings.SplitAfter(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "")
}
