//go:build e2e && linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/test/env"
)

// repairLimit is how long a Secret can stay damaged: the controller writes a Secret three times at
// once, which can be renewals, and then with pauses of, for sessions of a minute, up to 3.75 s. The
// machine can be busy.
const repairLimit = 8 * time.Second

// editedByHand damages the Secret of every caller that reads files, and then deletes it. It leaves
// the very file alone that the SDK reads: the kubelet can take that at just this moment, and
// nothing helps against that. Nor does anything help an SDK that has just read the endpoint's token
// when the kubelet brings that of a new Secret.
func (f *fleet) editedByHand(tb testing.TB) (note string) {
	tb.Helper()
	var worst time.Duration
	edited := 0
	for _, c := range f.callers {
		if c.endpoint {
			continue
		}
		edited++
		for _, damage := range []func() error{
			func() error { return f.patchSecret(c, `{"data":{"container.json":null,"expire":"bmV2ZXI="}}`) },
			func() error {
				return f.patchSecret(c, `{"metadata":{"annotations":{"iam.amazonaws.com/role-arn":null,"iam.amazonaws.com/issued-at":"never"}}}`)
			},
			func() error {
				c.byTest++
				return f.client.Delete(f.ctx, secretOf(c))
			},
		} {
			worst = max(worst, f.measureRepair(tb, c, damage))
		}
	}
	if worst > repairLimit {
		tb.Errorf("a Secret was repaired only after %s", worst)
	}
	return fmt.Sprintf("%d edits and %d deletions, each repaired within %d ms", 2*edited, edited, worst.Milliseconds())
}

func (f *fleet) patchSecret(c *caller, patch string) error {
	return f.client.Patch(f.ctx, secretOf(c), client.RawPatch("application/merge-patch+json", []byte(patch)))
}

func secretOf(c *caller) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.secretKey().Namespace, Name: c.secretKey().Name}}
}

// measureRepair damages a caller's Secret, and returns how long it takes until it is complete, with
// new credentials.
func (f *fleet) measureRepair(tb testing.TB, c *caller, damage func() error) time.Duration {
	tb.Helper()
	var before corev1.Secret
	f.check(tb, f.client.Get(f.ctx, c.secretKey(), &before))
	f.check(tb, damage())
	began := time.Now()
	f.check(tb, env.Await(f.ctx, "the Secret of "+c.name+" is repaired", func() (bool, error) {
		var s corev1.Secret
		if err := f.client.Get(f.ctx, c.secretKey(), &s); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		return complete(&s, c.role()) && s.Annotations[secret.AccessKeyIDAnnotation] != before.Annotations[secret.AccessKeyIDAnnotation], nil
	}))
	return time.Since(began)
}
