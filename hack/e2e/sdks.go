//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/hack/sandbox"
)

const (
	// sdkSession is how long the sessions of SDKs last, so that rotations need not be waited for long.
	sdkSession = time.Minute
	// rotations is how often each SDK has to take up new keys.
	rotations = 5
	// sdkPatience is how long that may take.
	sdkPatience = 10 * time.Minute
)

// sdks lets a program of each SDK call STS every second, with nothing but the documented environment, through rotations of its keys.
func sdks(ctx context.Context, c *cluster) error {
	return c.withSDKs(ctx, func(users []*user) error {
		return c.follow(ctx, users, sdkPatience, func() bool {
			return !slices.ContainsFunc(users, func(u *user) bool { return len(u.lags) < rotations })
		})
	})
}

// withSDKs runs a program of each SDK on short sessions, does something meanwhile, and then tells how they have fared.
func (c *cluster) withSDKs(ctx context.Context, do func([]*user) error) error {
	c.STS.SetSessionLifetime(sdkSession)
	defer c.STS.SetSessionLifetime(0)
	began := time.Now()
	users, err := c.startSDKs(ctx)
	if err != nil {
		return err
	}
	if err := do(users); err != nil {
		return err
	}
	fmt.Printf("Sessions of %s, %.0f s:\n", sdkSession, time.Since(began).Seconds())
	if err := printUsers(users); err != nil {
		return err
	}
	return c.Cluster.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0))
}

// follow looks at users every second, until all is done, or one has seen what it never may, or the time is over.
func (c *cluster) follow(ctx context.Context, users []*user, patience time.Duration, done func() bool) error {
	for began := time.Now(); time.Since(began) < patience; {
		if err := sandbox.Pause(ctx, time.Second); err != nil {
			return err
		}
		for _, u := range users {
			if err := u.look(ctx, c); err != nil {
				return err
			}
		}
		if done() || slices.ContainsFunc(users, (*user).broken) {
			return nil
		}
	}
	return nil
}

// user is an SDK's program in its pod, and how it has fared.
type user struct {
	sdk
	pod    *corev1.Pod
	since  time.Time
	ended  bool
	calls  int
	failed []string // what the program says of calls that failed

	refused []string        // STS's answers to calls that it refused, such as those that a client repeats without a word
	lags    []time.Duration // for each rotation, from when STS issued new keys to when they were used
	left    time.Duration   // the least of a session that was left when its keys were used
}

func (c *cluster) startSDKs(ctx context.Context) (users []*user, err error) {
	entries, err := os.ReadDir(c.sdks)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		u := &user{}
		if u.sdk, err = readSDK(c.sdks, entry.Name()); err != nil {
			return nil, err
		}
		u.pod = u.sdk.pod(u.role(), "aws-iam-"+u.role(), c.STS.URL)
		u.since = time.Now()
		if err := c.Cluster.Create(ctx, u.pod); err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, nil
}

// broken tells whether the user has already seen what it never may.
func (u *user) broken() bool { return u.ended || len(u.failed)+len(u.refused) > 0 }

// rolePrefix begins the names of all users' roles.
const rolePrefix = "sdk-"

// role is the name of the role that only this user has, and of its pod.
func (u *user) role() string { return rolePrefix + u.name }

// look brings what is known of the user up to date.
func (u *user) look(ctx context.Context, c *cluster) error {
	if err := c.Cluster.Get(ctx, client.ObjectKeyFromObject(u.pod), u.pod); err != nil {
		return err
	}
	u.ended = u.pod.Status.Phase == corev1.PodFailed || u.pod.Status.Phase == corev1.PodSucceeded
	u.readCalls(c)
	return u.readLog()
}

// readLog takes in what the program has printed.
func (u *user) readLog() error {
	printed, err := lines(filepath.Join(podLogs, namespace+"_"+u.pod.Name+"_"+string(u.pod.UID), container, "0.log"))
	if err != nil {
		return err
	}
	u.calls, u.failed = 0, nil
	for _, line := range printed {
		// Time, stream, and whether the line is whole come first.
		fields := strings.SplitN(line, " ", 4)
		switch {
		case len(fields) < 4:
		case strings.HasPrefix(fields[3], "ok "+"arn:aws:sts::"):
			u.calls++
		case strings.HasPrefix(fields[3], "failed") || u.ended:
			u.failed = append(u.failed, fields[3])
		}
	}
	return nil
}

// readCalls takes in what STS has seen of the user's role.
func (u *user) readCalls(c *cluster) {
	issued := map[string]time.Time{}
	var used []string
	u.refused, u.lags, u.left = nil, nil, sdkSession
	for _, call := range c.STS.Calls() {
		switch {
		case call.RoleARN == roleARN(u.role()) && call.AccessKeyID != "":
			issued[call.AccessKeyID] = call.Time
		case call.CallerRoleARN != roleARN(u.role()) || call.Time.Before(u.since):
		case call.Code != "":
			u.refused = append(u.refused, call.Code)
		default:
			if session, known := c.STS.IssuedTo(call.CallerKeyID); known {
				u.left = min(u.left, session.Expires.Sub(call.Time))
			}
			if slices.Contains(used, call.CallerKeyID) {
				continue
			}
			if len(used) > 0 {
				u.lags = append(u.lags, call.Time.Sub(issued[call.CallerKeyID]))
			}
			used = append(used, call.CallerKeyID)
		}
	}
}

// printUsers prints a table, and returns what is wrong in it.
func printUsers(users []*user) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(out, "SDK\tcalls\tfailed\trefused by STS\trotations\ts from rotation to use, p50\tworst\ts left of the session, least\t")
	var wrong []error
	for _, u := range users {
		var p50, worst time.Duration
		if len(u.lags) > 0 {
			slices.Sort(u.lags)
			p50, worst = median(u.lags), u.lags[len(u.lags)-1]
		}
		_, _ = fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%d\t%.0f\t%.0f\t%.0f\t\n", u.name, u.calls, len(u.failed), len(u.refused), len(u.lags), p50.Seconds(), worst.Seconds(), u.left.Seconds())
		if u.ended {
			wrong = append(wrong, fmt.Errorf("%s has ended", u.name))
		}
		if len(u.lags) < rotations {
			wrong = append(wrong, fmt.Errorf("%s has taken up new keys %d times, not %d", u.name, len(u.lags), rotations))
		}
		for _, failure := range slices.Concat(u.failed, u.refused) {
			wrong = append(wrong, fmt.Errorf("%s: %s", u.name, failure))
		}
	}
	return errors.Join(append(wrong, out.Flush())...)
}
