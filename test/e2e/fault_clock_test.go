//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"kube-aws-iam-controller/test/e2e/node"
)

const (
	// wrongBy is more than STS accepts in a signature's time.
	wrongBy = 7 * time.Minute
	// clockImage is the image with the clock that can be wrong.
	clockImage = controllerName + ":clock"
)

func (f *fleet) clockAhead(tb testing.TB) (note string) {
	tb.Helper()
	return f.setClock(tb, wrongBy)
}

func (f *fleet) clockBehind(tb testing.TB) (note string) {
	tb.Helper()
	return f.setClock(tb, -wrongBy)
}

// setClock deploys the same program with a clock that is wrong, and afterwards the image again.
func (f *fleet) setClock(tb testing.TB, offset time.Duration) (note string) {
	tb.Helper()
	f.redeploy(tb, clockImage, fmt.Sprintf("CLOCK_OFFSET=%.0f", offset.Seconds()))
	f.follow(tb, f.twoRenewals())
	f.awaitFresh(tb, f.Session)
	f.requireLoggedOffset(tb, offset)
	f.redeploy(tb, controllerName+":latest", "CLOCK_OFFSET-")
	return fmt.Sprintf("by %s", offset)
}

// requireLoggedOffset fails unless the leader has logged how far its clock is off, within the
// seconds that it cannot know exactly.
func (f *fleet) requireLoggedOffset(tb testing.TB, offset time.Duration) {
	tb.Helper()
	pod, err := f.getLeader()
	f.check(tb, err)
	log, err := os.ReadFile(node.PodLog(pod))
	f.check(tb, err)
	logged, err := findClockOffset(string(log))
	f.check(tb, err)
	if (logged - offset).Abs() > 2*time.Second {
		tb.Errorf("%s logs that its clock is off by %s, and it is by %s", pod.Name, logged, offset)
	}
}

// redeploy sets the image and an environment variable of the controller, and waits until every
// replica has them.
func (f *fleet) redeploy(tb testing.TB, image, variable string) {
	tb.Helper()
	const deployment = "deployment/" + controllerName
	for _, args := range [][]string{
		{"rollout", "pause", deployment},
		{"set", "env", deployment, variable},
		{"set", "image", deployment, controllerName + "=" + image},
		{"rollout", "resume", deployment},
	} {
		f.check(tb, f.kubectl(f.ctx, append([]string{"--namespace=" + kubeSystem}, args...)...))
	}
	f.awaitController(tb)
}
