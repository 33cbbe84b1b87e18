//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/hack/sandbox"
)

const (
	// judgePrefix begins the names of the roles, and pods, of this trial.
	judgePrefix = "judge-"
	// judgedCalls is how many calls of each SDK have to be right.
	judgedCalls = 3
	// hearing is how long that may take.
	hearing = 2 * time.Minute
)

// judge lets somebody else's STS judge: moto issues what the controller writes, verifies what SDKs make of it, and tells each of them who it is.
func judge(ctx context.Context, c *cluster) error {
	if c.moto == "" {
		fmt.Println("SKIPPED for want of moto")
		return nil
	}
	began := time.Now()
	keys, err := c.startMoto(ctx)
	if err != nil {
		return err
	}
	own, err := c.moveTo(ctx, "-k=hack/e2e/judge", keys)
	if err != nil {
		return err
	}
	fmt.Printf("After %.0f s the controller is with moto\n", time.Since(began).Seconds())
	witnesses, err := c.startWitnesses(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(c.hear(ctx, witnesses), c.tellWitnesses(witnesses)); err != nil {
		return err
	}
	for _, w := range witnesses {
		if err := c.Cluster.Delete(ctx, w.pod, client.GracePeriodSeconds(0)); err != nil {
			return err
		}
	}
	_, err = c.moveTo(ctx, "-k=hack/e2e/deploy", own)
	fmt.Printf("%.0f s in all\n", time.Since(began).Seconds())
	return err
}

// moveTo deploys the controller anew, as a user of another STS, and returns the file with the keys that it had.
func (c *cluster) moveTo(ctx context.Context, manifests, keys string) (had string, err error) {
	var secret corev1.Secret
	if err := c.Cluster.Get(ctx, client.ObjectKey{Namespace: kubeSystem, Name: userKeys}, &secret); err != nil {
		return "", err
	}
	had = string(secret.Data[credentialsKey])
	secret.Data[credentialsKey] = []byte(keys)
	if err := c.Cluster.Update(ctx, &secret); err != nil {
		return "", err
	}
	if err := c.apply(ctx, manifests); err != nil {
		return "", err
	}
	return had, c.controllerReady(ctx)
}

// witness is an SDK's program in its pod, and what it has heard from moto.
type witness struct {
	sdk
	pod        *corev1.Pod
	identities []string
	failed     []string
}

func (c *cluster) startWitnesses(ctx context.Context) (started []*witness, err error) {
	found, err := readSDKs(c.sdks)
	if err != nil {
		return nil, err
	}
	for _, s := range found {
		w := &witness{sdk: s}
		w.pod = s.pod(judgePrefix+s.name, "aws-iam-"+judgePrefix+s.name, motoURL)
		if err := c.Cluster.Create(ctx, w.pod); err != nil {
			return nil, err
		}
		started = append(started, w)
	}
	return started, nil
}

// hear listens to the witnesses until each has made enough calls or something speaks against it, or the time is over.
func (c *cluster) hear(ctx context.Context, witnesses []*witness) error {
	for began := time.Now(); time.Since(began) < hearing; {
		if err := sandbox.Pause(ctx, time.Second); err != nil {
			return err
		}
		for _, w := range witnesses {
			if err := w.look(ctx, c); err != nil {
				return err
			}
		}
		if !slices.ContainsFunc(witnesses, func(w *witness) bool { return w.against() == nil && len(w.identities) < judgedCalls }) {
			return nil
		}
	}
	return nil
}

// look brings what is known of the witness up to date.
func (w *witness) look(ctx context.Context, c *cluster) (err error) {
	if err := c.Cluster.Get(ctx, client.ObjectKeyFromObject(w.pod), w.pod); err != nil {
		return err
	}
	w.identities, w.failed, err = printed(w.pod)
	return err
}

// against is what speaks against the witness, whatever it may still do.
func (w *witness) against() error {
	return against(w.pod, w.identities, w.failed)
}

// tellWitnesses adds a table, and returns what is wrong in it.
func (c *cluster) tellWitnesses(witnesses []*witness) error {
	t := table{name: "judge", header: []string{"SDK", "version", "calls", "failed", "identity, as moto says"}}
	var wrong []error
	for _, w := range witnesses {
		var last string
		if len(w.identities) > 0 {
			last = w.identities[len(w.identities)-1]
		}
		t.rows = append(t.rows, []string{w.title, w.version, strconv.Itoa(len(w.identities)), strconv.Itoa(len(w.failed)), "`" + last + "`"})
		err := w.against()
		if err == nil && len(w.identities) < judgedCalls {
			err = fmt.Errorf("%s has made %d calls, not %d", w.name, len(w.identities), judgedCalls)
		}
		wrong = append(wrong, err)
	}
	c.add(&t)
	return errors.Join(wrong...)
}
