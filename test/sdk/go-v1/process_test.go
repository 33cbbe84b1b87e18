package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go/aws/credentials/processcreds"
)

// maxOutput is what this SDK reads of a process. Source: processcreds.DefaultBufSize.
const maxOutput = 8 << 10

// output returns the credentials.json of a session token of n bytes.
func output(n int) string {
	return fmt.Sprintf(`{"Version":1,"AccessKeyId":"ASIAEXAMPLEEXAMPLE00","SecretAccessKey":%q,"SessionToken":%q,"Expiration":"2126-01-02T03:04:05Z","AccountId":"123456789012"}`,
		strings.Repeat("k", 40), strings.Repeat("t", n))
}

// retrieve has the SDK run cat of a file.
func retrieve(t *testing.T, text string) (token string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	value, err := processcreds.NewCredentials("cat " + file).Get()
	return value.SessionToken, err
}

// The longest token of STS fits twice into what the SDK reads.
func TestProcess_LongTokens(t *testing.T) {
	rest := len(output(0))
	for size, fits := range map[int]bool{4096: true, maxOutput - rest: true, maxOutput - rest + 1: false} {
		if token, err := retrieve(t, output(size)); (err == nil && len(token) == size) != fits {
			t.Errorf("a token of %d bytes: %d, %v", size, len(token), err)
		}
	}
	t.Logf("of %d bytes, a token of 4096 takes %d", maxOutput, len(output(4096)))
}
