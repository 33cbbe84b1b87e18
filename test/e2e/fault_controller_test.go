//go:build e2e && linux

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/test/e2e/node"
)

const (
	// killTime is for how long the controller is killed again and again, with a pause of killPause
	// and up to moreKillPause after each kill. The Lease of a leader that was killed is another's
	// after 13 s, which begin when the next process has started, and which that checks every 2.4 s.
	killTime      = 5 * time.Minute
	killPause     = 24 * time.Second
	moreKillPause = 16 * time.Second
)

// controllerKilled ends every replica of the controller by SIGKILL, at random moments.
func (f *fleet) controllerKilled(tb testing.TB) (note string) {
	tb.Helper()
	killed, began := 0, time.Now()
	f.follow(tb, rand.N(moreKillPause)) //nolint:gosec // no secret
	for time.Since(began) < killTime {
		n, err := f.killController()
		f.check(tb, err)
		killed += n
		pause := killPause + rand.N(moreKillPause) //nolint:gosec // no secret
		f.follow(tb, min(pause, killTime-time.Since(began)))
	}
	return fmt.Sprintf("%d controllers killed", killed)
}

// killController kills every replica, and deletes their pods: the kubelet would restart a container
// later each time.
func (f *fleet) killController() (killed int, err error) {
	pids, err := node.ProcessIDs(controllerName)
	for _, pid := range pids {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if err == nil && killed == 0 {
		err = errors.New("there is no controller to kill")
	}
	if err != nil {
		return killed, err
	}
	return killed, f.client.DeleteAllOf(f.ctx, &corev1.Pod{}, client.InNamespace(kubeSystem), controllerPods, client.GracePeriodSeconds(0))
}
