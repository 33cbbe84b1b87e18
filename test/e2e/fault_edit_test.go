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
	"kube-aws-iam-controller/pkg/secret/keys"
	"kube-aws-iam-controller/test/env"
)

// repairLimit is how long a Secret can stay damaged: the controller writes a Secret three times at
// once, which can be renewals, and then with pauses of, for sessions of a minute, up to 3.75 s. The
// machine can be busy.
const repairLimit = 8 * time.Second

// editedByHand damages every caller's Secret, and then deletes those whose files are read. It leaves
// the very file alone that the SDK or the endpoint reads: the kubelet can take that at just this
// moment, and nothing helps against that. Nor does anything help an SDK that reads the endpoint's
// token just before the kubelet brings that of another Secret.
func (f *fleet) editedByHand(tb testing.TB) (note string) {
	tb.Helper()
	var worst time.Duration
	edits, deletions := 0, 0
	for _, c := range f.callers {
		notRead := keys.ContainerJSON
		if c.endpoint {
			notRead = keys.CredentialsJSON
		}
		for _, patch := range []string{
			`{"data":{"` + notRead + `":null,"expire":"bmV2ZXI="}}`,
			`{"metadata":{"annotations":{"iam.amazonaws.com/role-arn":null,"iam.amazonaws.com/issued-at":"never"}}}`,
		} {
			worst = max(worst, f.measureRepair(tb, c, func() error { return f.patchSecret(c, patch) }))
			edits++
		}
		if c.endpoint {
			continue
		}
		worst = max(worst, f.measureRepair(tb, c, func() error {
			c.byTest++
			return f.client.Delete(f.ctx, secretOf(c))
		}))
		deletions++
	}
	if worst > repairLimit {
		tb.Errorf("a Secret was repaired only after %s", worst)
	}
	return fmt.Sprintf("%d edits and %d deletions, each repaired within %d ms", edits, deletions, worst.Milliseconds())
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
