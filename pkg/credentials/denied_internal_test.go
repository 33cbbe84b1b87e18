package credentials

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"kube-aws-iam-controller/pkg/role"
)

const (
	callerARN = "arn:aws:sts::123456789012:assumed-role/controller/prod._controller.kube-aws-iam-controller"
	principal = "arn:aws:iam::123456789012:role/controller (with its path, if it has one)"
	podRole   = "arn:aws:iam::210987654321:role/pods/orders"
	denied    = "User: " + callerARN + " is not authorized to perform: "
)

func denial403(message string) error {
	return answered(&smithy.GenericAPIError{Code: "AccessDenied", Message: message})
}

func parse(t *testing.T, s string) role.ARN {
	t.Helper()
	a, err := role.ParseARN(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The messages are AWS's. Source: "Troubleshoot access denied error messages" in the IAM user
// guide, and observed answers of STS.
func TestExplainDenied(t *testing.T) {
	const on = " on resource: " + podRole
	const recreated = "deleted and made again"
	for _, c := range []struct {
		name, answer string
		advice       []string
		not          []string
	}{
		{"no reason", denied + "sts:AssumeRole" + on, []string{"Does the role exist", "trust policy name " + principal + " as Principal with sts:AssumeRole", "caller's own policies", recreated, "(AROA…)"}, nil},
		{"no sentence", "", []string{"Does the role exist", "trust policy name " + principal}, []string{"AccessDenied:"}},
		{
			"no allow in the caller's own policies", denied + "sts:AssumeRole" + on + " because no identity-based policy allows the sts:AssumeRole action",
			[]string{"missing in a policy of role controller", "must allow sts:AssumeRole on the role"},
			[]string{recreated, "trust policy"},
		},
		{"no allow in a session policy", denied + "sts:AssumeRole" + on + " because no session policy allows the sts:AssumeRole action", []string{"missing in the session policy"}, []string{recreated}},
		{"no allow in a boundary", denied + "sts:AssumeRole" + on + " because no permissions boundary allows the sts:AssumeRole action", []string{"missing in the permissions boundary of role controller"}, []string{recreated}},
		{"no allow in an SCP", denied + "sts:AssumeRole" + on + " because no service control policy allows the sts:AssumeRole action", []string{"missing in a service control policy"}, []string{recreated}},
		{"no allow of an endpoint", denied + "sts:AssumeRole" + on + " because no VPC endpoint policy allows the sts:AssumeRole action", []string{"missing in the policy of the VPC endpoint"}, []string{recreated}},
		{"no trust", denied + "sts:AssumeRole because no role trust policy allows the sts:AssumeRole action", []string{"trust policy must allow sts:AssumeRole to " + principal, recreated}, []string{"missing in"}},
		{"no trust, as a resource's policy", denied + "sts:AssumeRole" + on + " because no resource-based policy allows the sts:AssumeRole action", []string{"trust policy must allow sts:AssumeRole", recreated}, nil},
		{"tags", denied + "sts:TagSession" + on, []string{"--session-tags", "trust policy must allow sts:TagSession to " + principal, "caller's own policies"}, []string{recreated, "Does the role exist"}},
		{
			"tags denied by an SCP", denied + "sts:TagSession" + on + " with an explicit deny in a service control policy",
			[]string{"explicit deny, in a service control policy (SCP)", "no Allow helps", "Deny of sts:TagSession must go"},
			[]string{recreated, "must allow"},
		},
		{
			"an SCP that is named", denied + "sts:AssumeRole" + on + " with an explicit deny in a service control policy: arn:aws:organizations::777788889999:policy/o-exampleorgid/service_control_policy/p-examplepolicyid",
			[]string{"explicit deny, in a service control policy (SCP)", "p-examplepolicyid"},
			[]string{recreated},
		},
		{"an explicit deny in a boundary", denied + "sts:AssumeRole" + on + " with an explicit deny in a permissions boundary", []string{"explicit deny, in the permissions boundary of role controller"}, []string{recreated}},
		{"an explicit deny in a session policy", denied + "sts:AssumeRole" + on + " with an explicit deny in a session policy", []string{"explicit deny, in the session policy"}, []string{recreated}},
		{"an explicit deny in an identity-based policy", denied + "sts:AssumeRole" + on + " with an explicit deny in an identity-based policy", []string{"explicit deny, in a policy of role controller"}, []string{recreated}},
		{"an explicit deny in a resource-based policy", denied + "sts:AssumeRole" + on + " with an explicit deny in a resource-based policy", []string{"explicit deny, in the role's trust policy"}, []string{recreated}},
		{"an explicit deny in an RCP", denied + "sts:AssumeRole" + on + " with an explicit deny in a resource control policy", []string{"explicit deny, in a resource control policy (RCP)", "the role's account"}, []string{recreated}},
		{"an explicit deny in the trust", denied + "sts:AssumeRole with an explicit deny in the role trust policy", []string{"explicit deny, in the role's trust policy"}, []string{recreated}},
		{"an explicit deny in what is new to us", denied + "sts:AssumeRole" + on + " with an explicit deny in a quantum policy", []string{"explicit deny, in a quantum policy"}, []string{recreated}},
		{"an explicit deny of no policy", denied + "sts:AssumeRole" + on + " with an explicit deny", []string{"That is an explicit deny: no Allow helps"}, []string{recreated}},
		{"a source identity", denied + "sts:SetSourceIdentity" + on, []string{"source identity", "trust policy must allow sts:SetSourceIdentity to " + principal, "caller's own policies"}, []string{recreated, "--session-tags"}},
		{"another action", denied + "sts:SetContext" + on, []string{"trust policy must allow sts:SetContext to " + principal}, []string{recreated, "--session-tags"}},
		{"the root user", "Roles may not be assumed by root accounts.", []string{"Roles may not be assumed by root accounts). "}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := explain(denial403(c.answer), Session{Role: parse(t, podRole)}, Caller{ARN: callerARN})
			if got.Kind != Denied || got.Code != "AccessDenied" {
				t.Errorf("it is %d, %s", got.Kind, got.Code)
			}
			for _, want := range append(c.advice, callerARN+" may not assume role "+podRole, strings.TrimSuffix(c.answer, "."), "Tried again") {
				if !strings.Contains(got.Error(), want) {
					t.Errorf("does not say %q: %v", want, got)
				}
			}
			for _, not := range c.not {
				if strings.Contains(strings.Replace(got.Error(), c.answer, "", 1), not) {
					t.Errorf("contains %q: %v", not, got)
				}
			}
			wantShown(t, got.Error())
		})
	}
}

func wantShown(t *testing.T, message string) {
	t.Helper()
	if len(message) > maxMessage || strings.ContainsAny(message, "\n\r\t") || strings.Contains(message, "%!") || strings.Contains(message, "..") {
		t.Errorf("%d bytes: %q", len(message), message)
	}
}

func TestExplainDenied_OwnRole(t *testing.T) {
	const own = "arn:aws:iam::123456789012:role/controller"
	for _, c := range []struct {
		name, answer, advice string
	}{
		{"no trust in itself", denied + "sts:AssumeRole on resource: " + own, "does not trust itself"},
		{"no trust in itself, by name", denied + "sts:AssumeRole because no role trust policy allows the sts:AssumeRole action", "does not trust itself"},
		{"an explicit deny", denied + "sts:AssumeRole on resource: " + own + " with an explicit deny in a permissions boundary", "explicit deny, in the permissions boundary"},
		{"tags", denied + "sts:TagSession on resource: " + own, "trust policy must allow sts:TagSession"},
		{"its own policies", denied + "sts:AssumeRole on resource: " + own + " because no identity-based policy allows the sts:AssumeRole action", "missing in a policy of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := explain(denial403(c.answer), Session{Role: parse(t, own)}, Caller{ARN: callerARN}).Error()
			if !strings.Contains(got, c.advice) || !strings.Contains(got, c.answer) {
				t.Errorf("got %s", got)
			}
			wantShown(t, got)
		})
	}
}

