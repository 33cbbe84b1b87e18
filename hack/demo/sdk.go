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

	"kube-aws-iam-controller/pkg/secret/keys"
	"kube-aws-iam-controller/test/env"
)

// sdkSecret is the Secret whose files the SDK reads.
const sdkSecret = "aws-iam-checkout"

// rotations is how often the SDK changes keys before useSDK returns.
const rotations = 1

// useSDK does the work of the kubelet and of a pod: it writes the Secret's files into a folder, and
// calls STS every second with one long-lived SDK client, until the client has changed keys by
// itself.
func (e *environment) useSDK(ctx context.Context) error {
	if err := e.mountSecret(ctx); err != nil {
		return err
	}
	if err := os.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(e.mount, keys.CredentialsProcess)); err != nil {
		return err
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	cfg.Region = env.Region
	pod := sts.NewFromConfig(cfg, func(o *sts.Options) { o.BaseEndpoint = aws.String(e.STS.URL) })
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
			fmt.Printf("%d calls in %d s used %d keys, each valid for %s. No call failed.\n", calls, int(time.Since(began).Seconds()), len(seen), sessionLifetime)
			return nil
		}
		if time.Since(began) > timeout {
			return fmt.Errorf("no refresh within %s", timeout)
		}
		if err := e.waitSecond(ctx); err != nil {
			return err
		}
	}
}

// waitSecond waits a second and then updates the files, as the kubelet does.
func (e *environment) waitSecond(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return e.mountSecret(ctx)
	}
}

// mountSecret writes the keys of the Secret as files, each atomically.
func (e *environment) mountSecret(ctx context.Context) error {
	var s corev1.Secret
	if err := e.Cluster.Get(ctx, client.ObjectKey{Namespace: shop, Name: sdkSecret}, &s); err != nil {
		return err
	}
	if err := os.MkdirAll(e.mount, 0o700); err != nil {
		return err
	}
	for key, value := range s.Data {
		path := filepath.Join(e.mount, key)
		if err := os.WriteFile(path+".new", value, 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}
