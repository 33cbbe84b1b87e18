//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/secret"
)

// user is an SDK's program in its pod, and how it has fared.
type user struct {
	sdk
	pod    *corev1.Pod
	calls  int             // that succeeded
	failed int             // calls that did not, and those that STS refused
	called time.Time       // when there was one more was seen
	marked int             // of the calls those before the trial that is on
	used   map[string]bool // access key IDs
	lags   []time.Duration // for each rotation, from when STS issued new keys to when they were used
	left   time.Duration   // the least of a session that was left when its keys were used

	secret  types.UID
	held    ststest.Session // whose credentials are in the Secret
	deleted int             // how often the Secret was deleted by the controller, in the trial that is on
	byHand  int             // how often it is going to be seen as deleted by the trial itself
	stale   time.Duration
}

// silence is how long a program may make no call, which it ought to every second.
const silence = 20 * time.Second

// rolePrefix begins the names of all users' roles.
const rolePrefix = "sdk-"

// role is the name of the role that only this user has, and of its pod.
func (u *user) role() string { return rolePrefix + u.name }

// secretKey is the name of the user's Secret.
func (u *user) secretKey() client.ObjectKey {
	return client.ObjectKey{Namespace: namespace, Name: "aws-iam-" + u.role()}
}

// mark begins a new trial.
func (u *user) mark() { u.marked, u.deleted, u.stale = u.calls, 0, 0 }

// look brings what is known of the user up to date. It returns an error if the user has seen what it never may.
func (u *user) look(ctx context.Context, c *cluster, calls []ststest.Call) error {
	if err := u.lookCluster(ctx, c); err != nil {
		return err
	}
	ok, failed, err := printed(u.pod)
	if err != nil {
		return err
	}
	u.failed = len(failed)
	if err := against(u.pod, ok, failed); err != nil {
		return err
	}
	if now := time.Now(); len(ok) > u.calls {
		u.called = now
	} else if !u.called.IsZero() && now.Sub(u.called) > silence {
		return fmt.Errorf("%s has not called for %s", u.name, silence)
	}
	u.calls = len(ok)
	for _, call := range calls {
		if err := u.heard(call, c.STS.IssuedTo); err != nil {
			return err
		}
	}
	return nil
}

// mounted tells whether the pod has the files of the Secret that there is now.
func (u *user) mounted() bool {
	file := filepath.Join(kubeletDir, "pods", string(u.pod.UID), "volumes", "kubernetes.io~secret", "aws-iam", secret.StaticKey)
	text, err := os.ReadFile(file) //nolint:gosec // of the kubelet
	return err == nil && u.held.AccessKeyID != "" && strings.Contains(string(text), u.held.AccessKeyID)
}

// heard takes in a call of STS. Some SDKs repeat a call that was refused, and their program never hears of it.
func (u *user) heard(call ststest.Call, issuedTo func(string) (ststest.Session, bool)) error {
	switch {
	case call.CallerRoleARN != roleARN(u.role()):
		return nil
	case call.Code != "":
		u.failed++
		return fmt.Errorf("%s: STS refused a call: %s", u.name, call.Code)
	}
	session, known := issuedTo(call.CallerKeyID)
	if !known {
		return nil
	}
	u.left = min(u.left, session.Expires.Sub(call.Time))
	if u.used == nil {
		u.used = map[string]bool{}
	} else if !u.used[call.CallerKeyID] {
		u.lags = append(u.lags, call.Time.Sub(session.Issued))
	}
	u.used[call.CallerKeyID] = true
	return nil
}

// glanceTimeout bounds one look at the API server, which may be away.
const glanceTimeout = 500 * time.Millisecond

// lookCluster looks at the user's pod and Secret. That the API server does not answer is a trial's doing, and no error.
func (u *user) lookCluster(ctx context.Context, c *cluster) error {
	defer func() { u.stale = max(u.stale, u.overdue(time.Now())) }()
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	switch err := c.Cluster.Get(ctx, client.ObjectKeyFromObject(u.pod), u.pod); {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: its pod is gone", u.name)
	case err != nil:
		return nil
	}
	var s corev1.Secret
	switch err := c.Cluster.Get(ctx, u.secretKey(), &s); {
	case apierrors.IsNotFound(err):
		u.sees("", ststest.Session{})
	case err == nil:
		session, _ := c.STS.IssuedTo(s.Annotations[secret.AccessKeyIDAnnotation])
		u.sees(s.UID, session)
	}
	return nil
}

// overdue is how long half of the session is over.
func (u *user) overdue(now time.Time) time.Duration {
	if u.held.Issued.IsZero() {
		return 0
	}
	return max(0, now.Sub(u.held.Issued)-u.life()/2)
}

// life is how long the session lasts whose credentials are in the Secret.
func (u *user) life() time.Duration { return u.held.Expires.Sub(u.held.Issued) }

// renewed tells whether the Secret is as new as it should be: it is due after a quarter of its session at the latest.
func (u *user) renewed(now time.Time) bool {
	return now.Sub(u.held.Issued) < u.life()/4+2*time.Second
}

// sees takes in which Secret there is, if any, and whose credentials it holds, if that is known.
func (u *user) sees(uid types.UID, session ststest.Session) {
	switch {
	case u.secret == "" || u.secret == uid:
	case u.byHand > 0:
		u.byHand--
	default:
		u.deleted++
	}
	u.secret = uid
	if !session.Issued.IsZero() {
		u.held = session
	}
}