func TestExplainDenied_OfAUserNamesItsUniqueID(t *testing.T) {
	got := explain(denial403("x"), Session{Role: parse(t, podRole)}, Caller{ARN: "arn:aws:iam::123456789012:user/alice"}).Error()
	if !strings.Contains(got, "(AIDA…)") {
		t.Errorf("got %s", got)
	}
}

// The advice is complete however long the names are.
func TestExplainDenied_LeavesRoomForTheAdvice(t *testing.T) {
	long := strings.Repeat("n", 64)
	target := "arn:aws-us-gov:iam::210987654321:role/" + strings.Repeat("path/", 12) + long
	caller := "arn:aws-us-gov:sts::123456789012:assumed-role/" + long + "/" + long
	for _, answer := range []string{
		"User: " + caller + " is not authorized to perform: sts:AssumeRole on resource: " + target,
		"User: " + caller + " is not authorized to perform: sts:TagSession on resource: " + target + " with an explicit deny in a service control policy: arn:aws-us-gov:organizations::777788889999:policy/o-exampleorgid/service_control_policy/p-examplepolicyid",
		strings.Repeat("ß ", 5000),
	} {
		got := explain(denial403(answer), Session{Role: parse(t, target)}, Caller{ARN: caller}).Error()
		if len(got) > maxMessage || !strings.HasSuffix(got, "Tried again about every minute") || !strings.Contains(got, "…)") {
			t.Errorf("%d bytes: %s", len(got), got)
		}
	}
	// The longest possible role ARN leaves no room for STS's answer; the advice ends early.
	target = "arn:aws:iam::210987654321:role/" + strings.Repeat("p", 509) + "/" + long
	if got := explain(denial403("x"), Session{Role: parse(t, target)}, Caller{ARN: caller}).Error(); len(got) > maxMessage || !strings.Contains(got, "as Principal with ") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestExplain_ShowsNoSecretThatSTSEchoes(t *testing.T) {
	const (
		secretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
		jwt       = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL29pZGMifQ.c2lnbmF0dXJl"
	)
	token := "FwoGZXIvYXdzEBYaD" + strings.Repeat("Kq+/9zR", 60) + "=="
	for _, code := range []string{
		"AccessDenied", "ValidationError", "MalformedPolicyDocument", "PackedPolicyTooLarge", "RegionDisabledException", "InvalidIdentityToken", "IDPRejectedClaim",
		"Throttling", "InternalFailure", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch", "SomethingNew",
	} {
		for _, secret := range []string{secretKey, token, strings.ReplaceAll(token, "/", "%2F"), jwt, strings.Repeat("aB-_9", 30)} {
			for _, answer := range []string{secret, "Value '" + secret + "' at 'x'", `token="` + secret + `"`, "x-amz-security-token:" + secret, "a " + secret + ", b", "X-Amz-Security-Token=" + secret + "&a=b"} {
				got := explain(answered(&smithy.GenericAPIError{Code: code, Message: answer}), Session{Role: parse(t, podRole), Duration: time.Hour}, Caller{ARN: callerARN}).Error()
				for part := range strings.FieldsFuncSeq(secret, func(r rune) bool { return r == '.' }) {
					if strings.Contains(got, part) || strings.Contains(got, part[:min(len(part), 16)]) {
						t.Errorf("%s shows a secret: %s", code, got)
					}
				}
			}
		}
	}
}

func TestSanitize(t *testing.T) {
	for _, c := range []struct{ name, message, want string }{
		{"one line", "a b", "a b"},
		{"control characters", "a\x00b\r\tc\x1b[31md\u2028e\u202ef", "a b c [31md e f"},
		{"white space", "  a   b ", "a b"},
		{"what is no UTF-8", "a\xffb", "ab"},
		{"what goes on", "a\nb", "a"},
		{"ARNs", "arn:aws:organizations::777788889999:policy/o-exampleorgid/service_control_policy/p-examplepolicyid", "arn:aws:organizations::777788889999:policy/o-exampleorgid/service_control_policy/p-examplepolicyid"},
		{"an issuer", "No provider for https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B716D3041E0000000000", "No provider for https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B716D3041E0000000000"},
		{"a session's name", "Value 'prod.payments.aws-iam-" + strings.Repeat("s", 19) + "-0123456789abcdef0123' at 'roleSessionName'", "Value 'prod.payments.aws-iam-" + strings.Repeat("s", 19) + "-0123456789abcdef0123' at 'roleSessionName'"},
		{"a secret", "a " + strings.Repeat("A", 40) + " b", "a [redacted] b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := sanitize(c.message); got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}
