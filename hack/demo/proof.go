package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/hack/sandbox"
	"kube-aws-iam-controller/pkg/secret"
)

// provenSecret is the one whose files are used.
const provenSecret = "aws-iam-orders"

// rotations is how often the SDK must have changed keys before the proof is complete.
const rotations = 1

// prove plays kubelet and pod: it keeps the Secret's files in a folder, and one long-lived SDK client asks STS every second who it is, until
// it has changed keys by itself.
func (w *world) prove(ctx context.Context) error {
	if err := w.mountSecret(ctx); err != nil {
		return err
	}
	if err := os.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(w.mount, secret.ProcessKey)); err != nil {
		return err
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	cfg.Region = sandbox.Region
	pod := sts.NewFromConfig(cfg, func(o *sts.Options) { o.BaseEndpoint = aws.String(w.STS.URL) })
	began := time.Now()
	seen := map[string]bool{}
	for calls := 1; ; calls++ {
		identity, err := pod.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return fmt.Errorf("call %d of GetCallerIdentity: %w", calls, err)
		}
		used, err := cfg.Credentials.Retrieve(ctx)
		if err != nil {
			return err
		}
		if !seen[used.AccessKeyID] {
			seen[used.AccessKeyID] = true
			fmt.Printf("call %2d with key %s: STS says it is %s\n", calls, used.AccessKeyID, aws.ToString(identity.Arn))
		}
		if len(seen) > rotations {
			fmt.Printf("%d calls in %d s with %d keys of %s each, none failed\n", calls, int(time.Since(began).Seconds()), len(seen), sessionLifetime)
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("no refresh within %s", patience)
		}
		if err := w.second(ctx); err != nil {
			return err
		}
	}
}

// second passes, and the files are brought up to date as the kubelet would.
func (w *world) second(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return w.mountSecret(ctx)
	}
}

// mountSecret writes the keys of the Secret as files, each at once.
func (w *world) mountSecret(ctx context.Context) error {
	var s corev1.Secret
	if err := w.Cluster.Get(ctx, client.ObjectKey{Namespace: namespace, Name: provenSecret}, &s); err != nil {
		return err
	}
	if err := os.MkdirAll(w.mount, 0o700); err != nil {
		return err
	}
	for key, value := range s.Data {
		path := filepath.Join(w.mount, key)
		if err := os.WriteFile(path+".new", value, 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}
