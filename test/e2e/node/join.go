//go:build linux

package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Joined is a container that containerd starts by itself, in the network namespace of a pod's first
// container, as docker run --network container:<id> does. It has nothing else of the pod.
type Joined struct {
	Name, Image string
	// Env are NAME=value. Folders of the machine are mounted where the container has them.
	Env     []string
	Folders map[string]string
	Command []string
}

// RunJoined runs a container until it has printed a line, which it returns.
func (*Node) RunJoined(ctx context.Context, pod *corev1.Pod, c *Joined) (line string, err error) {
	pid, err := containerProcess(ctx, pod)
	if err != nil {
		return "", err
	}
	args := []string{
		"-n", "k8s.io", "run", "--rm", "--read-only", "--with-ns=network:/proc/" + pid + "/ns/net",
		"--cgroup=/" + os.Getenv(cgroupVariable) + "/" + c.Name,
	}
	for _, variable := range c.Env {
		args = append(args, "--env="+variable)
	}
	for source, target := range c.Folders {
		args = append(args, "--mount=type=bind,src="+source+",dst="+target+",options=rbind:ro")
	}
	command := exec.CommandContext(ctx, "ctr", append(append(args, c.Image, c.Name), c.Command...)...) //nolint:gosec // the tests' own
	var complaints strings.Builder
	command.Stderr = &complaints
	out, err := command.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := command.Start(); err != nil {
		return "", err
	}
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", errors.Join(fmt.Errorf("container %s has printed nothing: %w: %s", c.Name, err, complaints.String()), command.Wait())
	}
	err = run(ctx, "ctr", "-n", "k8s.io", "tasks", "kill", "--signal=SIGKILL", c.Name)
	_ = command.Wait() // with the code of a container that was killed
	return strings.TrimSpace(line), err
}

// containerProcess returns the process ID of a pod's first container.
func containerProcess(ctx context.Context, pod *corev1.Pod) (string, error) {
	if len(pod.Status.ContainerStatuses) == 0 {
		return "", errors.New("the pod has not started")
	}
	tasks, err := output(ctx, "ctr", "-n", "k8s.io", "tasks", "list")
	if err != nil {
		return "", err
	}
	id := strings.TrimPrefix(pod.Status.ContainerStatuses[0].ContainerID, "containerd://")
	for line := range strings.Lines(tasks) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == id {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("containerd does not run %s", id)
}
