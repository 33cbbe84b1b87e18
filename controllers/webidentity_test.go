package controllers

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
	"kube-aws-iam-controller/pkg/webidentity"
)

// webIdentityCluster is a fakeCluster whose ServiceAccounts get their roles by tokens of their own,
// and whose controller has no AWS identity.
type webIdentityCluster struct {
	*fakeCluster
	// uid is that of the ServiceAccount in the API server, which can be ahead of what is watched.
	uid      string
	tokenErr error
	confined error
	tokens   []authenticationv1.TokenRequest
}

var errNoIdentity = credentials.NewError(credentials.Absent, "NoCredentials", "the controller has no AWS credentials of its own")

func newWebIdentityCluster(t *testing.T) *webIdentityCluster {
	t.Helper()
	l := &webIdentityCluster{fakeCluster: newFakeCluster(t), uid: "uid-1"}
	l.may = func(authorization.Request) bool { return false } // no right in the cluster is asked for
	clientset := fake.NewClientset()
	clientset.PrependReactor("create", "serviceaccounts", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(clienttesting.CreateActionImpl)
		asked, isRequest := create.Object.(*authenticationv1.TokenRequest)
		if !ok || !isRequest || create.Name != "orders" || action.GetSubresource() != "token" {
			t.Errorf("unexpected %v", action)
		}
		l.tokens = append(l.tokens, *asked)
		if l.tokenErr != nil {
			return true, nil, l.tokenErr
		}
		payload := fmt.Sprintf(`{"aud":%q,"sub":"system:serviceaccount:ns:orders","kubernetes.io":{"serviceaccount":{"uid":%q}}}`, asked.Spec.Audiences[0], l.uid)
		return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
			Token: "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2VjcmV0",
		}}, nil
	})
	aws := &l.core.r.aws
	assume := aws.Assumer.Assume
	none := func(context.Context) (credentials.Caller, error) { return credentials.Caller{}, errNoIdentity }
	aws.Assumer.Caller, aws.SeedAssumer.Caller, aws.Base = none, none, func() role.Base { return role.Base{} }
	aws.IsOwnRole = func(context.Context, role.ARN) (bool, error) { return false, errNoIdentity }
	aws.IsKnownOwnRole = func(r role.ARN) bool { return r.Name() == "controller" }
	l.core.r.webIdentity = &webidentity.Issuer{
		Accounts: clientset.CoreV1(), Audiences: []string{"sts.amazonaws.com", "allowed"}, AWS: *aws,
		Confined: func(context.Context) error { return l.confined },
		Rejected: func(context.Context, string, credentials.Redacted) error { return nil },
		AssumeBy: func(ctx context.Context, s credentials.Session, token func(context.Context) (credentials.Redacted, error)) (credentials.Credentials, error) {
			if _, err := token(ctx); err != nil {
				return credentials.Credentials{}, err
			}
			return assume(ctx, s)
		},
	}
	return l
}

func TestWebIdentity_NeedsNeitherIdentityNorRight(t *testing.T) {
	l := newWebIdentityCluster(t)
	l.account("orders", "uid-1", request.RoleARNAnnotation, stackRole, request.DurationAnnotation, "43200")
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	s := l.get("aws-iam.orders")
	if s == nil || string(s.Data[keys.RoleARN]) != stackRole || s.Annotations[secret.ServiceAccountUIDAnnotation] != "uid-1" {
		t.Fatalf("the Secret is %+v, the events %v", s, l.rec.events)
	}
	if l.reviews != 0 || l.sessions[0].Duration != 12*time.Hour {
		t.Errorf("%d reviews, the session is %+v", l.reviews, l.sessions[0])
	}
	if spec := l.tokens[0].Spec; len(spec.Audiences) != 1 || spec.Audiences[0] != "sts.amazonaws.com" || *spec.ExpirationSeconds != 600 || l.tokens[0].UID != "uid-1" {
		t.Errorf("the token is asked for by %+v", l.tokens[0])
	}
	for range 11 * 60 { // renewed in time, and deleted once no pod asks for it
		l.step(time.Minute)
		l.reconcile("aws-iam.orders")
	}
	if l.sts < 3 || l.sts > 7 {
		t.Errorf("%d sessions of 12 hours within 11", l.sts)
	}
	l.pods.Delete(types.NamespacedName{Namespace: "ns", Name: "p"})
	l.reconcile("aws-iam.orders")
	l.step(6 * time.Minute)
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") != nil {
		t.Error("the Secret stays")
	}
}

func TestWebIdentity_OthersNeedTheIdentity(t *testing.T) {
	l := newWebIdentityCluster(t)
	l.pod("p", "orders", "aws-iam-app")
	l.reconcile("aws-iam-app")
	if l.rec.count(v1.ReasonGetCredentialsFailed) != 1 || l.sts != 0 {
		t.Errorf("%d sessions, the events %v", l.sts, l.rec.events)
	}
	resource := &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "r"}, Spec: v1.AWSIAMRoleSpec{RoleReference: stackRole}}
	l.must(l.store.Create(t.Context(), resource))
	l.reconcile("r")
	l.must(l.store.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "r"}, resource))
	if c := meta.FindStatusCondition(resource.Status.Conditions, v1.ConditionReady); c == nil || c.Reason != v1.ReasonGetCredentialsFailed {
		t.Errorf("the AWSIAMRole is %q", c)
	}
}

