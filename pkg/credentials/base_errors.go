package credentials

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
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

// explainWebIdentity makes the Error of a token that is not there, or for which STS gives nothing.
func explainWebIdentity(env *config.EnvConfig, err error) *Error {
	file := env.WebIdentityTokenFilePath
	if trouble := fileTrouble(file); trouble != "" {
		return absent("the file %s of AWS_WEB_IDENTITY_TOKEN_FILE %s. It is to be a token of the controller's ServiceAccount in a projected volume, as in config/overlays/web-identity", file, trouble)
	}
	kind, code := classify(err)
	said := strings.TrimSuffix(detail(err), ".")
	switch code {
	case "InvalidIdentityToken", "IDPRejectedClaim":
		said += tokenSays(file) + ". The issuer must be an OIDC provider in IAM, in the role's account and with the token's audience, whose keys AWS can fetch"
	case "ExpiredTokenException":
		said += tokenSays(file) + ". The kubelet replaces a token long before that: is it in a projected volume, mounted as a folder, and is the node's clock right?"
	case "AccessDenied":
		said += tokenSays(file) + ". "
		if d := denialOf(err); d.explicit || d.policy != "" || d.action == tagSession || d.action == setSourceIdentity {
			said += d.advice(deniedCaller{name: "that subject", principal: "that subject of the issuer"}) + ". Does"
		} else {
			said += "Does"
		}
		said += " the role exist, and does its trust policy let in that issuer, subject and audience, with sts:AssumeRoleWithWebIdentity?"
	case "ValidationError": // what STS says of it may quote the token
		said = ": " + code + ". Is AWS_ROLE_ARN the ARN of a role, and is the token in " + file + " whole?"
	}
	return &Error{Kind: kind, Code: code, message: fmt.Sprintf("the controller cannot get AWS credentials of its own, tried again: STS gives it no session of role %s for its web identity "+
		"(AssumeRoleWithWebIdentity)%s", env.RoleARN, said)}
}

// tokenSays is whose a web identity token is, in its own words. They are no secret: without the signature they are nothing.
func tokenSays(file string) string {
	token, _ := os.ReadFile(file) //nolint:gosec // the administrator names it
	parts := append(strings.Split(string(token), "."), "")
	var claims struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience any    `json:"aud"`
	}
	if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || json.Unmarshal(payload, &claims) != nil {
		return ". What is in " + file + " is no token"
	}
	return fmt.Sprintf(". The token's issuer is %q, its subject %q, its audience %q", claims.Issuer, claims.Subject, fmt.Sprint(claims.Audience))
}

// exception is the name of an error, as the agent of EKS Pod Identity tells it. The rest of what it says changes with every call.
var exception = regexp.MustCompile(`\b[A-Z][A-Za-z]{2,40}Exception\b`)

// explainContainer makes the Error of an endpoint for container credentials that gives none.
func explainContainer(env *config.EnvConfig, err error) *Error {
	if file := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		trouble := fileTrouble(file)
		if token, _ := os.ReadFile(file); trouble == "" && strings.ContainsAny(string(token), "\r\n") { //nolint:gosec // the administrator names it
			trouble = "has a line break, which the SDK refuses"
		}
		if trouble != "" {
			return absent("the file %s of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE %s. On EKS, restart the Deployment: the token is put into new pods", file, trouble)
		}
	}
	said := wayTrouble(err)
	if answer, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); ok {
		said = strings.TrimSpace(fmt.Sprintf("status %d %s", answer.HTTPStatusCode(), exception.FindString(err.Error())))
	} else if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		said = "an answer that is not its own"
	}
	const remedy = "On EKS: does the Pod Identity agent run on the node, is the controller's ServiceAccount associated with a role, and does that role trust pods.eks.amazonaws.com " +
		"with sts:AssumeRole and sts:TagSession?"
	return absent("the endpoint for container credentials, %s, gives none (%s). %s", endpoint(env), said, remedy)
}

// endpoint is the place of the container credentials. Its path is not told: on ECS it is as good as a password.
func endpoint(env *config.EnvConfig) string {
	if u, err := url.Parse(env.ContainerCredentialsEndpoint); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host + " of AWS_CONTAINER_CREDENTIALS_FULL_URI"
	}
	return "that of AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
}

// metadataStatus finds the status of an answer of the metadata service: not all of the SDK's errors can be unwrapped to it.
var metadataStatus = regexp.MustCompile(`StatusCode: \d{3}`)

// hopLimit is what keeps pods from the metadata service.
const hopLimit = "Where the instance's hop limit is 1, as it should be, only pods in the node's network get an answer (hostNetwork: true), as in config/overlays/instance-role"

// instanceTrouble completes the sentence "the instance's metadata service".
func instanceTrouble(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return "cannot have the instance's role (" + strings.TrimSuffix(saidBySTS(api), ".") + "). The role must trust the service ec2.amazonaws.com"
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
	case wayTrouble(err) == "":
		return "gives an answer that is not its own"
	default:
		return "does not answer (" + wayTrouble(err) + "). " + hopLimit + ". Elsewhere than on EC2, set one of the following"
	}
}

// wayTrouble is what went wrong between here and there, without the URL, which may be a secret.
func wayTrouble(err error) string {
	if sent, ok := errors.AsType[*url.Error](err); ok {
		return cmp.Or(onTheWay(sent.Err), "no answer")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "it took too long"
	}
	return onTheWay(err)
}

// fileTrouble says what is wrong with a file before anybody reads what is in it; nothing, if nothing is.
func fileTrouble(path string) string {
	text, err := os.ReadFile(path) //nolint:gosec // the administrator names it
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

// settingsTrouble says, in one line, what is wrong with settings that the SDK refuses.
func settingsTrouble(ctx context.Context, err error) string {
	if env, envErr := config.NewEnvConfig(); envErr == nil && env.WebIdentityTokenFilePath != "" && env.RoleARN == "" {
		return "AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN, the role that the token is for"
	}
	return keysTrouble(ctx) + strings.Join(strings.Fields(err.Error()), " ")
}

// keysTrouble says what is wrong with the file of keys that the environment names; nothing, if there is none or nothing is. The SDK itself passes over a
// file that is not there, or has no keys.
func keysTrouble(ctx context.Context) string {
	env, err := config.NewEnvConfig()
	file := env.SharedCredentialsFile
	if err != nil || file == "" {
		return ""
	}
	trouble, profile := fileTrouble(file), cmp.Or(env.SharedConfigProfile, "default")
	if trouble == "" {
		shared, err := config.LoadSharedConfigProfile(ctx, profile, func(o *config.LoadSharedConfigOptions) {
			o.ConfigFiles, o.CredentialsFiles = []string{}, []string{file}
		})
		if _, missing := errors.AsType[config.SharedConfigProfileNotExistError](err); missing {
			trouble = "has no section [" + profile + "]"
		} else if err != nil || !shared.Credentials.HasKeys() {
			trouble = "has not both aws_access_key_id and aws_secret_access_key in section [" + profile + "]"
		}
	}
	if trouble == "" {
		return ""
	}
	return "the file " + file + " of AWS_SHARED_CREDENTIALS_FILE " + trouble + "; "
}
