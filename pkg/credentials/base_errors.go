package credentials

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
)

// explainWebIdentity returns the Error of a token that is missing, or for which STS issues no
// session.
func explainWebIdentity(env *config.EnvConfig, err error) *Error {
	file := env.WebIdentityTokenFilePath
	if problem := fileProblem(file); problem != "" {
		return absentError("the file %s of AWS_WEB_IDENTITY_TOKEN_FILE %s. It is to be a token of the controller's "+
			"ServiceAccount in a projected volume, as in config/overlays/web-identity", file, problem)
	}
	kind, code := classify(err)
	cause := strings.TrimSuffix(detail(err), ".")
	switch code {
	case "InvalidIdentityToken", "IDPRejectedClaim":
		cause += describeToken(file) + ". The issuer must be an OIDC provider in IAM, in the role's account and with " +
			"the token's audience, whose keys AWS can fetch"
	case "ExpiredTokenException":
		cause += describeToken(file) + ". The kubelet replaces a token long before that: is it in a projected volume, " +
			"mounted as a folder, and is the node's clock right?"
	case "AccessDenied":
		cause += describeToken(file) + ". "
		if d := denialOf(err); d.explicit || d.policy != "" || d.action == tagSession || d.action == setSourceIdentity {
			cause += d.advice(deniedCaller{name: "that subject", principal: "that subject of the issuer"}) + ". Does"
		} else {
			cause += "Does"
		}
		cause += " the role exist, and does its trust policy let in that issuer, subject and audience, with " +
			"sts:AssumeRoleWithWebIdentity?"
	case "ValidationError": // its message can quote the token
		cause = ": " + code + ". Is AWS_ROLE_ARN the ARN of a role, and is the token in " + file + " whole?"
	}
	return newError(kind, code, "the controller cannot get AWS credentials of its own, tried again: STS gives it no "+
		"session of role %s for its web identity "+
		"(AssumeRoleWithWebIdentity)%s", env.RoleARN, cause)
}

// describeToken returns the issuer, subject and audience that a web identity token claims. They are
// no secret: without the signature they cannot be used.
func describeToken(file string) string {
	token, _ := os.ReadFile(file) //nolint:gosec // the administrator sets the path
	claims, err := ReadClaims(Redact(string(token)))
	if err != nil {
		return ". What is in " + file + " is no token"
	}
	return fmt.Sprintf(". The token's issuer is %q, its subject %q, its audience "+
		"%q", claims.Issuer, claims.Subject, claims.audience())
}

// exceptionName finds the name of an error in an answer of the EKS Pod Identity agent. The rest of
// the answer changes with every call.
var exceptionName = regexp.MustCompile(`\b[A-Z][A-Za-z]{2,40}Exception\b`)

// explainContainer returns the Error of a container credentials endpoint that returns no
// credentials.
func explainContainer(env *config.EnvConfig, err error) *Error {
	if file := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		problem := fileProblem(file)
		if token, _ := os.ReadFile(file); problem == "" && strings.ContainsAny(string(token), "\r\n") { //nolint:gosec // the administrator sets the path
			problem = "has a line break, which the SDK refuses"
		}
		if problem != "" {
			return absentError("the file %s of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE %s. On EKS, restart the "+
				"Deployment: the token is put into new pods", file, problem)
		}
	}
	cause := describeTransportError(err)
	if answer, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); ok {
		cause = strings.TrimSpace(fmt.Sprintf("status %d %s", answer.HTTPStatusCode(), exceptionName.FindString(err.Error())))
	} else if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		cause = "an answer that is not its own"
	}
	const remedy = "On EKS: does the Pod Identity agent run on the node, is the controller's ServiceAccount associated " +
		"with a role, and does that role trust pods.eks.amazonaws.com " +
		"with sts:AssumeRole and sts:TagSession?"
	return absentError("the endpoint for container credentials, %s, gives none (%s). %s", describeEndpoint(env), cause, remedy)
}

