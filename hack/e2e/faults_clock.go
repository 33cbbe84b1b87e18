//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// clockAhead and clockBehind let the controller's clock be wrong by more than STS puts up with in a signature.
const wrongBy = 7 * time.Minute

func clockAhead(ctx context.Context, f *fleet) (note string, err error) { return f.clock(ctx, wrongBy) }

func clockBehind(ctx context.Context, f *fleet) (note string, err error) {
	return f.clock(ctx, -wrongBy)
}

// clock deploys the same program with a clock that is wrong, and afterwards the image again.
func (f *fleet) clock(ctx context.Context, offset time.Duration) (note string, err error) {
	if err := f.redeploy(ctx, clockImage, fmt.Sprintf("CLOCK_OFFSET=%.0f", offset.Seconds())); err != nil {
		return "", err
	}
	if err := f.follow(ctx, twoRenewals); err != nil {
		return "", err
	}
	if err := f.leaderSays(ctx, "the machine's clock is "+offset.Abs().String()); err != nil {
		return "", err
	}
	return fmt.Sprintf("by %s", offset), f.redeploy(ctx, controllerName+":latest", "CLOCK_OFFSET-")
}

// leaderSays returns an error unless the leader's log has a text in it.
func (c *cluster) leaderSays(ctx context.Context, text string) error {
	pod, err := c.leader(ctx)
	if err != nil {
		return err
	}
	said, err := os.ReadFile(filepath.Join(podLogs, kubeSystem+"_"+pod.Name+"_"+string(pod.UID), controllerName, "0.log"))
	if err == nil && !strings.Contains(string(said), text) {
		err = fmt.Errorf("the log of %s does not say: %s", pod.Name, text)
	}
	return err
}

// redeploy sets the image and an environment variable of the controller, and waits until all of it is so.
func (f *fleet) redeploy(ctx context.Context, image, variable string) error {
	const deployment = "deployment/" + controllerName
	for _, args := range [][]string{
		{"rollout", "pause", deployment},
		{"set", "env", deployment, variable},
		{"set", "image", deployment, controllerName + "=" + image},
		{"rollout", "resume", deployment},
	} {
		if err := f.kubectl(ctx, append([]string{"--namespace=" + kubeSystem}, args...)...); err != nil {
			return err
		}
	}
	return f.awaitController(ctx)
}

// awaitController waits until both replicas of the controller are ready and one leads.
func (f *fleet) awaitController(ctx context.Context) error {
	return f.await(ctx, "both replicas are ready and one leads", func() (bool, error) { return f.controllerLeads(ctx) })
}

// clockImage is the image with the clock that can be wrong.
const clockImage = controllerName + ":clock"
