package seed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"kube-aws-iam-controller/pkg/role"
)

// sessionName is the name of the sessions that are requested, as scripts/bootstrap.sh has it.
const sessionName = "kube-aws-iam-controller-bootstrap"

// Session is a session of the controller's role. Its keys are printed by no verb.
type Session struct {
	accessKeyID, secretAccessKey, sessionToken string
	Expiration                                 time.Time
}

// String implements fmt.Stringer, without the keys.
func (s Session) String() string { return "session until " + s.Expiration.Format(time.RFC3339) }

// Format implements fmt.Formatter, without the keys.
func (s Session) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.String()) }

// Client assumes roles with the user's own AWS credentials.
type Client struct {
	config aws.Config
	// Caller is the ARN of the user.
	Caller string
}

// NewClient returns a Client of the credentials and the Region that the AWS SDK finds. The error
// says that there are none.
func NewClient(ctx context.Context) (*Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		return nil, errors.New("there is no AWS Region: set AWS_REGION")
	}
	caller, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("you have no valid AWS credentials: log in, set AWS_PROFILE or, for another partition such as China, its Region in AWS_REGION: %w", err)
	}
	return &Client{config: cfg, Caller: aws.ToString(caller.Arn)}, nil
}

// Assume returns a session of the role.
func (c *Client) Assume(ctx context.Context, arn role.ARN, duration time.Duration) (*Session, error) {
	got, err := assume(ctx, c.config, arn, duration)
	if err != nil {
		return nil, fmt.Errorf("%s could not assume %s. If it is AccessDenied: does the role exist, does its trust policy name you, and do you have sts:AssumeRole? %w", c.Caller, arn, err)
	}
	return &Session{aws.ToString(got.AccessKeyId), aws.ToString(got.SecretAccessKey), aws.ToString(got.SessionToken), aws.ToTime(got.Expiration)}, nil
}

func assume(ctx context.Context, cfg aws.Config, arn role.ARN, duration time.Duration, tags ...ststypes.Tag) (*ststypes.Credentials, error) { //nolint:gocritic // the SDK takes it so
	got, err := sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: aws.String(arn.String()), RoleSessionName: aws.String(sessionName), DurationSeconds: aws.Int32(int32(duration.Seconds())), Tags: tags,
	})
	if err != nil {
		return nil, err
	}
	return got.Credentials, nil
}

// UntrustedError is the error of a role that does not trust itself, so that the controller could
// never renew the seed.
type UntrustedError struct {
	Role role.ARN
	Err  error
}

// Error implements error.
func (e *UntrustedError) Error() string {
	return fmt.Sprintf(`%s does not trust itself, so the controller could never renew the seed. Add this to the Statement of its trust policy:

  {
    "Effect": "Allow",
    "Principal": {"AWS": "%s"},
    "Action": ["sts:AssumeRole", "sts:TagSession"]
  }

and run this again after a minute, when IAM has applied the change. If the role is from scripts/role.yaml, set its parameter Seed instead.
If the statement exists already, something else denies it: a permissions boundary, an SCP, or the role's own policy without sts:AssumeRole on itself. AWS says:
%v`, e.Role, e.Role, e.Err)
}

// Unwrap returns what AWS says.
func (e *UntrustedError) Unwrap() error { return e.Err }

// CheckTrust tries whether the role can assume itself: without that, the controller could not renew
// the seed. It tries with a session tag first, as a controller with --session-tags does, and
// reports whether the role can tag its sessions.
func (c *Client) CheckTrust(ctx context.Context, arn role.ARN, s *Session, namespace string) (tags bool, err error) {
	cfg := c.config.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(s.accessKeyID, s.secretAccessKey, s.sessionToken)
	tag := ststypes.Tag{Key: aws.String("kubernetes-namespace"), Value: aws.String(namespace)}
	if _, err := assume(ctx, cfg, arn, minDuration, tag); err == nil {
		return true, nil
	}
	_, err = assume(ctx, cfg, arn, minDuration)
	var api smithy.APIError
	switch {
	case err == nil:
		return false, nil
	case errors.As(err, &api) && api.ErrorCode() == "AccessDenied":
		return false, &UntrustedError{arn, err}
	}
	return false, fmt.Errorf("could not find out whether the role can assume itself: %w", err)
}
