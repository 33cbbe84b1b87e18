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

// fromEnvironment gets the Client's own credentials from what the SDK finds. The error is an *Error that says where they were to come from.
func (c *Client) fromEnvironment(ctx context.Context, load ...func(*config.LoadOptions) error) (aws.Credentials, error) {
	// Reading the settings anew is what finds a file that was replaced: the SDK reads it once.
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Credentials{}, absent("%sthe AWS settings in the environment are wrong%s", keysTrouble(ctx), detail(err))
	}
	got, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, explainBase(ctx, cfg.Credentials, err)
	}
	c.origin.Store(&got.Source)
	return got, nil
}

// ofTheSDKsOwnCalls are settings for the calls of STS that the SDK makes on its way to credentials: they are told of, and CloudTrail can tell whose they are.
func (c *Client) ofTheSDKsOwnCalls() []func(*config.LoadOptions) error {
	return []func(*config.LoadOptions) error{
		config.WithAPIOptions([]func(*middleware.Stack) error{c.observe}),
		config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) {
			o.RoleSessionName = cmp.Or(o.RoleSessionName, c.options.Intermediate.Name)
		}),
	}
}

// throughIntermediate gets credentials of the role that is assumed first. The base is looked at before, so that its errors stay its own.
func (c *Client) throughIntermediate() aws.CredentialsProvider {
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
			c.identity.hubKey.Store(&got.AccessKeyID)
		}
		return got, err
	})
}

// absent is the Error of a base that gives no credentials.
func absent(format string, args ...any) *Error {
	return &Error{Kind: Absent, Code: "NoCredentials", message: "the controller has no AWS credentials of its own, tried again: " + fmt.Sprintf(format, args...)}
}

// explainBase makes the Error of a base that gives no credentials: what it is, what went wrong there, and what to do.
func explainBase(ctx context.Context, provider aws.CredentialsProvider, err error) *Error {
	env, _ := config.NewEnvConfig() // an error would have been found before
	switch lastSource(provider) {
	case aws.CredentialSourceEnvVarsSTSWebIDToken:
		return explainWebIdentity(&env, err)
	case aws.CredentialSourceHTTP:
		return explainContainer(&env, err)
	case aws.CredentialSourceIMDS:
		return absent("%sthe instance's metadata service %s. Nothing else is set: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, "+
			"keys in the files of AWS_SHARED_CREDENTIALS_FILE or AWS_CONFIG_FILE, AWS_CONTAINER_CREDENTIALS_FULL_URI", keysTrouble(ctx), instanceTrouble(err))
	default: // a profile in the AWS files
		if _, answered := errors.AsType[smithy.APIError](err); answered {
			kind, code := classify(err)
			return &Error{Kind: kind, Code: code, message: "the controller cannot get AWS credentials of its own by the profile in its AWS files, tried again" + detail(err)}
		}
		return absent("the profile in its AWS files gives none%s", detail(err))
	}
}

// lastSource is the place of the SDK's chain that was asked last: where a profile goes on from one place to another, the other.
func lastSource(provider aws.CredentialsProvider) aws.CredentialSource {
	if known, ok := provider.(aws.CredentialProviderSource); ok {
		if all := known.ProviderSources(); len(all) > 0 {
			return all[len(all)-1]
		}
	}
	return aws.CredentialSourceUndefined
}

// explainIntermediate makes the Error of a role that is to be assumed first, and cannot be.
func (c *Client) explainIntermediate(err error) *Error {
	kind, code := classify(err)
	between := c.options.Intermediate.Role
	switch {
	case between.IsZero(): // there was no time to ask the base
		return &Error{Kind: kind, Code: code, message: "the controller cannot get AWS credentials of its own, tried again" + detail(err)}
	case kind == Expired:
		return c.refused(code, fmt.Sprintf("so it cannot assume %s, the role of --assume-role", between))
	case kind == Denied:
		d := denialOf(err)
		return &Error{Kind: kind, Code: code, message: quote(fmt.Sprintf("the controller cannot assume %s, the role of --assume-role (STS: ", between), d.said,
			"). "+d.advice(deniedCaller{name: "the caller", principal: "the caller", uniqueID: "AROA… or AIDA…"})+". Tried again about every minute")}
	default:
		return &Error{Kind: kind, Code: code, message: fmt.Sprintf("the controller cannot assume %s, the role of --assume-role; tried again%s", between, detail(err))}
	}
}

// origins are the places that credentials come from, by what the SDK calls them.
var origins = map[string]string{
	"EnvConfigCredentials":        "from AWS_ACCESS_KEY_ID",
	"EC2RoleProvider":             "from the instance's metadata service",
	"CredentialsEndpointProvider": "from the endpoint of AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"WebIdentityCredentials":      "for the token of AWS_WEB_IDENTITY_TOKEN_FILE",
}

// refused is the Error of credentials that there are, but that STS does not take.
func (c *Client) refused(code, consequence string) *Error {
	if unknown := c.unknownSeed(code); unknown != nil {
		return unknown
	}
	var from string
	if origin := c.origin.Load(); origin != nil {
		from = origins[*origin]
		if file, ok := strings.CutPrefix(*origin, "SharedConfigCredentials: "); ok {
			from = "from the file " + file
		}
	}
	if from != "" {
		from = ", " + from + ","
	}
	return &Error{Kind: Expired, Code: code, message: fmt.Sprintf("the controller's own AWS credentials%s are refused by STS of Region %s (%s), %s. They are wrong, expired, deleted, "+
		"or of another partition than the Region. Renew them; it is tried again", from, c.Region(), code, consequence)}
}
