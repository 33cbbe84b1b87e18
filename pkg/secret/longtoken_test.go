package secret_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret"
)

// maxToken is the longest session token that STS returns, in bytes.
const maxToken = 4096

// maxProcessOutput is what version 1 of the SDK for Go reads at most of a credential_process, in
// bytes. Source: DefaultBufSize in its credentials/processcreds.
const maxProcessOutput = 8 << 10

// maxEndpointFile is what the credentials endpoint reads at most of a file: see
// cmd/credentials-endpoint.
const maxEndpointFile = 32 << 10

// withToken returns credentials with a session token of n bytes.
func withToken(n int) credentials.Credentials {
	c := testCredentials(time.Hour)
	c.SecretAccessKey = credentials.Redact(strings.Repeat("k", 40))
	c.SessionToken = credentials.Redact(strings.Repeat("IQoJ+/9=", n/8))
	return c
}

func TestRender_LongTokens(t *testing.T) {
	for _, n := range []int{400, 1 << 10, 2 << 10, maxToken} {
		want := withToken(n)
		for _, to := range []secret.Target{target(t), withKeys(t)} {
			s := secret.Render(to, want, nil)
			if got, err := secret.Read(s); err != nil || got != want || got.SessionToken.Reveal() != want.SessionToken.Reveal() {
				t.Errorf("%d bytes: reads %v, %v", n, got, err)
			}
			if !intact(s, to) || !secret.Repairable(reduced(s, to), to, "") {
				t.Errorf("%d bytes: not intact, or not repairable", n)
			}
			if size := sizeOf(reduced(s, to)); size > 2<<10 {
				t.Errorf("%d bytes: the cache keeps %d bytes", n, size)
			}
			if size := len(s.Data["credentials.json"]); size > maxProcessOutput {
				t.Errorf("%d bytes: the process prints %d bytes", n, size)
			}
			if size := len(s.Data["container.json"]); size > maxEndpointFile {
				t.Errorf("%d bytes: the endpoint answers with %d bytes", n, size)
			}
			for _, key := range []string{"credentials.json", "container.json"} {
				if !json.Valid(s.Data[key]) {
					t.Errorf("%d bytes: %s is no JSON", n, key)
				}
			}
			if s.Size() > 20<<10 { // etcd accepts 1.5 MiB, and Kubernetes Secrets of 1 MiB
				t.Errorf("%d bytes: a Secret of %d bytes", n, s.Size())
			}
			t.Logf("token %d bytes, keys of their own %t: credentials.json %d, Secret %d bytes", n, to.Keys, len(s.Data["credentials.json"]), s.Size())
		}
	}
}

// The unmodified SDK reads the longest token from each file.
func TestRender_LongTokensWorkWithTheSDK(t *testing.T) {
	c := withToken(maxToken)
	c.Issued = time.Now().UTC().Truncate(time.Second)
	c.Expires = c.Issued.Add(time.Hour)
	for variable, key := range map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "credentials.process", "AWS_CONFIG_FILE": "config", "credentials": "credentials"} {
		t.Run(key, func(t *testing.T) {
			to := target(t)
			to.MountPath = t.TempDir()
			for name, data := range secret.Render(to, c, nil).Data {
				if err := os.WriteFile(filepath.Join(to.MountPath, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			clearAWSEnvironment(t)
			if variable == "credentials" {
				variable = "AWS_SHARED_CREDENTIALS_FILE"
			}
			t.Setenv(variable, filepath.Join(to.MountPath, key))
			cfg, err := config.LoadDefaultConfig(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got, err := cfg.Credentials.Retrieve(t.Context()); err != nil || got.SessionToken != c.SessionToken.Reveal() {
				t.Errorf("a token of %d bytes, %v", len(got.SessionToken), err)
			}
		})
	}
}
