//go:build e2e && linux

package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/secret"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	// burstSize is how many pods come at once, and how many have Secrets that are due at that
	// moment.
	burstSize = 500
	// burstLabel is on all pods of a burst.
	burstLabel = "burst"
	// burstCreators is how many goroutines create pods.
	burstCreators = 8
)

// burst creates new pods just when the Secrets of as many others are due, all at once, because STS
// was away. All of it can take half a session: new pods wait for no longer at the worst, and old
// ones have more left. The pods are held back from the nodes, which could not start that many at a
// time: the controller knows no difference.
func (f *fleet) burst(tb testing.TB) (note string) {
	tb.Helper()
	f.createGatedPods(tb, "old")
	before := f.awaitIssued(tb, "old", f.began)
	f.setSTSFault(tb, f.Session/4, ststest.ConnectionReset) // until all are due
	back := time.Now()
	f.createGatedPods(tb, "new")
	created := time.Since(back)
	f.awaitIssued(tb, "new", back)
	after := f.awaitIssued(tb, "old", back)
	took := time.Since(back)
	if took > f.halfSession() {
		tb.Errorf("all Secrets were written and renewed only after %s", took)
	}
	if !maps.Equal(before, after) {
		tb.Error("Secrets of the old pods were deleted and created again")
	}
	f.check(tb, f.client.DeleteAllOf(f.ctx, &corev1.Pod{}, client.InNamespace(namespace), client.HasLabels{burstLabel}, client.GracePeriodSeconds(0)))
	return fmt.Sprintf("%d pods in %.1f s, all %d Secrets new after %.0f s", burstSize, created.Seconds(), 2*burstSize, took.Seconds())
}

// createGatedPods creates pods, each with a role of its own.
func (f *fleet) createGatedPods(tb testing.TB, group string) {
	tb.Helper()
	creators, ctx := errgroup.WithContext(f.ctx)
	creators.SetLimit(burstCreators)
	for i := range burstSize {
		creators.Go(func() error { return f.client.Create(ctx, gatedPod(fmt.Sprintf("%s-%d", group, i), group)) })
	}
	f.check(tb, creators.Wait())
}

// gatedPod returns a pod that mounts a Secret, and is never scheduled.
func gatedPod(name, group string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{burstLabel: group}},
		Spec: corev1.PodSpec{
			SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.org/held-back"}},
			Containers: []corev1.Container{{
				Name: containerName, Image: "example.org/none:1", VolumeMounts: []corev1.VolumeMount{{Name: volumeName, MountPath: mountPath}},
			}},
			Volumes: []corev1.Volume{{
				Name: volumeName, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secretPrefix + name}},
			}},
		},
	}
}

// awaitIssued waits until every Secret of a group has credentials that were issued since some
// moment, and returns the Secrets.
func (f *fleet) awaitIssued(tb testing.TB, group string, since time.Time) (found map[string]types.UID) {
	tb.Helper()
	f.await(tb, "every Secret of the "+group+" pods has credentials", func() (ok bool, err error) {
		found, err = f.listIssued(group, since)
		return len(found) == burstSize, err
	})
	return found
}

func (f *fleet) listIssued(group string, since time.Time) (map[string]types.UID, error) {
	var secrets corev1.SecretList
	err := f.client.List(f.ctx, &secrets, client.InNamespace(namespace), client.MatchingLabels{secret.OwnerLabel: secret.OwnerValue})
	found := map[string]types.UID{}
	for i := range secrets.Items {
		s := &secrets.Items[i]
		session, known := f.STS.IssuedTo(s.Annotations[secret.AccessKeyIDAnnotation])
		if known && !session.Issued.Before(since) && strings.HasPrefix(s.Name, secretPrefix+group+"-") {
			found[s.Name] = s.UID
		}
	}
	return found, err
}
