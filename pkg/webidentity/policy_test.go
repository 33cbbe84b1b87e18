package webidentity_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/webidentity"
)

func refusedBy(policy, why string) error {
	return apierrors.NewForbidden(authenticationv1.Resource("serviceaccounts"), "self", fmt.Errorf("ValidatingAdmissionPolicy '%s' with binding 'b' denied request: %s", policy, why))
}

// badAudience is why the policy refuses a token for another audience than its own.
const badAudience = "the controller creates tokens only for one audience of sts.amazonaws.com, and this one is for no-one"

func TestPolicy_InForce(t *testing.T) {
	noRight := apierrors.NewForbidden(authenticationv1.Resource("serviceaccounts"), "self", errors.New("no right"))
	for _, c := range []struct {
		name   string
		answer error
		code   string // of the error, or "" if it is in force
		says   string
	}{
		{"refused by the policy", refusedBy("tokens", badAudience), "", ""},
		{"refused by the policy for the ServiceAccount alone", refusedBy("tokens", "the controller creates no tokens of its own ServiceAccount"), "PolicyNotInForce", "audience no-one"},
		{"issued", nil, "PolicyNotInForce", "config/components/web-identity-per-serviceaccount"},
		{"refused by another policy", refusedBy("tokens-of-others", badAudience), "PolicyUnknown", "cannot find out"},
		{"no right", noRight, "PolicyUnknown", "no right"},
		{"an API server that is away", apierrors.NewServiceUnavailable("away"), "PolicyUnknown", "away"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clientset, asked := fake.NewClientset(), 0
			clientset.PrependReactor("create", "serviceaccounts", func(action clienttesting.Action) (bool, runtime.Object, error) {
				asked++
				create, ok := action.(clienttesting.CreateActionImpl)
				request, isRequest := create.Object.(*authenticationv1.TokenRequest)
				if !ok || !isRequest || len(request.Spec.Audiences) != 1 || request.Spec.Audiences[0] != "no-one" || create.Name != "self" || action.GetNamespace() != "home" {
					t.Errorf("it tries %+v", action)
				}
				return true, &authenticationv1.TokenRequest{}, c.answer
			})
			clock, observed := clocktesting.NewFakePassiveClock(time.Now()), 0
			p := &webidentity.Policy{
				Name: "tokens", Audience: "no-one", Accounts: clientset.CoreV1(), Clock: clock, Observe: func(bool, error) { observed++ },
				Self: func(context.Context) (types.NamespacedName, error) {
					return types.NamespacedName{Namespace: "home", Name: "self"}, nil
				},
			}
			err := p.InForce(t.Context())
			if (err == nil) != (c.code == "") || err != nil && (credentials.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v", err)
			}
			if again := p.InForce(t.Context()); !errors.Is(again, err) || asked != 1 || observed != 1 {
				t.Errorf("asked %d times, then %v", asked, again)
			}
			clock.SetTime(clock.Now().Add(10 * time.Second))
			_ = p.InForce(t.Context())
			if want := map[bool]int{true: 1, false: 2}[err == nil]; asked != want {
				t.Errorf("asked %d times within 10 seconds, not %d", asked, want)
			}
			clock.SetTime(clock.Now().Add(3 * time.Minute))
			_ = p.InForce(t.Context())
			if want := map[bool]int{true: 2, false: 3}[err == nil]; asked != want {
				t.Errorf("asked %d times, not %d", asked, want)
			}
		})
	}
}
