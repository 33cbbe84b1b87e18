//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/secret"
)

const (
	// crowd is how many pods come at once, and how many there are whose Secrets are due at that moment.
	crowd = 500
	// crowdLabel is on the pods of a crowd.
	crowdLabel = "crowd"
	// overdue is for how long STS is away before, so that all are due when it is back.
	overdue = 15 * time.Second
	// creators are how many create pods at a time.
	creators = 8
	// burstPatience is how long all of it may take: what the new pods wait at the worst, and less than the old have left.
	burstPatience = halfSession
)

// burst lets new pods come just when the Secrets of as many others are due, all at once, because STS was away. The pods are held back from the node,
// which could not start that many at a time: for the controller they are as good as any.
func burst(ctx context.Context, f *fleet) (note string, err error) {
	if err := f.crowd(ctx, "old"); err != nil {
		return "", err
	}
	var before, after map[string]types.UID
	if err := f.await(ctx, "the first pods have their Secrets", func() (ok bool, err error) {
		before, err = f.issuedTo(ctx, "old", f.began)
		return len(before) == crowd, err
	}); err != nil {
		return "", err
	}
	if _, err := f.sts(ctx, overdue, ststest.ConnectionReset); err != nil {
		return "", err
	}
	back := time.Now()
	if err := f.crowd(ctx, "new"); err != nil {
		return "", err
	}
	created := time.Since(back)
	if err := f.await(ctx, "all Secrets are there and renewed", func() (bool, error) {
		newcomers, err := f.issuedTo(ctx, "new", back)
		if err != nil || len(newcomers) < crowd {
			return false, err
		}
		after, err = f.issuedTo(ctx, "old", back)
		return len(after) == crowd, err
	}); err != nil {
		return "", err
	}
	took := time.Since(back)
	if took > burstPatience || !maps.Equal(before, after) {
		return "", fmt.Errorf("after %s; the Secrets of the first pods are the same: %t", took, maps.Equal(before, after))
	}
	return fmt.Sprintf("%d pods in %.1f s, all %d Secrets new after %.0f s", crowd, created.Seconds(), 2*crowd, took.Seconds()),
		f.Cluster.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.HasLabels{crowdLabel}, client.GracePeriodSeconds(0))
}

// crowd creates pods, each with a role of its own.
func (f *fleet) crowd(ctx context.Context, name string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(creators)
	for i := range crowd {
		group.Go(func() error { return f.Cluster.Create(ctx, waiting(fmt.Sprintf("%s-%d", name, i), name)) })
	}
	return group.Wait()
}

// waiting is a pod that mounts a Secret, and is never given to a node.
func waiting(name, crowd string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{crowdLabel: crowd}},
		Spec: corev1.PodSpec{
			SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.org/held-back"}},
			Containers:      []corev1.Container{{Name: container, Image: toolbox, VolumeMounts: []corev1.VolumeMount{{Name: "aws-iam", MountPath: mountPath}}}},
			Volumes: []corev1.Volume{{
				Name: "aws-iam", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "aws-iam-" + name}},
			}},
		},
	}
}

// issuedTo are the Secrets of a crowd whose credentials were issued since some moment.
func (f *fleet) issuedTo(ctx context.Context, crowd string, since time.Time) (map[string]types.UID, error) {
	var secrets corev1.SecretList
	err := f.Cluster.List(ctx, &secrets, client.InNamespace(namespace), client.MatchingLabels{secret.OwnerLabel: secret.OwnerValue})
	found := map[string]types.UID{}
	for i := range secrets.Items {
		s := &secrets.Items[i]
		session, known := f.STS.IssuedTo(s.Annotations[secret.AccessKeyIDAnnotation])
		if known && !session.Issued.Before(since) && strings.HasPrefix(s.Name, "aws-iam-"+crowd+"-") {
			found[s.Name] = s.UID
		}
	}
	return found, err
}
