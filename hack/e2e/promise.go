//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/hack/sandbox"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

const (
	// pairs is how many pods of each kind are measured.
	pairs = 50
	// most is what half of the pods may wait longer for the controller than for the kubelet alone: half a second is when that tries a second time.
	most = time.Second
)

// promise shows that a pod waits for its credentials, and measures how long that takes: from the pod's creation to its first call of STS.
// Every pod that comes before its Secret is followed by one whose Secret, with the same files, is there already: that is as fast as the
// kubelet can be.
func promise(ctx context.Context, c *cluster) error {
	caller, err := readSDK(c.sdks, "go-v2")
	if err != nil {
		return err
	}
	if err := c.waits(ctx, &caller); err != nil {
		return err
	}
	var early, plain []time.Duration
	for i := range pairs {
		name := fmt.Sprintf("early-%d", i)
		took, err := c.firstCall(ctx, &caller, name, "aws-iam-"+name)
		if err != nil {
			return err
		}
		early = append(early, took)

		name = fmt.Sprintf("plain-%d", i)
		if err := c.writePlain(ctx, name); err != nil {
			return err
		}
		if took, err = c.firstCall(ctx, &caller, name, name); err != nil {
			return err
		}
		plain = append(plain, took)
	}
	c.add(&table{
		name: "promise", header: []string{fmt.Sprintf("from the creation of a pod to its first call, %d pods each", pairs), "p50", "p90", "worst"},
		rows: [][]string{spread("the Secret is there already", plain), spread("the controller has to write it", early)},
	})
	if more := median(early) - median(plain); more > most {
		return fmt.Errorf("half of the pods waited %s longer for the controller than for the kubelet alone", more)
	}
	return nil
}

// spread is a row of a table. It puts the durations in order.
func spread(what string, of []time.Duration) []string {
	slices.Sort(of)
	row := []string{what}
	for _, d := range []time.Duration{median(of), of[(len(of)-1)*9/10], of[len(of)-1]} {
		row = append(row, fmt.Sprintf("%.2f s", d.Seconds()))
	}
	return row
}

// median is that of durations in order.
func median(of []time.Duration) time.Duration { return of[(len(of)-1)/2] }

func roleARN(name string) string { return "arn:aws:iam::" + sandbox.Account + ":role/" + name }

// identity is who the session of a role is, which the controller names by cluster, namespace and Secret.
func identity(name string) string {
	return "arn:aws:sts::" + sandbox.Account + ":assumed-role/" + name + "/e2e." + namespace + ".aws-iam-" + name
}

// writePlain writes a Secret that is none of the controller's, with the files that the controller would write.
func (c *cluster) writePlain(ctx context.Context, name string) error {
	const lifetime = time.Hour
	keys, err := c.STS.AddSession(roleARN(name), name, lifetime)
	if err != nil {
		return err
	}
	arn, err := role.ParseARN(roleARN(name))
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	rendered := secret.Render(secret.Target{
		Name:    types.NamespacedName{Namespace: namespace, Name: name},
		Session: credentials.Session{Role: arn, Name: name},
		Files:   secret.Files{MountPath: mountPath, Region: sandbox.Region},
	}, credentials.Credentials{
		AccessKeyID: keys.AccessKeyID, SecretAccessKey: credentials.Redact(keys.SecretAccessKey), SessionToken: credentials.Redact(keys.SessionToken),
		Issued: now, Expires: now.Add(lifetime),
	})
	rendered.Labels = nil
	return c.Cluster.Create(ctx, rendered)
}

// firstCall creates a pod, waits for its first successful call, and removes the pod.
func (c *cluster) firstCall(ctx context.Context, with *sdk, name, mounted string) (time.Duration, error) {
	pod := with.pod(name, mounted, c.STS.URL)
	began := time.Now()
	if err := c.Cluster.Create(ctx, pod); err != nil {
		return 0, err
	}
	called, err := c.awaitCall(ctx, name)
	return called.Sub(began), errors.Join(err, c.Cluster.Delete(ctx, pod, client.GracePeriodSeconds(0)))
}

// awaitCall waits for the first successful call by a role, and returns when STS had it.
func (c *cluster) awaitCall(ctx context.Context, name string) (at time.Time, err error) {
	err = sandbox.Await(ctx, "a successful call by role "+name, func() (bool, error) {
		for _, call := range c.STS.Calls() {
			if call.CallerRoleARN == roleARN(name) && call.Code == "" {
				at = call.Time
				return true, nil
			}
		}
		return false, nil
	})
	return at, err
}

// waits shows that a pod does not start as long as STS refuses its role, and does when it no longer does.
func (c *cluster) waits(ctx context.Context, with *sdk) error {
	const name = "late"
	c.STS.Deny(roleARN(name))
	pod := with.pod(name, "aws-iam-"+name, c.STS.URL)
	if err := c.Cluster.Create(ctx, pod); err != nil {
		return err
	}
	for _, reason := range []string{"FailedMount", "GetCredentialsFailed"} {
		if err := c.awaitEvent(ctx, pod, reason); err != nil {
			return err
		}
	}
	if err := c.Cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
		return err
	}
	if statuses := pod.Status.ContainerStatuses; len(statuses) != 1 || statuses[0].State.Waiting == nil || statuses[0].State.Waiting.Reason != "ContainerCreating" {
		return fmt.Errorf("without its Secret the pod is in state %+v", statuses)
	}
	c.STS.Allow(roleARN(name))
	key := client.ObjectKey{Namespace: namespace, Name: "aws-iam-" + name}
	if err := sandbox.Await(ctx, "the Secret is written", func() (bool, error) {
		err := c.Cluster.Get(ctx, key, &corev1.Secret{})
		return err == nil, client.IgnoreNotFound(err)
	}); err != nil {
		return err
	}
	written := time.Now()
	called, err := c.awaitCall(ctx, name)
	if err != nil {
		return err
	}
	fmt.Printf("A pod without its Secret stayed in ContainerCreating, with the events FailedMount and GetCredentialsFailed,\n"+
		"and made its first call %.1f s after the Secret had been written\n\n", called.Sub(written).Seconds())
	return c.Cluster.Delete(ctx, pod, client.GracePeriodSeconds(0))
}

func (c *cluster) awaitEvent(ctx context.Context, pod *corev1.Pod, reason string) error {
	return sandbox.Await(ctx, "event "+reason+" on pod "+pod.Name, func() (bool, error) {
		var events corev1.EventList
		err := c.Cluster.List(ctx, &events, client.InNamespace(pod.Namespace), client.MatchingFields{"involvedObject.name": pod.Name, "reason": reason})
		return len(events.Items) > 0, err
	})
}
