package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"kube-aws-iam-controller/pkg/secret/keys"
)

// sdkCredentials returns the credentials of an SDK that has the environment of a pod.
func sdkCredentials(t *testing.T, address, tokenFile string) aws.CredentialsProvider {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range map[string]string{
		"HOME":                                   t.TempDir(),
		"AWS_REGION":                             "eu-central-1",
		"AWS_EC2_METADATA_DISABLED":              "true",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI":     "http://" + address + "/",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": tokenFile,
	} {
		t.Setenv(name, value)
	}
	loaded, err := config.LoadDefaultConfig(t.Context())
	must(t, err)
	return loaded.Credentials
}

// SDKs request new credentials some minutes before they expire: in tests at each use.
const shortSession = time.Minute

// sessionOf returns the files of a Secret whose session token is a name.
func sessionOf(t *testing.T, name string) map[string]string {
	t.Helper()
	content := strings.Replace(containerJSON(t, time.Now().Add(shortSession)), "session-token", name, 1)
	return map[string]string{keys.EndpointToken: goodToken, keys.ContainerJSON: content}
}

func TestSDK_GetsEachRotation(t *testing.T) {
	volume := newTestVolume(t)
	h, _ := newTestHandler(volume)
	address, _ := start(t, h)
	provider := sdkCredentials(t, address, filepath.Join(volume.dir, keys.EndpointToken))
	for _, want := range []string{"first", "second", "third"} {
		volume.mustPublish(t, sessionOf(t, want))
		got, err := provider.Retrieve(t.Context())
		must(t, err)
		if got.SessionToken != want || got.AccessKeyID != "ASIAEXAMPLE" || got.SecretAccessKey != secretKey || got.AccountID != "123456789012" {
			t.Errorf("got %+v, want session %s", got, want)
		}
	}
}

// What passes by itself costs no call: the SDK repeats its request.
func TestSDK_RepeatsWhileTheFileIsMissing(t *testing.T) {
	volume := newTestVolume(t)
	volume.mustPublish(t, map[string]string{keys.EndpointToken: goodToken})
	h, log := newTestHandler(volume)
	var requests atomic.Int32
	h.now = func() time.Time {
		if requests.Add(1) == 2 { // after the first failure
			if err := volume.publish(sessionOf(t, "late")); err != nil {
				t.Error(err)
			}
		}
		return now
	}
	address, _ := start(t, h)
	got, err := sdkCredentials(t, address, filepath.Join(volume.dir, keys.EndpointToken)).Retrieve(t.Context())
	must(t, err)
	if got.SessionToken != "late" || !strings.Contains(log.String(), "CredentialsUnavailable") {
		t.Errorf("got %q after %s", got.SessionToken, log)
	}
}

// A wrong token is not repeated, and the user sees what the endpoint says.
func TestSDK_ReportsAWrongToken(t *testing.T) {
	volume := newTestVolume(t)
	volume.mustPublish(t, sessionOf(t, "never"))
	h, _ := newTestHandler(volume)
	var requests atomic.Int32
	h.now = func() time.Time {
		requests.Add(1)
		return now
	}
	address, _ := start(t, h)
	wrong := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(wrong, []byte(strings.ToUpper(goodToken)), 0o600))
	got, err := sdkCredentials(t, address, wrong).Retrieve(t.Context())
	if err == nil || !strings.Contains(err.Error(), "WrongToken") || !strings.Contains(err.Error(), wrongToken.message) {
		t.Errorf("got %q and error %v", got.SessionToken, err)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
