//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/hack/sandbox"
	"kube-aws-iam-controller/pkg/secret"
)

// mending is how long a Secret may stay spoiled: of one Secret three writes follow each other at once, of which some may be
// renewals, and then come pauses, with sessions of a minute of up to 3.75 s. The machine may be busy.
const mending = 8 * time.Second

// byHand spoils every user's Secret and then deletes it, as somebody might who knows no better. Not the very file that the user reads, as the kubelet
// may happen to take that at just this moment, and there is no help against that.
func byHand(ctx context.Context, f *fleet) (note string, err error) {
	var worst time.Duration
	for _, u := range f.users {
		for _, spoil := range []func(context.Context) error{
			func(ctx context.Context) error {
				return f.edit(ctx, u, `{"data":{"container.json":null,"expire":"bmV2ZXI="}}`)
			},
			func(ctx context.Context) error {
				return f.edit(ctx, u, `{"metadata":{"annotations":{"iam.amazonaws.com/role-arn":null,"iam.amazonaws.com/issued-at":"never"}}}`)
			},
			func(ctx context.Context) error {
				u.byHand++
				return f.Cluster.Delete(ctx, &corev1.Secret{ObjectMeta: objectMeta(u.secretKey())})
			},
		} {
			took, err := f.mended(ctx, u, spoil)
			if err != nil {
				return "", err
			}
			worst = max(worst, took)
		}
	}
	if worst > mending {
		err = fmt.Errorf("a Secret was mended only after %s", worst)
	}
	return fmt.Sprintf("%d edits and %d deletions, each mended within %d ms", 2*len(f.users), len(f.users), worst.Milliseconds()), err
}

func (f *fleet) edit(ctx context.Context, u *user, patch string) error {
	s := corev1.Secret{ObjectMeta: objectMeta(u.secretKey())}
	return f.Cluster.Patch(ctx, &s, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// mended spoils a user's Secret, and tells how long it takes until there are new credentials in it.
func (f *fleet) mended(ctx context.Context, u *user, spoil func(context.Context) error) (time.Duration, error) {
	var before corev1.Secret
	if err := f.Cluster.Get(ctx, u.secretKey(), &before); err != nil {
		return 0, err
	}
	if err := spoil(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	err := sandbox.Await(ctx, "the Secret of "+u.name+" is mended", func() (bool, error) {
		var s corev1.Secret
		if err := f.Cluster.Get(ctx, u.secretKey(), &s); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		return whole(&s, u) && s.Annotations[secret.AccessKeyIDAnnotation] != before.Annotations[secret.AccessKeyIDAnnotation], nil
	})
	return time.Since(began), err
}

// whole tells whether nothing is missing of what the trial has spoiled.
func whole(s *corev1.Secret, u *user) bool {
	_, err := time.Parse(time.RFC3339, string(s.Data[secret.ExpireKey]))
	return err == nil && len(s.Data[secret.ContainerKey]) > 0 && s.Annotations[secret.RoleARNAnnotation] == roleARN(u.role())
}

func objectMeta(key client.ObjectKey) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}
}
