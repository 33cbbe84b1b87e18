package credentials

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// sessionSource gets the base credentials from IAM Roles Anywhere.
type sessionSource struct {
	RolesAnywhere
	url         string
	certificate certificateDir
	retryer     *retry.Standard
	failed      atomic.Pointer[sessionFailure]
}

// sessionFailure is the error of the last call, and when it was by the monotonic clock.
type sessionFailure struct {
	err error
	at  time.Duration
}

// newSessionSource returns a source with the SDK's settings.
func newSessionSource(ctx context.Context, r *RolesAnywhere, cfg *aws.Config) (*sessionSource, error) {
	endpoint, err := rolesAnywhereEndpoint(ctx, cfg, r.TrustAnchor.Region)
	if err != nil {
		return nil, fmt.Errorf("--roles-anywhere-trust-anchor-arn: no endpoint is known for Region %s", r.TrustAnchor.Region)
	}
	return &sessionSource{
		RolesAnywhere: *r,
		url:           strings.TrimSuffix(endpoint, "/") + "/sessions",
		certificate:   certificateDir{path: r.CertificateDir},
		retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = cmp.Or(cfg.RetryMaxAttempts, maxAttempts), maxBackoff
		}),
	}, nil
}

// rolesAnywhereEndpoint returns the URL of IAM Roles Anywhere in a Region: that of the SDKs'
// environment variables, or one beside STS's, which the SDK knows for all partitions.
func rolesAnywhereEndpoint(ctx context.Context, cfg *aws.Config, region string) (string, error) {
	if set := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_ROLESANYWHERE"), aws.ToString(cfg.BaseEndpoint)); set != "" {
		return set, nil
	}
	resolved, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, sts.EndpointParameters{
		Region: &region, UseDualStack: aws.Bool(false), UseFIPS: aws.Bool(false), UseGlobalEndpoint: aws.Bool(false),
	})
	if err != nil {
		return "", err
	}
	service := x509Service
	if env, err := config.NewEnvConfig(); err == nil && env.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled {
		service += "-fips"
	}
	resolved.URI.Host = service + strings.TrimPrefix(resolved.URI.Host, "sts")
	return resolved.URI.String(), nil
}

// Certificate returns the certificate for IAM Roles Anywhere as it is in its directory. ok is false
// if the Client has none.
func (c *Client) Certificate() (described Certificate, ok bool) {
	if c.sessions == nil {
		return Certificate{}, false
	}
	return c.sessions.certificate.describe(), true
}

// sessionCredentials implements aws.CredentialsProviderFunc. After a failure it repeats the error
// for a moment: each of thousands of Secrets would otherwise make a call.
func (c *Client) sessionCredentials(ctx context.Context) (aws.Credentials, error) {
	if last := c.sessions.failed.Load(); last != nil && c.clock.elapsed()-last.at < callerErrorLife {
		return aws.Credentials{}, last.err
	}
	got, err := c.createSession(ctx)
	if err != nil {
		c.sessions.failed.Store(&sessionFailure{err, c.clock.elapsed()})
		return aws.Credentials{}, err
	}
	c.sessions.failed.Store(nil)
	c.baseSource.Store(&got.Source)
	return got, nil
}

// createSession gets a session of the role. The error is an *Error.
func (c *Client) createSession(ctx context.Context) (aws.Credentials, error) {
	s := c.sessions
	pair, problem := s.certificate.read()
	if pair == nil {
		missing := s.certificate.describePair(nil, problem)
		return aws.Credentials{}, missing.Check(c.clock.Now())
	}
	for attempt := 1; ; attempt++ {
		before := c.clock.Offset()
		got, err := c.callCreateSession(ctx, pair)
		if err == nil {
			return got, nil
		}
		// A signature by a wrong clock is refused, and the answer corrects the clock.
		corrected := (c.clock.Offset() - before).Abs() > maxClockError
		if attempt >= s.retryer.MaxAttempts() || !corrected && !s.retryer.IsErrorRetryable(err) {
			return aws.Credentials{}, c.explainCreateSession(err, pair, problem)
		}
		var delay time.Duration
		if !corrected {
			delay, _ = s.retryer.RetryDelay(attempt, err)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return aws.Credentials{}, c.explainCreateSession(err, pair, problem)
		}
	}
}

