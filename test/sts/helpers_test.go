package sts_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	clocktesting "k8s.io/utils/clock/testing"

	ststest "kube-aws-iam-controller/test/sts"
)

const (
	account = "123456789012"
	roleARN = "arn:aws:iam::123456789012:role/team/app"
)

// start runs a server for one test.
func start(t *testing.T) *ststest.Server {
	t.Helper()
	srv := ststest.New()
	t.Cleanup(srv.Close)
	return srv
}

// client returns the real SDK's client, without retries so that the test sees every answer.
func client(srv *ststest.Server, keys ststest.Keys, options ...func(*sts.Options)) *sts.Client {
	return sts.New(sts.Options{
		Region:       "eu-central-1",
		BaseEndpoint: aws.String(srv.URL),
		Retryer:      aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{
				AccessKeyID:     keys.AccessKeyID,
				SecretAccessKey: keys.SecretAccessKey,
				SessionToken:    keys.SessionToken,
			}, nil
		}),
	}, options...)
}

// user returns a client with the keys of a new user.
func user(srv *ststest.Server) *sts.Client {
	return client(srv, srv.AddUser(account, "alice"))
}

// request returns an AssumeRole that succeeds, changed by the test.
func request(changes ...func(*sts.AssumeRoleInput)) *sts.AssumeRoleInput {
	in := &sts.AssumeRoleInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("cluster.ns.secret")}
	for _, change := range changes {
		change(in)
	}
	return in
}

func lasting(seconds int32) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(seconds) }
}

func keysOf(c *types.Credentials) ststest.Keys {
	return ststest.Keys{
		AccessKeyID:     aws.ToString(c.AccessKeyId),
		SecretAccessKey: aws.ToString(c.SecretAccessKey),
		SessionToken:    aws.ToString(c.SessionToken),
	}
}

// assume fails the test if there is an error.
func assume(t *testing.T, c *sts.Client, in *sts.AssumeRoleInput) *sts.AssumeRoleOutput {
	t.Helper()
	out, err := c.AssumeRole(t.Context(), in)
	if err != nil {
		t.Fatalf("AssumeRole: %v", err)
	}
	return out
}

// wantError checks HTTP status, code and message of an error answer; an empty message stands for
// any.
func wantError(t *testing.T, err error, status int, code, message string) {
	t.Helper()
	var api smithy.APIError
	var response *awshttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		t.Fatalf("error is %v, want an answer with code %s", err, code)
	}
	if api.ErrorCode() != code || response.HTTPStatusCode() != status {
		t.Errorf("answer is %d %s, want %d %s (%s)", response.HTTPStatusCode(), api.ErrorCode(), status, code, api.ErrorMessage())
	}
	if message != "" && api.ErrorMessage() != message {
		t.Errorf("message is\n%s\nwant\n%s", api.ErrorMessage(), message)
	}
	if response.ServiceRequestID() == "" {
		t.Error("the answer has no request ID")
	}
}

// fakeClock replaces the server's clock, and makes it accept signatures of any time, because the
// SDK's clock is the real one.
func fakeClock(srv *ststest.Server) *clocktesting.FakeClock {
	c := clocktesting.NewFakeClock(time.Date(2030, 1, 2, 3, 4, 5, 678_000_000, time.UTC))
	srv.SetClock(c.Now)
	srv.SetMaxSkew(0)
	return c
}

// eager returns the SDK's own retryer, without delays.
func eager() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	})
}

// post sends a form without a signature.
func post(t *testing.T, srv *ststest.Server, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func readAll(t *testing.T, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// roundTripper is a function that implements http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// tampering changes every request after it was signed.
func tampering(change func(*http.Request)) func(*sts.Options) {
	return func(o *sts.Options) {
		o.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			change(r)
			return http.DefaultTransport.RoundTrip(r)
		})}
	}
}
