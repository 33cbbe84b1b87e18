package secret_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

var issued = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// testCredentials returns credentials of a session of that duration.
func testCredentials(life time.Duration) credentials.Credentials {
	return credentials.Credentials{
		AccessKeyID:     "ASIAEXAMPLE",
		SecretAccessKey: credentials.Redact("s3cr3t/Key+value="),
		SessionToken:    credentials.Redact("IQoJ/token+value=="),
		Issued:          issued,
		Expires:         issued.Add(life),
	}
}

func target(tb testing.TB) secret.Target {
	tb.Helper()
	arn, err := role.ParseARN("arn:aws-cn:iam::123456789012:role/team/app")
	if err != nil {
		tb.Fatal(err)
	}
	return secret.Target{
		Name:    types.NamespacedName{Namespace: "payments", Name: "aws-iam-app"},
		Session: credentials.Session{Role: arn, Name: "prod.payments.aws-iam-app", Duration: time.Hour},
		Files:   secret.Files{MountPath: "/meta/aws-iam", Region: "cn-north-1"},
	}
}

func TestRender_FilesAndMetadata(t *testing.T) {
	s := secret.Render(target(t), testCredentials(time.Hour), nil)
	want := map[string]string{
		"expire":   "2026-11-21T01:00:00Z",
		"role-arn": "arn:aws-cn:iam::123456789012:role/team/app",
		"credentials": "[default]\n" +
			"aws_access_key_id = ASIAEXAMPLE\n" +
			"aws_secret_access_key = s3cr3t/Key+value=\n" +
			"aws_session_token = IQoJ/token+value==\n" +
			"aws_expiration = 2026-11-21T00:55:00Z\n",
		"credentials.process": "[default]\n" +
			"credential_process = cat /meta/aws-iam/credentials.json\n",
		"credentials.json": `{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"s3cr3t/Key+value=","SessionToken":"IQoJ/token+value==",` +
			`"Expiration":"2026-11-21T00:55:00Z","AccountId":"123456789012"}`,
		"config": "[default]\n" +
			"region = cn-north-1\n" +
			"sts_regional_endpoints = regional\n" +
			"credential_process = cat /meta/aws-iam/credentials.json\n",
		"container.json": `{"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"s3cr3t/Key+value=","Token":"IQoJ/token+value==",` +
			`"Expiration":"2026-11-21T00:55:00Z","AccountId":"123456789012","RoleArn":"arn:aws-cn:iam::123456789012:role/team/app"}`,
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got := string(s.Data[key]); got != want[key] {
			t.Errorf("%s is\n%s\nwant\n%s", key, got, want[key])
		}
	}
	if token := string(s.Data["endpoint-token"]); !tokenForm.MatchString(token) {
		t.Errorf("the endpoint token is %q", token)
	}
	if len(s.Data) != len(want)+1 {
		t.Errorf("keys are %q", slices.Sorted(maps.Keys(s.Data)))
	}
	if s.Type != corev1.SecretTypeOpaque || s.Immutable != nil {
		t.Errorf("type is %s, immutable %v", s.Type, s.Immutable)
	}
	if s.Namespace != "payments" || s.Name != "aws-iam-app" {
		t.Errorf("name is %s/%s", s.Namespace, s.Name)
	}
	wantMap(t, "labels", s.Labels, map[string]string{"heritage": "kube-aws-iam-controller"})
	wantMap(t, "annotations", s.Annotations, map[string]string{
		"iam.amazonaws.com/role-arn":         "arn:aws-cn:iam::123456789012:role/team/app",
		"iam.amazonaws.com/access-key-id":    "ASIAEXAMPLE",
		"iam.amazonaws.com/session-name":     "prod.payments.aws-iam-app",
		"iam.amazonaws.com/issued-at":        "2026-11-21T00:00:00Z",
		"iam.amazonaws.com/session-duration": "3600",
		"iam.amazonaws.com/secret":           "payments/aws-iam-app",
		"reloader.stakater.com/ignore":       "true",
	})
	if !secret.IsManaged(s) {
		t.Error("is not managed")
	}
}

func TestRender_WithoutRegion(t *testing.T) {
	to := target(t)
	to.Region, to.MountPath = "", "/aws"
	got := string(secret.Render(to, testCredentials(time.Hour), nil).Data["config"])
	if want := "[default]\nsts_regional_endpoints = regional\ncredential_process = cat /aws/credentials.json\n"; got != want {
		t.Errorf("config is\n%s\nwant\n%s", got, want)
	}
}

