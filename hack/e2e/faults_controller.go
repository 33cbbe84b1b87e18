//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// killing is how long the controller is killed again and again. After each kill it is left in peace for killPause and up to moreKillPause: the Lease
	// of a leader that was killed is another's after 13 s, which begin when the next process has started, and are looked at every 2.4 s.
	killing       = 5 * time.Minute
	killPause     = 24 * time.Second
	moreKillPause = 16 * time.Second
)

// kills ends every replica of the controller by SIGKILL, at random moments.
func kills(ctx context.Context, f *fleet) (note string, err error) {
	killed, began := 0, time.Now()
	if err := f.follow(ctx, rand.N(moreKillPause)); err != nil { //nolint:gosec // no secret
		return "", err
	}
	for time.Since(began) < killing {
		n, err := f.killController(ctx)
		if err == nil && n == 0 {
			err = errors.New("there was no controller to kill")
		}
		if err != nil {
			return "", err
		}
		killed += n
		peace := killPause + rand.N(moreKillPause) //nolint:gosec // no secret
		if err := f.follow(ctx, min(peace, killing-time.Since(began))); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d controllers killed", killed), nil
}

// killController kills every replica, and deletes their pods: what the kubelet starts again it would start later each time.
func (c *cluster) killController(ctx context.Context) (killed int, err error) {
	pids, err := processes(controllerName)
	for _, pid := range pids {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if err != nil {
		return killed, err
	}
	return killed, c.Cluster.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(kubeSystem),
		controllerPods, client.GracePeriodSeconds(0))
}