func TestWebIdentity_NameWithoutBase(t *testing.T) {
	l := newWebIdentityCluster(t)
	l.account("orders", "uid-1", request.RoleAnnotation, "app")
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	if l.rec.count(v1.ReasonGetCredentialsFailed) != 1 || !strings.Contains(l.rec.events[0], "--base-role-arn") || l.sts != 0 {
		t.Errorf("%d sessions, the events %v", l.sts, l.rec.events)
	}
	base, err := role.ParseBase("arn:aws:iam::123456789012:role/")
	l.must(err)
	l.core.r.webIdentity.AWS.Base = func() role.Base { return base }
	l.step(time.Minute)
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") == nil {
		t.Errorf("the events %v", l.rec.events)
	}
}

func TestWebIdentity_Refused(t *testing.T) {
	forbidden := func(why string) error {
		return apierrors.NewForbidden(authenticationv1.Resource("serviceaccounts"), "orders", errors.New(why))
	}
	for _, c := range []struct {
		name        string
		annotations []string
		spoil       func(*webIdentityCluster)
		reason      string
		says        string
		asked       int // tokens
	}{
		{"an audience that is not allowed", []string{request.AudienceAnnotation, "vault"}, nil, v1.ReasonInvalidRole, "audience not allowed", 0},
		{"the controller's own role", []string{request.RoleAnnotation, "arn:aws:iam::123456789012:role/controller"}, nil, v1.ReasonInvalidRole, "is the controller's own", 0},
		{"no right to request tokens", nil, func(l *webIdentityCluster) { l.tokenErr = forbidden("no such right") }, v1.ReasonGetCredentialsFailed, "install config/components/web-identity-per-serviceaccount", 1},
		{"refused by the policy", nil, func(l *webIdentityCluster) { l.tokenErr = forbidden("ValidatingAdmissionPolicy 'x' denied request") }, v1.ReasonGetCredentialsFailed, "--web-identity-audience", 1},
		{"a policy that is not in force", nil, func(l *webIdentityCluster) {
			l.confined = credentials.NewError(credentials.Absent, "PolicyNotInForce", "not in force")
		}, v1.ReasonGetCredentialsFailed, "not in force", 0},
		{"a ServiceAccount of another UID", nil, func(l *webIdentityCluster) { l.uid = "uid-2" }, v1.ReasonGetCredentialsFailed, "deleted and created again", 1},
		{"a ServiceAccount of another UID, seen by the API server", nil, func(l *webIdentityCluster) {
			l.tokenErr = apierrors.NewConflict(authenticationv1.Resource("serviceaccounts"), "orders", errors.New("the UID"))
		}, v1.ReasonGetCredentialsFailed, "deleted and created again", 1},
		{"a deleted ServiceAccount", nil, func(l *webIdentityCluster) {
			l.tokenErr = apierrors.NewNotFound(authenticationv1.Resource("serviceaccounts"), "orders")
		}, v1.ReasonGetCredentialsFailed, "ServiceAccount ns/orders does not exist", 1},
		{"an API server that is away", nil, func(l *webIdentityCluster) { l.tokenErr = apierrors.NewServiceUnavailable("away") }, v1.ReasonGetCredentialsFailed, "tried again", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newWebIdentityCluster(t)
			l.account("orders", "uid-1", append([]string{request.RoleARNAnnotation, stackRole}, c.annotations...)...)
			l.pod("p", "orders", "aws-iam.orders")
			if c.spoil != nil {
				c.spoil(l)
			}
			l.reconcile("aws-iam.orders")
			if l.get("aws-iam.orders") != nil || l.sts != 0 || len(l.tokens) != c.asked {
				t.Errorf("%d sessions, %d tokens", l.sts, len(l.tokens))
			}
			if l.rec.count(c.reason) != 1 || !strings.Contains(l.rec.events[0], c.says) || len(l.rec.events) != 1 {
				t.Errorf("the events are %q", l.rec.events)
			}
		})
	}
}

func TestWebIdentity_AllowedAudience(t *testing.T) {
	l := newWebIdentityCluster(t)
	l.account("orders", "uid-1", request.RoleARNAnnotation, stackRole, request.AudienceAnnotation, "allowed")
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") == nil || l.tokens[0].Spec.Audiences[0] != "allowed" {
		t.Errorf("the tokens are %+v, the events %v", l.tokens, l.rec.events)
	}
}

// What lives stays while tokens are refused, and is deleted when it is dead.
func TestWebIdentity_KeepsWhatLives(t *testing.T) {
	l := newWebIdentityCluster(t)
	l.account("orders", "uid-1", request.RoleARNAnnotation, stackRole)
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	l.tokenErr = apierrors.NewServiceUnavailable("away")
	for range 54 {
		l.step(time.Minute)
		l.reconcile("aws-iam.orders")
	}
	if l.get("aws-iam.orders") == nil {
		t.Fatal("deleted")
	}
	l.step(2 * time.Minute)
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") != nil {
		t.Error("a pod could start on dead credentials")
	}
}