// describeEndpoint returns the address of the container credentials endpoint. It leaves out the
// path, which on ECS works like a password.
func describeEndpoint(env *config.EnvConfig) string {
	if u, err := url.Parse(env.ContainerCredentialsEndpoint); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host + " of AWS_CONTAINER_CREDENTIALS_FULL_URI"
	}
	return "that of AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
}

// metadataStatus finds the status of an answer of the metadata service: not all of the SDK's errors
// can be unwrapped to it.
var metadataStatus = regexp.MustCompile(`StatusCode: \d{3}`)

// hopLimit explains why pods cannot reach the metadata service.
const hopLimit = "Where the instance's hop limit is 1, as it should be, only pods in the node's network get an answer " +
	"(hostNetwork: true), as in config/overlays/instance-role"

// describeInstanceError completes the sentence "the instance's metadata service".
func describeInstanceError(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return "cannot have the instance's role (" + strings.TrimSuffix(answerText(api), ".") + "). The role must " +
			"trust the service ec2.amazonaws.com"
	}
	status := strings.TrimPrefix(metadataStatus.FindString(err.Error()), "StatusCode: ")
	switch {
	case strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true"):
		return "is switched off by AWS_EC2_METADATA_DISABLED"
	case status == "404":
		return "knows no role of the instance (404): attach an instance profile to it"
	case status == "401":
		return "wants a token and gives none (401). " + hopLimit
	case status == "403":
		return "is switched off for the instance (403): aws ec2 modify-instance-metadata-options --http-endpoint enabled"
	case status != "":
		return "answers with status " + status
	case describeTransportError(err) == "":
		return "gives an answer that is not its own"
	default:
		return "does not answer (" + describeTransportError(err) + "). " + hopLimit + ". Elsewhere than on EC2, set " +
			"one of the following"
	}
}

// describeTransportError returns why there was no answer, without the URL, which can be a secret.
func describeTransportError(err error) string {
	if sent, ok := errors.AsType[*url.Error](err); ok {
		return cmp.Or(describeNetworkError(sent.Err), "no answer")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "it took too long"
	}
	return describeNetworkError(err)
}

// fileProblem returns what is wrong with a file before its content is parsed, or "" if nothing is.
func fileProblem(path string) string {
	text, err := os.ReadFile(path) //nolint:gosec // the administrator sets the path
	switch broken, ok := errors.AsType[*fs.PathError](err); {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case ok:
		return "cannot be read (" + broken.Err.Error() + ")"
	case strings.TrimSpace(string(text)) == "":
		return "is empty"
	default:
		return ""
	}
}

// describeSettingsError returns, in one line, what is wrong with settings that the SDK refuses.
func describeSettingsError(ctx context.Context, err error) string {
	if env, envErr := config.NewEnvConfig(); envErr == nil && env.WebIdentityTokenFilePath != "" && env.RoleARN == "" {
		return "AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN, the role that the token is for"
	}
	return keysFileProblem(ctx) + strings.Join(strings.Fields(err.Error()), " ")
}

// keysFileProblem returns what is wrong with the file of keys that the environment names, or "" if
// nothing is or none is named. The SDK itself ignores a file that is missing or has no keys.
func keysFileProblem(ctx context.Context) string {
	env, err := config.NewEnvConfig()
	file := env.SharedCredentialsFile
	if err != nil || file == "" {
		return ""
	}
	problem, profile := fileProblem(file), cmp.Or(env.SharedConfigProfile, "default")
	if problem == "" {
		shared, err := config.LoadSharedConfigProfile(ctx, profile, func(o *config.LoadSharedConfigOptions) {
			o.ConfigFiles, o.CredentialsFiles = []string{}, []string{file}
		})
		if _, missing := errors.AsType[config.SharedConfigProfileNotExistError](err); missing {
			problem = "has no section [" + profile + "]"
		} else if err != nil || !shared.Credentials.HasKeys() {
			problem = "has not both aws_access_key_id and aws_secret_access_key in section [" + profile + "]"
		}
	}
	if problem == "" {
		return ""
	}
	return "the file " + file + " of AWS_SHARED_CREDENTIALS_FILE " + problem + "; "
}
