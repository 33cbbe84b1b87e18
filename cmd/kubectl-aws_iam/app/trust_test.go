package app

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/access"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	ststest "kube-aws-iam-controller/test/sts"
)

// allows evaluates a trust policy for a call, as far as the conditions go.
func allows(policy *access.Policy, call *ststest.Call) bool {
	for _, s := range policy.Statement {
		action := "sts:" + call.Operation
		if actions, ok := s.Action.([]any); ok && !slices.Contains(actions, any(action)) || !ok && s.Action != any(action) {
			return false
		}
		for key, wanted := range s.Condition["StringEquals"] {
			values, ok := wanted.([]any)
			if !ok {
				values = []any{wanted}
			}
			if !slices.Contains(values, any(valueOf(key, call))) {
				return false
			}
		}
	}
	return true
}

// valueOf returns the value of a condition key.
func valueOf(key string, call *ststest.Call) string {
	tag, isTag := strings.CutPrefix(key, "aws:RequestTag/")
	switch {
	case isTag:
		return call.Tags[tag]
	case key == "sts:RoleSessionName":
		return call.SessionName
	case key == "sts:ExternalId":
		return call.ExternalID
	case strings.HasSuffix(key, ":sub"):
		return call.Subject
	case strings.HasSuffix(key, ":aud"):
		return "sts.amazonaws.com"
	}
	return "no key"
}

func parsePolicy(t *testing.T, text string) *access.Policy {
	t.Helper()
	var p access.Policy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return &p
}

// TestTrust_Policy compares each kind of policy with the sessions that the controller requests.
func TestTrust_Policy(t *testing.T) {
	arn, err := role.ParseARN("arn:aws:iam::123456789012:role/orders")
	if err != nil {
		t.Fatal(err)
	}
	template := credentials.SessionTemplate{ClusterName: "prod", ExternalID: "{cluster}/{namespace}", Tags: []string{
		credentials.TagCluster, credentials.TagNamespace, credentials.TagServiceAccount,
	}}
	own := credentials.User{Namespace: "payments", Secret: "aws-iam.orders", ServiceAccount: "orders"}
	shared := credentials.User{Namespace: "payments", Secret: "aws-iam-orders"}
	for _, c := range []struct {
		name    string
		by      access.By
		users   []credentials.User
		refused []credentials.User
	}{
		{"a ServiceAccount by session name", access.BySession, []credentials.User{own}, []credentials.User{shared}},
		{"two Secrets by session name", access.BySession, []credentials.User{own, shared}, nil},
		{"a long session name", access.BySession, []credentials.User{{Namespace: "payments", Secret: "aws-iam." + strings.Repeat("a", 60)}}, []credentials.User{own}},
		{"a ServiceAccount by tags", access.ByTags, []credentials.User{own}, []credentials.User{shared}},
		{"a Secret of a namespace by tags", access.ByTags, []credentials.User{shared}, nil},
		{"two Secrets by tags", access.ByTags, []credentials.User{own, shared}, nil},
		{"an ExternalId", access.ByExternalID, []credentials.User{own}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			trust := access.Trust{Role: arn, Principal: "arn:aws:iam::123456789012:role/controller", Template: template, Users: c.users}
			policy, err := trust.Policy(c.by)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := json.Marshal(policy)
			policy = parsePolicy(t, string(text))
			asks := func(u credentials.User) bool {
				s := template.Session(arn, u, 0, credentials.Caller{})
				return allows(policy, &ststest.Call{Operation: "AssumeRole", SessionName: s.Name, ExternalID: s.ExternalID, Tags: s.Tags})
			}
			refused := c.refused
			for _, u := range c.users {
				if !asks(u) {
					t.Errorf("%+v is refused: %s", u, text)
				}
				u.Namespace = "payroll"
				refused = append(refused, u)
			}
			for _, u := range refused {
				if asks(u) {
					t.Errorf("%+v is let in: %s", u, text)
				}
			}
		})
	}
	for want, trust := range map[string]access.Trust{
		"the controller has no --external-id": {},
		"is the same for all namespaces":      {Template: credentials.SessionTemplate{ExternalID: "x"}},
	} {
		trust.Role, trust.Users = arn, []credentials.User{own}
		if _, err := trust.Policy(access.ByExternalID); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	for _, by := range []access.By{access.ByTags, access.ByWebIdentity, "x"} {
		if _, err := (&access.Trust{Role: arn, Users: []credentials.User{own}}).Policy(by); err == nil {
			t.Errorf("%s: there is no error", by)
		}
	}
}

