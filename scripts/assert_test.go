package scripts_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// absent asserts that the seed does not exist.
func (e *testEnv) absent(t *testing.T) {
	t.Helper()
	err := e.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: seedName}, &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("Secret %s: %v, want none", seedName, err)
	}
}

// seed returns the Secret, and asserts that it is a seed: its content is as documented, and no file
// has its keys.
func (e *testEnv) seed(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	s := e.get(t, name)
	if keys := slices.Sorted(maps.Keys(s.Data)); !slices.Equal(keys, []string{"credentials.json", "credentials.process", "expire"}) {
		t.Errorf("keys %v", keys)
	}
	if got := string(s.Data["credentials.process"]); got != process {
		t.Errorf("credentials.process %q, want %q", got, process)
	}
	var content struct {
		Version                 int
		AccessKeyID, Expiration string
	}
	if err := json.Unmarshal(s.Data["credentials.json"], &content); err != nil {
		t.Fatal(err)
	}
	session, known := e.sts.IssuedTo(content.AccessKeyID)
	if expires := session.Expires.Format(time.RFC3339); !known || content.Version != 1 || content.Expiration != expires || string(s.Data["expire"]) != expires {
		t.Errorf("%+v and expire %s are not of the session %+v", content, s.Data["expire"], session)
	}

	e.assertTidy(t)
	return s
}

// assertUsable asserts that the AWS CLI accepts the Secret's files as the role's credentials.
func (e *testEnv) assertUsable(t *testing.T, s *corev1.Secret) {
	t.Helper()
	folder := t.TempDir()
	for key, value := range s.Data {
		text := strings.ReplaceAll(string(value), "/meta/aws-iam", folder)
		if err := os.WriteFile(filepath.Join(folder, key), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), e.aws, "sts", "get-caller-identity") //nolint:gosec // found by the test
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "AWS_SHARED_CREDENTIALS_FILE=" + folder + "/credentials.process",
		"AWS_ENDPOINT_URL_STS=" + e.sts.URL, "AWS_DEFAULT_REGION=eu-central-1", "AWS_EC2_METADATA_DISABLED=true",
	}
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), ":assumed-role/kube-aws-iam-controller/") {
		t.Errorf("the AWS CLI with the seed: %v: %s", err, out)
	}
}

// assertTidy asserts that no file has a secret, except the user's own credentials. The files
// include the command lines of aws and kubectl.
func (e *testEnv) assertTidy(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(e.folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "/.aws/credentials") {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // in the test's folder
		e.assertNoLeak(t, path, string(content))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func (e *testEnv) expiry(t *testing.T, name string) time.Time {
	t.Helper()
	expires, err := time.Parse(time.RFC3339, string(e.seed(t, name).Data["expire"]))
	if err != nil {
		t.Fatal(err)
	}
	return expires
}

func contains(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%q is missing in: %s", want, text)
	}
}
