//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
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
	if err := f.awaitFresh(ctx, sdkSession); err != nil {
		return "", err
	}
	if err := f.leaderNotices(ctx, offset); err != nil {
		return "", err
	}
	return fmt.Sprintf("by %s", offset), f.redeploy(ctx, controllerName+":latest", "CLOCK_OFFSET-")
}

// wrongClock is what the controller logs of its machine's clock.
var wrongClock = regexp.MustCompile(`the machine's clock is (\S+) (ahead of|behind) that of STS`)

// leaderNotices returns an error unless the leader has logged that its clock is off by that much, but for the seconds that it cannot know exactly.
func (c *cluster) leaderNotices(ctx context.Context, offset time.Duration) error {
	pod, err := c.leader(ctx)
	if err != nil {
		return err
	}
	log, err := os.ReadFile(firstLog(pod))
	if err != nil {
		return err
	}
	said, err := clockOffset(string(log))
	if err == nil && (said-offset).Abs() > 2*time.Second {
		err = fmt.Errorf("%s says that its clock is off by %s, and it is by %s", pod.Name, said, offset)
	}
	return err
}

// clockOffset is by how much the controller's clock is ahead, as its log says.
func clockOffset(log string) (time.Duration, error) {
	found := wrongClock.FindStringSubmatch(log)
	if found == nil {
		return 0, errors.New("the leader does not say that its clock is wrong")
	}
	off, err := time.ParseDuration(found[1])
	if found[2] == "behind" {
		off = -off
	}
	return off, err
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