// TestTrust prints a policy, gives it to STS, and lets the controller ask: the namespace gets the
// role, and another does not.
func TestTrust(t *testing.T) {
	const arn = "arn:aws:iam::123456789012:role/trusting"
	n, other := newNamespace(t), newNamespace(t)
	got := n.run("trust", arn, "--for", "pod", "none")
	if got.code != 1 || !strings.Contains(got.err, "not found") {
		t.Errorf("%+v", got)
	}
	suite.STS.Deny(arn)
	t.Cleanup(func() { suite.STS.Allow(arn); suite.STS.Trust(arn, nil) })
	for _, n := range []*namespace{n, other} {
		n.grantAll("trusting")
		n.create(n.account("web", "trusting"))
	}
	n.create(n.pod("web", "web", "aws-iam-trusting"))
	for _, c := range []struct{ kind, name, secret string }{{"pod", "web", "aws-iam-trusting"}, {"serviceaccount", "web", "aws-iam.web"}} {
		got := n.run("trust", "trusting", "--for", c.kind, c.name, "--principal", "arn:aws:iam::123456789012:role/controller")
		if got.code != 0 || got.err != "" {
			t.Fatalf("%+v", got)
		}
		policy := parsePolicy(t, got.out)
		if want := "test." + n.name + "." + c.secret; policy.Statement[0].Condition["StringEquals"]["sts:RoleSessionName"] != want {
			t.Errorf("the session name is not %s: %s", want, got.out)
		}
		suite.STS.Trust(arn, func(call ststest.Call) bool { return allows(policy, &call) })
		suite.STS.Allow(arn)
		pod := "of-" + c.kind
		for _, n := range []*namespace{n, other} {
			n.create(n.pod(pod, "web", c.secret))
		}
		n.awaitSecret(c.secret)
		other.awaitWarning(pod, "GetCredentialsFailed")
	}
}

func TestTrust_WebIdentity(t *testing.T) {
	n := newNamespace(t)
	n.create(n.account("web", "orders"))
	got := n.run("trust", "orders", "--for", "serviceaccount", "web", "--by", "web-identity")
	policy := parsePolicy(t, got.out)
	s := policy.Statement[0]
	provider, _ := strings.CutPrefix(s.Principal["Federated"], "arn:aws:iam::123456789012:oidc-provider/")
	if provider == "" || s.Condition["StringEquals"][provider+":aud"] != "sts.amazonaws.com" {
		t.Errorf("%+v", got)
	}
	for namespace, want := range map[string]bool{n.name: true, "other": false} {
		call := &ststest.Call{Operation: "AssumeRoleWithWebIdentity", Subject: "system:serviceaccount:" + namespace + ":web"}
		if allows(policy, call) != want {
			t.Errorf("%s is let in: %t", namespace, !want)
		}
	}
}

func TestTrust_Errors(t *testing.T) {
	n := newNamespace(t)
	n.create(n.account("web", ""), n.pod("web", "web", "aws-iam-orders"))
	for want, args := range map[string][]string{
		"error: --for=x is unknown":                                              {"orders", "web", "--for", "x"},
		"error: required flag(s) \"for\" not set":                                {"orders", "web"},
		"error: the role of the controller is not known":                         {"orders", "web", "--for", "pod"},
		"error: pod web does not ask for arn:aws:iam::123456789012:role/billing": {"billing", "web", "--for", "pod"},
		"error: the controller's --session-tags lack":                            {"orders", "web", "--for", "pod", "--by", "tags", "--principal", "x"},
		"error: web identity is for the Secret of a ServiceAccount":              {"orders", "web", "--for", "pod", "--by", "web-identity", "--issuer", "https://x"},
	} {
		if got := n.run(append([]string{"trust"}, args...)...); got.code != 1 || got.out != "" || !strings.HasPrefix(got.err, want) {
			t.Errorf("%q: %+v", args, got)
		}
	}
}
