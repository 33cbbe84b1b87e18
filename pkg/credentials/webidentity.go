package credentials

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"kube-aws-iam-controller/pkg/fairrate"
)

// WebIdentity gets sessions by web identity tokens (AssumeRoleWithWebIdentity). STS knows the
// caller by the token alone, so the controller needs no AWS credentials for it. It is safe for
// concurrent use.
type WebIdentity struct {
	client *Client
	sts    *sts.Client
	limit  *fairrate.Limiter
}

// codeIDPCommunication is the code of the answer that AWS could not reach the issuer of a token.
// AWS recommends to try again. Source: the errors of AssumeRoleWithWebIdentity in the STS API
// reference.
const codeIDPCommunication = "IDPCommunicationError"

// WebIdentity returns a WebIdentity that shares the Client's Region, clock and observer. qps is how
// many sessions it asks for in a second; the burst is the same. Namespaces that wait take turns.
func (c *Client) WebIdentity(qps float64) *WebIdentity {
	return &WebIdentity{
		client: c, limit: fairrate.New(qps, max(1, int(qps))),
		sts: c.client(aws.AnonymousCredentials{}, codeIDPCommunication),
	}
}

// Assume returns credentials for a session, or an *Error. getToken returns the token for this one
// call, which is not kept; its errors are returned as they are. The session has neither ExternalID
// nor tags: STS takes none with a token. It is no role chaining, so it can last as long as the role
// allows.
func (w *WebIdentity) Assume(ctx context.Context, s Session, getToken func(context.Context) (Redacted, error)) (Credentials, error) {
	if err := w.limit.Wait(ctx, s.Namespace); err != nil {
		return Credentials{}, newError(Throttled, "LocalRateLimit", "more sessions are requested than --web-identity-qps allows: "+
			"credentials of role %s are late", s.Role)
	}
	token, err := getToken(ctx)
	if err != nil {
		return Credentials{}, err
	}
	answer, err := w.sts.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          aws.String(s.Role.String()),
		RoleSessionName:  aws.String(s.Name),
		DurationSeconds:  aws.Int32(int32(s.Duration.Seconds())),
		WebIdentityToken: aws.String(token.Reveal()),
	})
	if err == nil {
		var got Credentials
		if got, err = w.client.checkAnswer(s.Role, answer.Credentials); err == nil {
			return got, nil
		}
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return Credentials{}, known
	}
	claims, _ := ReadClaims(token) // without them the advice is less precise
	return Credentials{}, explainSession(err, s, &claims)
}
