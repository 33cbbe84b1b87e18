// Package webidentity gets the AWS sessions of ServiceAccounts by tokens of their own: it requests
// a token from the API server (TokenRequest), and has STS exchange it for a role
// (AssumeRoleWithWebIdentity). The role's trust policy decides.
package webidentity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/serviceaccounts"
)

// DefaultAudience is the audience of tokens for AWS. Source: "IAM roles for service accounts" in
// the EKS user guide.
const DefaultAudience = "sts.amazonaws.com"

// tokenSeconds is how long a token is valid: the shortest that the API server issues. It is used
// once, at once. Source: validation of TokenRequest.
const tokenSeconds = 600

// component is what an administrator installs for this package.
const component = "config/components/web-identity-per-serviceaccount"

// Issuer issues the sessions of ServiceAccounts. It is safe for concurrent use.
type Issuer struct {
	// Accounts is where tokens are requested.
	Accounts corev1client.ServiceAccountsGetter
	// Audiences are those that a token can be for. The first is that of a ServiceAccount which
	// names none.
	Audiences []string
	// Confined returns why the controller requests no tokens; nil if the policy that confines such
	// requests is in force. See Policy.InForce.
	Confined func(context.Context) error
	// Rejected returns an error unless the API server rejects tokens of an audience, of which token
	// is one. See Trial.Rejected.
	Rejected func(ctx context.Context, audience string, token credentials.Redacted) error
	// AssumeBy returns credentials for a session by the token that a function returns. See
	// credentials.WebIdentity.Assume.
	AssumeBy func(context.Context, credentials.Session, func(context.Context) (credentials.Redacted, error)) (credentials.Credentials, error)
	// AWS has the controller's own identities, if it has any. They say where roles lie that are
	// asked for by name.
	AWS credentials.Identities
}

// CheckAudience returns an error if the audience that a ServiceAccount asks for is not allowed.
func (i *Issuer) CheckAudience(asked string) error {
	if asked == "" || slices.Contains(i.Audiences, asked) {
		return nil
	}
	return fmt.Errorf("audience not allowed: annotation %s is %q, and the controller requests tokens only for %s (--web-identity-audience). "+
		"Remove the annotation, or have that audience allowed", request.AudienceAnnotation, asked, strings.Join(i.Audiences, ", "))
}

// IdentitiesOf returns the identities for the Secret of a ServiceAccount: its role is assumed by
// the ServiceAccount itself. That works without an identity of the controller, so whether the role
// is the controller's own is found out without waiting for one.
func (i *Issuer) IdentitiesOf(account *serviceaccounts.ServiceAccount) credentials.Identities {
	identities := i.AWS
	identities.Assumer = i.identityOf(account)
	identities.IsOwnRole = func(_ context.Context, arn role.ARN) (bool, error) { return i.AWS.IsKnownOwnRole(arn), nil }
	return identities
}

// identityOf returns the identity that assumes the role of a ServiceAccount: the ServiceAccount
// itself, without an ARN. account is nil if the ServiceAccount asks for no role.
func (i *Issuer) identityOf(account *serviceaccounts.ServiceAccount) credentials.Identity {
	return credentials.Identity{
		Caller: func(ctx context.Context) (credentials.Caller, error) { return i.caller(ctx, account) },
		Assume: func(ctx context.Context, s credentials.Session) (credentials.Credentials, error) {
			if err := i.Confined(ctx); err != nil { // before the rate limit: no one waits for nothing
				return credentials.Credentials{}, err
			}
			return i.AssumeBy(ctx, s, func(ctx context.Context) (credentials.Redacted, error) { return i.requestToken(ctx, account) })
		},
	}
}

// caller returns where the role of a ServiceAccount lies. It asks for the controller's own identity
// only if that is needed: for a name without --base-role-arn.
func (i *Issuer) caller(ctx context.Context, account *serviceaccounts.ServiceAccount) (credentials.Caller, error) {
	base := i.AWS.Base()
	if !base.IsZero() || account == nil || strings.HasPrefix(account.Request.Role, "arn:") {
		return credentials.Caller{Base: base}, nil
	}
	own, err := i.AWS.Assumer.Caller(ctx)
	if err != nil {
		return credentials.Caller{}, credentials.NewError(credentials.KindOf(err), credentials.CodeOf(err), fmt.Sprintf(
			"it is not known in which account role %s is: write its ARN into the annotation, or start the controller with --base-role-arn. It would also "+
				"come from the controller's own AWS identity, but %v", account.Request.Role, err))
	}
	return credentials.Caller{Base: own.Base}, nil
}