// callCreateSession makes one attempt at the call.
func (c *Client) callCreateSession(ctx context.Context, pair *keyPair) (got aws.Credentials, err error) {
	start, began := time.Now(), c.clock.read()
	request, err := c.sessions.request(ctx, pair, c.clock.Now())
	if err != nil {
		return got, err
	}
	response, err := c.http.Do(request)
	if err == nil {
		defer func() { _ = response.Body.Close() }()
		if date, ok := answerDate(response); ok {
			c.clock.observe(date, began, c.clock.read())
		}
		got, err = readSession(response, c.clock.Now())
	}
	if c.options.Observe != nil {
		code := "OK"
		if err != nil {
			_, code = classify(err)
		}
		c.options.Observe("CreateSession", code, time.Since(start))
	}
	return got, err
}

// answerDate returns the Date of an answer, if it is from AWS and current, as stsDate does.
func answerDate(r *http.Response) (date time.Time, ok bool) {
	if r.Header.Get("X-Amzn-Requestid") == "" || r.Header.Get("Age") != "" {
		return time.Time{}, false
	}
	date, err := http.ParseTime(r.Header.Get("Date"))
	return date, err == nil
}

// request returns the signed request of a session.
func (s *sessionSource) request(ctx context.Context, pair *keyPair, now time.Time) (*http.Request, error) {
	body, err := json.Marshal(map[string]any{
		"durationSeconds": int(baseSession.Seconds()),
		"profileArn":      s.Profile.String(),
		"roleArn":         s.Role.String(),
		"trustAnchorArn":  s.TrustAnchor.String(),
	})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return r, signX509(r, body, pair, s.TrustAnchor.Region, now)
}

const (
	// baseSession is how long a session lasts: roles and profiles allow it by default.
	baseSession = time.Hour
	// maxSessionAnswer bounds an answer, in bytes.
	maxSessionAnswer = 1 << 20
	// rolesAnywhereName is the Source of the credentials.
	rolesAnywhereName = "RolesAnywhere"
)

// sessionAnswer is the answer of CreateSession, or its error.
type sessionAnswer struct {
	CredentialSet []struct {
		Credentials struct {
			AccessKeyID     string    `json:"accessKeyId"`
			SecretAccessKey string    `json:"secretAccessKey"`
			SessionToken    string    `json:"sessionToken"`
			Expiration      time.Time `json:"expiration"`
		} `json:"credentials"`
	} `json:"credentialSet"`

	Type    string `json:"__type"`
	Message string `json:"message"`
}

// readSession returns the credentials in an answer. The error is one of the SDK's: a
// smithy.APIError for AWS's own, a DeserializationError for an answer that is not AWS's.
func readSession(r *http.Response, now time.Time) (aws.Credentials, error) {
	var answer sessionAnswer
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSessionAnswer))
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if code := errorCode(r, &answer); code != "" {
		return aws.Credentials{}, responseError(r, &smithy.GenericAPIError{Code: code, Message: answer.Message})
	}
	if err != nil || r.StatusCode/100 != 2 || len(answer.CredentialSet) != 1 {
		return aws.Credentials{}, responseError(r, &smithy.DeserializationError{Err: fmt.Errorf("status %d", r.StatusCode)})
	}
	got := answer.CredentialSet[0].Credentials
	if got.AccessKeyID == "" || got.SecretAccessKey == "" || got.SessionToken == "" || !got.Expiration.After(now) {
		return aws.Credentials{}, newError(Unavailable, "BadAnswer", "IAM Roles Anywhere answered with credentials that are "+
			"incomplete or have expired: they are not used, and it is asked again")
	}
	return aws.Credentials{
		AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.SessionToken,
		Source: rolesAnywhereName, CanExpire: true, Expires: got.Expiration,
	}, nil
}

// errorCode returns the code of an error answer; empty for others, and for what is no code. Source:
// "REST-JSON errors" in the AWS restJson1 protocol: the code can have a namespace before it and a
// URI behind it.
func errorCode(r *http.Response, answer *sessionAnswer) string {
	if r.StatusCode/100 == 2 {
		return ""
	}
	code, _, _ := strings.Cut(cmp.Or(r.Header.Get("X-Amzn-Errortype"), answer.Type), ":")
	code = code[strings.LastIndex(code, "#")+1:]
	if len(code) > maxCode || strings.ContainsFunc(code, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return ""
	}
	return code
}

// responseError returns an error with the status, by which the SDK decides whether to retry.
func responseError(r *http.Response, err error) error {
	return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: r}, Err: err}
}
