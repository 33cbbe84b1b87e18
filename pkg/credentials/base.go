package credentials

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// environmentCredentials returns the Client's own credentials from the SDK's default chain. The
// error is an *Error that names the source that the environment selects.
func (c *Client) environmentCredentials(ctx context.Context, load ...func(*config.LoadOptions) error) (aws.Credentials, error) {
	// The SDK reads a settings file once: only new settings see a file that was replaced.
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Credentials{}, absentError("%sthe AWS settings in the environment are "+
			"wrong%s", keysFileProblem(ctx), detail(err))
	}
	got, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, explainBaseError(ctx, cfg.Credentials, err)
	}
	c.baseSource.Store(&got.Source)
	return got, nil
}

// sdkCallOptions returns settings for the STS calls that the SDK makes to get base credentials:
// they are observed, and CloudTrail shows the controller's session name.
func (c *Client) sdkCallOptions() []func(*config.LoadOptions) error {
	return []func(*config.LoadOptions) error{
		config.WithAPIOptions([]func(*middleware.Stack) error{c.observe}),
		config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) {
			o.RoleSessionName = cmp.Or(o.RoleSessionName, c.options.Intermediate.Name)
		}),
	}
}

// intermediateProvider returns a provider for the role that is assumed first. It retrieves the base
// credentials before, so that their errors are not wrapped in its own.
func (c *Client) intermediateProvider() aws.CredentialsProvider {
	between := c.options.Intermediate
	assume := stscreds.NewAssumeRoleProvider(c.client(c.base), between.Role.String(), func(p *stscreds.AssumeRoleOptions) {
		p.RoleSessionName, p.Duration = between.Name, maxChained
	})
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		if _, err := c.base.Retrieve(ctx); err != nil {
			return aws.Credentials{}, err
		}
		got, err := assume.Retrieve(ctx)
		if err == nil {
			c.intermediateKey.Store(&got.AccessKeyID)
		}
		return got, err
	})
}

// absentError returns the Error of a base that has no credentials.
func absentError(format string, args ...any) *Error {
	return newError(Absent, "NoCredentials", "the controller has no AWS credentials of its own, tried again: "+format, args...)
}

// explainBaseError returns the Error of a base that has no credentials: the source, what went wrong
// there, and what to do.
func explainBaseError(ctx context.Context, provider aws.CredentialsProvider, err error) *Error {
	env, _ := config.NewEnvConfig() // New has returned its error
	switch lastSource(provider) {
	case aws.CredentialSourceEnvVarsSTSWebIDToken:
		return explainWebIdentity(&env, err)
	case aws.CredentialSourceHTTP:
		return explainContainer(&env, err)
	case aws.CredentialSourceIMDS:
		return absentError("%sthe instance's metadata service %s. Nothing else is set: AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY, AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, "+
			"keys in the files of AWS_SHARED_CREDENTIALS_FILE or AWS_CONFIG_FILE, "+
			"AWS_CONTAINER_CREDENTIALS_FULL_URI", keysFileProblem(ctx), describeInstanceError(err))
	default: // a profile in the AWS files
		if _, answered := errors.AsType[smithy.APIError](err); answered {
			kind, code := classify(err)
			return NewError(kind, code, "the controller cannot get AWS credentials of its own by "+
				"the profile in its AWS files, tried again"+detail(err))
		}
		return absentError("the profile in its AWS files gives none%s", detail(err))
	}
}

// lastSource returns the last place in the SDK's chain. A profile can refer to another place, which
// is then the last one.
func lastSource(provider aws.CredentialsProvider) aws.CredentialSource {
	if known, ok := provider.(aws.CredentialProviderSource); ok {
		if all := known.ProviderSources(); len(all) > 0 {
			return all[len(all)-1]
		}
	}
	return aws.CredentialSourceUndefined
}

// explainIntermediate returns the Error of an intermediate role that cannot be assumed.
func (c *Client) explainIntermediate(err error) *Error {
	kind, code := classify(err)
	between := c.options.Intermediate.Role
	switch {
	case between.IsZero(): // the context ended before the base was asked
		return NewError(kind, code, "the controller cannot get AWS credentials of its own, tried "+
			"again"+detail(err))
	case kind == Expired:
		return c.refusedError(code, fmt.Sprintf("so it cannot assume %s, the role of --assume-role", between))
	case kind == Denied:
		d := denialOf(err)
		return NewError(kind, code, quoteAnswer(fmt.Sprintf("the controller cannot assume %s, the "+
			"role of --assume-role (STS: ", between), d.text,
			"). "+d.advice(deniedCaller{
				name: "the caller", principal: "the caller", uniqueID: "AROA… or AIDA…", sourceIdentity: c.sessions != nil,
			})+". "+
				"Tried again about every minute"))
	default:
		return newError(kind, code, "the controller cannot assume %s, the role of --assume-role; tried "+
			"again%s", between, detail(err))
	}
}

// sourceNames describe the places that credentials come from, by the SDK's name for them.
var sourceNames = map[string]string{
	"EnvConfigCredentials":        "from AWS_ACCESS_KEY_ID",
	"EC2RoleProvider":             "from the instance's metadata service",
	"CredentialsEndpointProvider": "from the endpoint of AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"WebIdentityCredentials":      "for the token of AWS_WEB_IDENTITY_TOKEN_FILE",
	rolesAnywhereName:             "from IAM Roles Anywhere",
}

// refusedError returns the Error of the controller's own credentials that STS refuses.
func (c *Client) refusedError(code, consequence string) *Error {
	if unknown := c.recordRefusedSeed(code); unknown != nil {
		return unknown
	}
	var from string
	if origin := c.baseSource.Load(); origin != nil {
		from = sourceNames[*origin]
		if file, ok := strings.CutPrefix(*origin, "SharedConfigCredentials: "); ok {
			from = "from the file " + file
		}
	}
	if from != "" {
		from = ", " + from + ","
	}
	return newError(Expired, code, "the controller's own AWS credentials%s are refused by STS of Region %s (%s), %s. "+
		"They are wrong, expired, deleted, "+
		"or of another partition than the Region. Renew them; it is tried again", from, c.Region(), code, consequence)
}
