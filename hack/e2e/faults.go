//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/secret"
)

const (
	// killing is how long the controller is killed again and again.
	killing = 5 * time.Minute
	// After each kill it is left in peace for killPause and up to as long again. The Lease of a leader that was killed is another's after 13 s,
	// so nothing is renewed for up to 20 s: less than half of sdkSession.
	killPause = 20 * time.Second
	// firstCalls is how long it may take until every SDK has called.
	firstCalls = 2 * time.Minute
)

// kills ends every replica of the controller by SIGKILL, at random moments, while the SDKs call.
func kills(ctx context.Context, c *cluster) error {
	return c.withSDKs(ctx, func(users []*user) error {
		if err := c.follow(ctx, users, firstCalls, func() bool {
			return !slices.ContainsFunc(users, func(u *user) bool { return u.calls == 0 })
		}); err != nil {
			return err
		}
		deleted, stop, err := c.countDeleted(ctx)
		if err != nil {
			return err
		}
		defer stop()
		killed, began := 0, time.Now()
		for time.Since(began) < killing && !slices.ContainsFunc(users, (*user).broken) {
			n, err := c.killController(ctx)
			if err != nil {
				return err
			}
			killed += n
			peace := killPause + rand.N(killPause) //nolint:gosec // no secret
			if err := c.follow(ctx, users, peace, never); err != nil {
				return err
			}
		}
		// What the last kill has done may show only once the session that was in use then is over.
		if err := c.follow(ctx, users, sdkSession, never); err != nil {
			return err
		}
		fmt.Printf("%d controllers killed in %.0f s, Secrets deleted: %d\n", killed, time.Since(began).Seconds(), deleted.Load())
		if deleted.Load() > 0 {
			return errors.New("a Secret was deleted that was wanted")
		}
		return nil
	})
}

func never() bool { return false }

// killController kills every replica, and deletes their pods: what the kubelet starts again it would start later each time.
func (c *cluster) killController(ctx context.Context) (killed int, err error) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	for _, path := range names {
		name, err := os.ReadFile(path)                                          //nolint:gosec // of /proc
		if err != nil || string(bytes.TrimSpace(name)) != controllerName[:15] { // as the kernel cuts it
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return killed, err
		}
		// Only processes of this cluster are in this /proc.
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			killed++
		}
	}
	return killed, c.Cluster.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(kubeSystem),
		client.MatchingLabels{"application": controllerName}, client.GracePeriodSeconds(0))
}

// countDeleted counts the Secrets of SDKs that are deleted from now on.
func (c *cluster) countDeleted(ctx context.Context) (deleted *atomic.Int64, stop func(), err error) {
	var secrets corev1.SecretList
	changes, err := c.Cluster.Watch(ctx, &secrets, client.InNamespace(namespace), client.MatchingLabels{secret.OwnerLabel: secret.OwnerValue})
	if err != nil {
		return nil, nil, err
	}
	deleted = &atomic.Int64{}
	go func() {
		for change := range changes.ResultChan() {
			s, ok := change.Object.(*corev1.Secret)
			if ok && change.Type == watch.Deleted && strings.HasPrefix(s.Name, "aws-iam-"+rolePrefix) {
				deleted.Add(1)
			}
		}
	}()
	return deleted, changes.Stop, nil
}
