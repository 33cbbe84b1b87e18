package policy_test

import (
	"strings"
	"testing"

	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
)

func TestTheZeroVerdictIsARefusal(t *testing.T) {
	if (policy.Verdict{}).Allowed {
		t.Error("it allows")
	}
}

func TestAlwaysAllow(t *testing.T) {
	arn, err := role.ParseARN("arn:aws:iam::123456789012:role/app")
	if err != nil {
		t.Fatal(err)
	}
	var authorize policy.Authorizer = policy.AlwaysAllow
	verdict, err := authorize(policy.Subject{Namespace: "payments"}, arn)
	if err != nil || !verdict.Allowed {
		t.Errorf("got %+v, %v", verdict, err)
	}
	if policy.ModeAlwaysAllow != "AlwaysAllow" || !strings.Contains(verdict.Reason, "AlwaysAllow") {
		t.Errorf("the reason does not name the mode: %q", verdict.Reason)
	}
}