// requestToken returns a new token of the very ServiceAccount that asks for a role, for AWS. The
// policy that confines it can have been removed while the rate limit was waited for.
func (i *Issuer) requestToken(ctx context.Context, account *serviceaccounts.ServiceAccount) (credentials.Redacted, error) {
	if err := i.Confined(ctx); err != nil {
		return credentials.Redacted{}, err
	}
	audience := account.Request.Audience
	if audience == "" {
		audience = i.Audiences[0]
	}
	if err := i.CheckAudience(audience); err != nil { // no policy of the cluster replaces this
		return credentials.Redacted{}, credentials.NewError(credentials.Rejected, "AudienceNotAllowed", err.Error())
	}
	issued, err := requestToken(ctx, i.Accounts, account.Name, account.UID, audience)
	if err != nil {
		return credentials.Redacted{}, explainRequest(err, account.Name, audience)
	}
	token := credentials.Redact(issued.Status.Token)
	if err := checkToken(token, account, audience); err != nil {
		return credentials.Redacted{}, err
	}
	if err := i.Rejected(ctx, audience, token); err != nil {
		return credentials.Redacted{}, err
	}
	return token, nil
}

// checkToken returns an error unless a token is what was requested: of the very ServiceAccount, and
// for the audience alone. A token for more could open what AWS must not.
func checkToken(token credentials.Redacted, account *serviceaccounts.ServiceAccount, audience string) error {
	claims, err := credentials.ReadClaims(token)
	switch {
	case err != nil:
		return badToken(account.Name, err.Error())
	case len(claims.Audiences) != 1 || claims.Audiences[0] != audience:
		return badToken(account.Name, fmt.Sprintf("it is for other audiences than %s alone", audience))
	case claims.Subject != "system:serviceaccount:"+account.Name.Namespace+":"+account.Name.Name:
		return badToken(account.Name, "it is of another user")
	case claims.ServiceAccountUID != string(account.UID):
		return replaced(account.Name)
	}
	return nil
}

// badToken is the error of a token that is not what was requested.
func badToken(account types.NamespacedName, why string) error {
	return credentials.NewError(credentials.Unavailable, "BadToken",
		fmt.Sprintf("what the API server issues for ServiceAccount %s is not the token that was requested: %s. Tried again", account, why))
}

// requestToken asks the API server for a token. API servers from Kubernetes 1.34 on refuse a
// request for another UID than that of the ServiceAccount; earlier ones ignore the UID.
func requestToken(ctx context.Context, accounts corev1client.ServiceAccountsGetter, account types.NamespacedName, uid types.UID, audience string) (*authenticationv1.TokenRequest, error) {
	return accounts.ServiceAccounts(account.Namespace).CreateToken(ctx, account.Name, &authenticationv1.TokenRequest{
		ObjectMeta: metav1.ObjectMeta{UID: uid},
		Spec:       authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: new(int64(tokenSeconds))},
	}, metav1.CreateOptions{})
}

// replaced is the error of a ServiceAccount that is another one than was asked about.
func replaced(account types.NamespacedName) error {
	return credentials.NewError(credentials.Unavailable, "ServiceAccountReplaced",
		fmt.Sprintf("ServiceAccount %s was deleted and created again; tried again for the new one", account))
}

// ownRefused is what the policy says about a token of the controller's own ServiceAccount.
const ownRefused = "creates no tokens of its own ServiceAccount"

// explainRequest returns the Error of a TokenRequest that failed.
func explainRequest(err error, account types.NamespacedName, audience string) error {
	says := err.Error()
	switch {
	case apierrors.IsNotFound(err):
		return credentials.NewError(credentials.Rejected, "ServiceAccountNotFound", fmt.Sprintf("ServiceAccount %s does not exist", account))
	case apierrors.IsConflict(err):
		return replaced(account)
	case apierrors.IsForbidden(err) && strings.Contains(says, ownRefused):
		return credentials.NewError(credentials.Denied, "TokenRefused", fmt.Sprintf("ServiceAccount %s is the controller's own, "+
			"and no role is given to it by web identity. Run the pod as another ServiceAccount: %s", account, says))
	case apierrors.IsForbidden(err) && strings.Contains(says, "ValidatingAdmissionPolicy"):
		return credentials.NewError(credentials.Denied, "TokenRefused", fmt.Sprintf("an admission policy refuses the controller a token of ServiceAccount %s "+
			"for the audience %s. If that audience is to be allowed, its list in %s must be that of --web-identity-audience: %s", account, audience, component, says))
	case apierrors.IsForbidden(err):
		return credentials.NewError(credentials.Denied, "TokenForbidden", fmt.Sprintf("the controller has no right to request a token of ServiceAccount %s: "+
			"install %s, which has the right and the policy that confines it: %s", account, component, says))
	default:
		return credentials.NewError(credentials.Unavailable, "TokenRequest", fmt.Sprintf("the API server issues no token of ServiceAccount %s, tried again: %s", account, says))
	}
}
