package sts_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	ststest "kube-aws-iam-controller/test/sts"
)

func TestServer_IsUsedByAnSDKThroughTheEnvironment(t *testing.T) {
	srv := start(t)
	keys := srv.AddUser(account, "alice")
	t.Setenv("AWS_ENDPOINT_URL_STS", srv.URL)
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey)
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")

	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *out.Arn != "arn:aws:iam::123456789012:user/alice" || *out.Account != account || !strings.HasPrefix(*out.UserId, "AIDA") {
		t.Errorf("identity is %s, %s, %s", *out.Arn, *out.Account, *out.UserId)
	}
}

func TestServer_RejectsProtocolErrors(t *testing.T) {
	srv := start(t)
	form := func(action, version string) string {
		return url.Values{"Action": {action}, "Version": {version}}.Encode()
	}
	for name, test := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"no action":         {"", 400, "MissingAction"},
		"not a form":        {"%zz", 400, "MalformedQueryString"},
		"unknown operation": {form("GetSessionToken", "2011-06-15"), 400, "InvalidAction"},
		"unknown version":   {form("GetCallerIdentity", "2010-05-08"), 400, "InvalidAction"},
		"not signed":        {form("GetCallerIdentity", "2011-06-15"), 403, "MissingAuthenticationToken"},
		"too large":         {strings.Repeat("x", 300<<10), 413, "RequestEntityTooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			response := post(t, srv, test.body)
			body := readAll(t, response)
			if response.StatusCode != test.status || !strings.Contains(body, "<Code>"+test.code+"</Code>") {
				t.Errorf("answer is %d %s", response.StatusCode, body)
			}
			const head = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>`
			if !strings.HasPrefix(body, head) || response.Header.Get("Content-Type") != "text/xml" {
				t.Errorf("not STS's form: %v %s", response.Header, body)
			}
		})
	}
}

func TestListen_Address(t *testing.T) {
	first, err := ststest.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if second, err := ststest.Listen(strings.TrimPrefix(first.URL, "http://")); err == nil {
		second.Close()
		t.Error("a second server listens on the same address")
	}
}

func TestClose_EndsAnswers(t *testing.T) {
	srv := ststest.New()
	c := user(srv)
	srv.Close()
	srv.Close()
	if _, err := c.GetCallerIdentity(t.Context(), nil); err == nil {
		t.Error("a closed server answered")
	}
}

// The SDKs check these before they send.
func TestServer_ReportsAllMissingParameters(t *testing.T) {
	response := post(t, start(t), url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {roleARN}, "DurationSeconds": {"1h"},
	}.Encode())
	body := readAll(t, response)
	const want = "3 validation errors detected: " +
		"Value null at &#39;roleSessionName&#39; failed to satisfy constraint: Member must not be null; " +
		"Value &#39;1h&#39; at &#39;durationSeconds&#39; failed to satisfy constraint: Member must be an integer; " +
		"Value null at &#39;webIdentityToken&#39; failed to satisfy constraint: Member must not be null"
	if response.StatusCode != http.StatusBadRequest || !strings.Contains(body, "<Message>"+want+"</Message>") {
		t.Errorf("answer is %d %s", response.StatusCode, body)
	}
}