// The expiration in files is earlier than the real one, which the key expire has: by five minutes,
// and by a tenth of a short session. All times are in UTC and whole seconds, whatever the clock's
// time zone: other formats break Go, botocore and fluent-bit.
func TestRender_Times(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	for _, c := range []struct {
		name               string
		issued, expires    time.Time
		expire, advertised string
	}{
		{"an hour", issued, issued.Add(time.Hour), "2026-11-21T01:00:00Z", "2026-11-21T00:55:00Z"},
		{"twelve hours", issued, issued.Add(12 * time.Hour), "2026-11-21T12:00:00Z", "2026-11-21T11:55:00Z"},
		{"fifteen minutes", issued, issued.Add(15 * time.Minute), "2026-11-21T00:15:00Z", "2026-11-21T00:13:30Z"},
		{"five seconds", issued, issued.Add(5 * time.Second), "2026-11-21T00:00:05Z", "2026-11-21T00:00:04Z"},
		{"a session of no duration", issued, issued, "2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z"},
		{"expired before it was issued", issued, issued.Add(-time.Hour), "2026-11-20T23:00:00Z", "2026-11-20T23:00:00Z"},
		{"another time zone", issued.In(berlin), issued.Add(time.Hour).In(berlin), "2026-11-21T01:00:00Z", "2026-11-21T00:55:00Z"},
		{"fractions of a second", issued, issued.Add(time.Hour + 999*time.Millisecond), "2026-11-21T01:00:00Z", "2026-11-21T00:55:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := secret.Render(target(t), credentials.Credentials{AccessKeyID: "a", SecretAccessKey: credentials.Redact("b"), SessionToken: credentials.Redact("c"), Issued: c.issued, Expires: c.expires}, nil)
			if got := string(s.Data["expire"]); got != c.expire {
				t.Errorf("expire is %s, want %s", got, c.expire)
			}
			for _, key := range []string{"credentials.json", "container.json"} {
				var file struct{ Expiration string }
				if err := json.Unmarshal(s.Data[key], &file); err != nil || file.Expiration != c.advertised {
					t.Errorf("%s has %s, %v, want %s", key, file.Expiration, err, c.advertised)
				}
			}
		})
	}
}

// The unmodified SDK reads each of the files that an application can configure.
func TestRender_FilesWorkWithTheSDK(t *testing.T) {
	life := time.Hour
	c := testCredentials(life)
	c.Issued = time.Now().UTC().Truncate(time.Second)
	c.Expires = c.Issued.Add(life)

	for _, which := range []struct {
		name       string
		env        map[string]string // variable -> key
		source     string
		canExpire  bool
		wantRegion string
		account    string
	}{
		{"credentials.process", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "credentials.process"}, "ProcessProvider", true, "", "123456789012"},
		{"credentials", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "credentials"}, "SharedConfigCredentials", false, "", ""},
		{"config", map[string]string{"AWS_CONFIG_FILE": "config"}, "ProcessProvider", true, "cn-north-1", "123456789012"},
		{"config and credentials.process", map[string]string{"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials.process"}, "ProcessProvider", true, "cn-north-1", "123456789012"},
	} {
		t.Run(which.name, func(t *testing.T) {
			to := target(t)
			to.MountPath = t.TempDir()
			for key, data := range secret.Render(to, c, nil).Data {
				if err := os.WriteFile(filepath.Join(to.MountPath, key), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			clearAWSEnvironment(t)
			for variable, key := range which.env {
				t.Setenv(variable, filepath.Join(to.MountPath, key))
			}

			cfg, err := config.LoadDefaultConfig(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, err := cfg.Credentials.Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessKeyID != c.AccessKeyID || got.SecretAccessKey != c.SecretAccessKey.Reveal() || got.SessionToken != c.SessionToken.Reveal() {
				t.Errorf("the SDK reads another key: %s", got.AccessKeyID)
			}
			if got.CanExpire != which.canExpire || (got.CanExpire && !got.Expires.Equal(c.UsableUntil())) {
				t.Errorf("expires: %t, %s, want %t, %s", got.CanExpire, got.Expires, which.canExpire, c.UsableUntil())
			}
			if got.AccountID != which.account || cfg.Region != which.wantRegion {
				t.Errorf("account is %q and Region %q", got.AccountID, cfg.Region)
			}
			if len(got.Source) < len(which.source) || got.Source[:len(which.source)] != which.source {
				t.Errorf("source is %s, want %s", got.Source, which.source)
			}
		})
	}
}

// clearAWSEnvironment removes everything from the environment that the SDK could read.
func clearAWSEnvironment(t *testing.T) {
	t.Helper()
	for _, variable := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
		"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS",
	} {
		t.Setenv(variable, "")
	}
	empty := t.TempDir()
	t.Setenv("HOME", empty)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(empty, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(empty, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func wantMap(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s are\n%v\nwant\n%v", what, got, want)
	}
}
