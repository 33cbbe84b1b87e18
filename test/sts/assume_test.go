package sts_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	ststest "kube-aws-iam-controller/test/sts"
)

func TestAssumeRole_AnswersInTheFormOfSTS(t *testing.T) {
	srv := start(t)
	fakeClock(srv)
	out := assume(t, user(srv), request())

	for name, test := range map[string]struct{ value, form string }{
		"AccessKeyId":     {*out.Credentials.AccessKeyId, `^ASIA[A-Z2-7]{16}$`},
		"SecretAccessKey": {*out.Credentials.SecretAccessKey, `^[A-Za-z0-9+/]{40}$`},
		"SessionToken":    {*out.Credentials.SessionToken, `^IQoJb3JpZ2luX2Vj[A-Za-z0-9+/]+=*$`},
		"AssumedRoleId":   {*out.AssumedRoleUser.AssumedRoleId, `^AROA[A-Z2-7]{17}:cluster\.ns\.secret$`},
		"Arn":             {*out.AssumedRoleUser.Arn, `^arn:aws:sts::123456789012:assumed-role/app/cluster\.ns\.secret$`},
	} {
		if !regexp.MustCompile(test.form).MatchString(test.value) {
			t.Errorf("%s is %s, want %s", name, test.value, test.form)
		}
	}
	if token := *out.Credentials.SessionToken; len(token) < 600 || len(token) > 900 {
		t.Errorf("token has %d characters", len(token))
	} else if _, err := base64.StdEncoding.DecodeString(token); err != nil {
		t.Error(err)
	}
	if want := time.Date(2030, 1, 2, 4, 4, 5, 0, time.UTC); !out.Credentials.Expiration.Equal(want) {
		t.Errorf("expiration is %v, want %v", out.Credentials.Expiration, want)
	}
	if size := len(*out.Credentials.SessionToken); int(*out.SessionTokenSize) != size {
		t.Errorf("token size is %d, want %d", *out.SessionTokenSize, size)
	}
	if *out.SessionTokenUtilization < 14 || *out.SessionTokenUtilization > 22 {
		t.Errorf("token utilization is %d %%", *out.SessionTokenUtilization)
	}
}

func TestAssumeRole_EveryPartition(t *testing.T) {
	srv := start(t)
	c := user(srv)
	for _, partition := range []string{"aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-eusc"} {
		out := assume(t, c, request(func(in *sts.AssumeRoleInput) {
			in.RoleArn = aws.String("arn:" + partition + ":iam::123456789012:role/a/b/App_1+=,.@-x")
		}))
		if want := "arn:" + partition + ":sts::123456789012:assumed-role/App_1+=,.@-x/cluster.ns.secret"; *out.AssumedRoleUser.Arn != want {
			t.Errorf("session is %s, want %s", *out.AssumedRoleUser.Arn, want)
		}
	}
}

func TestAssumeRole_ChainedForAnHour(t *testing.T) {
	srv := start(t)
	srv.SetMaxSessionDuration(roleARN, 12*time.Hour)
	first := assume(t, user(srv), request(lasting(43200)))
	chained := client(srv, keysOf(first.Credentials))

	identity, err := chained.GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *identity.Arn != *first.AssumedRoleUser.Arn || *identity.UserId != *first.AssumedRoleUser.AssumedRoleId {
		t.Errorf("identity is %s %s", *identity.Arn, *identity.UserId)
	}
	assume(t, chained, request(lasting(3600)))
	assume(t, chained, request())
	_, err = chained.AssumeRole(t.Context(), request(lasting(3601)))
	wantError(t, err, 400, "ValidationError",
		"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
}

func TestSetMaxSessionDuration(t *testing.T) {
	srv := start(t)
	clock := fakeClock(srv)
	c := user(srv)
	_, err := c.AssumeRole(t.Context(), request(lasting(3601)))
	wantError(t, err, 400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")

	srv.SetMaxSessionDuration(roleARN, 2*time.Hour)
	out := assume(t, c, request(lasting(7200)))
	if want := clock.Now().Add(2 * time.Hour).Truncate(time.Second); !out.Credentials.Expiration.Equal(want) {
		t.Errorf("expiration is %v, want %v", out.Credentials.Expiration, want)
	}
}

func tagsNamed(n int, key func(i int) string, value string) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) {
		for i := range n {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String(key(i)), Value: aws.String(value)})
		}
	}
}

func oneTag(key, value string) func(*sts.AssumeRoleInput) {
	return tagsNamed(1, func(int) string { return key }, value)
}

func TestAssumeRole_ChecksItsParameters(t *testing.T) {
	srv := start(t)
	c := user(srv)
	session := func(name string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String(name) }
	}
	role := func(arn string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String(arn) }
	}
	external := func(id string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String(id) }
	}
	policy := func(document string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.Policy = aws.String(document) }
	}
	numbered := func(i int) string { return fmt.Sprint("key", i) }
	const one = "1 validation error detected: "
	failed := func(value, name, constraint string) string {
		return "Value '" + value + "' at '" + name + "' failed to satisfy constraint: Member must " + constraint
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, test := range map[string]struct {
		change  func(*sts.AssumeRoleInput)
		code    string // "" = accepted
		message string
	}{
		"session name with a blank": {
			session("a b"), "ValidationError",
			one + failed("a b", "roleSessionName", `satisfy regular expression pattern: [\w+=,.@-]*`),
		},
		"session name of 1":  {session("a"), "ValidationError", one + failed("a", "roleSessionName", "have length greater than or equal to 2")},
		"session name of 64": {session(long(64)), "", ""},
		"session name of 65": {session(long(65)), "ValidationError", one + failed(long(65), "roleSessionName", "have length less than or equal to 64")},
		"two errors": {session("/"), "ValidationError", "2 validation errors detected: " +
			failed("/", "roleSessionName", `satisfy regular expression pattern: [\w+=,.@-]*`) + "; " +
			failed("/", "roleSessionName", "have length greater than or equal to 2")},

		"no ARN":           {role("my-role-is-not-an-arn"), "ValidationError", "my-role-is-not-an-arn is invalid"},
		"a user's ARN":     {role("arn:aws:iam::123456789012:user/alice"), "ValidationError", "Request ARN is invalid"},
		"a short account":  {role("arn:aws:iam::12345678901:role/app"), "ValidationError", "Request ARN is invalid"},
		"a long role name": {role("arn:aws:iam::123456789012:role/" + long(65)), "ValidationError", "Request ARN is invalid"},
		"a short ARN":      {role("app"), "ValidationError", one + failed("app", "roleArn", "have length greater than or equal to 20")},

		"external ID":        {external("a:/b+=,.@-"), "", ""},
		"external ID of 1":   {external("a"), "ValidationError", one + failed("a", "externalId", "have length greater than or equal to 2")},
		"external ID with #": {external("a#"), "ValidationError", one + failed("a#", "externalId", `satisfy regular expression pattern: [\w+=,.@:\/-]*`)},
		"external ID, 1225":  {external(long(1225)), "ValidationError", one + failed(long(1225), "externalId", "have length less than or equal to 1224")},

		"899 seconds":   {lasting(899), "ValidationError", one + failed("899", "durationSeconds", "have value greater than or equal to 900")},
		"900 seconds":   {lasting(900), "", ""},
		"43201 seconds": {lasting(43201), "ValidationError", one + failed("43201", "durationSeconds", "have value less than or equal to 43200")},

		"50 tags": {tagsNamed(50, numbered, "v"), "", ""},
		"51 tags": {
			tagsNamed(51, numbered, "v"), "ValidationError",
			one + "Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50",
		},
		"a tag in any script": {oneTag("Größe_1:/=+-@ 大", ""), "", ""},
		"a tag without key":   {oneTag("", "v"), "ValidationError", ""},
		"a long key":          {oneTag(long(129), "v"), "ValidationError", one + failed(long(129), "tags.1.member.key", "have length less than or equal to 128")},
		"a long value":        {oneTag("k", long(257)), "ValidationError", one + failed(long(257), "tags.1.member.value", "have length less than or equal to 256")},
		"a forbidden value": {
			oneTag("k", "a*"), "ValidationError",
			one + failed("a*", "tags.1.member.value", `satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`),
		},
		"keys that differ by case": {
			tagsNamed(2, func(i int) string { return []string{"Team", "team"}[i] }, "v"), "ValidationError",
			"Duplicate tag keys found. Please note that Tag keys are case insensitive.",
		},
		"too much in all tags": {tagsNamed(50, numbered, long(256)), "PackedPolicyTooLarge", ""},

		"a policy":           {policy(`{"Version":"2012-10-17","Statement":[]}`), "", ""},
		"a malformed policy": {policy(`{`), "MalformedPolicyDocument", ""},
		"a long policy":      {policy(long(2049)), "ValidationError", ""},
		"11 policy ARNs": {func(in *sts.AssumeRoleInput) {
			in.PolicyArns = make([]types.PolicyDescriptorType, 11)
			for i := range in.PolicyArns {
				in.PolicyArns[i].Arn = aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")
			}
		}, "ValidationError", one + "Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to 10"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.AssumeRole(t.Context(), request(test.change))
			if test.code != "" {
				wantError(t, err, 400, test.code, test.message)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAssumeRole_PackedPolicySize(t *testing.T) {
	srv := start(t)
	out := assume(t, user(srv), request(oneTag("kubernetes-namespace", "default"), func(in *sts.AssumeRoleInput) {
		in.PolicyArns = []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")}}
	}))
	//nolint:staticcheck // Deprecated in favor of SessionTokenUtilization, and still answered.
	if size := out.PackedPolicySize; size == nil || *size < 1 || *size > 10 {
		t.Errorf("packed policy size is %v", size)
	}
}

func TestDeny(t *testing.T) {
	srv := start(t)
	c := user(srv)
	srv.Deny(roleARN)
	_, err := c.AssumeRole(t.Context(), request())
	wantError(t, err, 403, "AccessDenied",
		"User: arn:aws:iam::123456789012:user/alice is not authorized to perform: sts:AssumeRole on resource: "+roleARN)
	assume(t, c, request(func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam::123456789012:role/other") }))
	srv.DenyWithMessage(roleARN, "User: alice is not authorized to perform: sts:TagSession with an explicit deny in a session policy")
	_, err = c.AssumeRole(t.Context(), request())
	wantError(t, err, 403, "AccessDenied", "User: alice is not authorized to perform: sts:TagSession with an explicit deny in a session policy")
	srv.Allow(roleARN)
	assume(t, c, request())
}

func TestTrust_GetsTheCall(t *testing.T) {
	srv := start(t)
	c := user(srv)
	own, err := srv.AddSession(roleARN, "self", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	srv.Trust(roleARN, func(call ststest.Call) bool {
		return call.CallerRoleARN != roleARN && call.ExternalID == "cluster/ns" && call.Tags["kubernetes-namespace"] == "ns"
	})
	right := []func(*sts.AssumeRoleInput){
		func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("cluster/ns") },
		oneTag("kubernetes-namespace", "ns"),
	}
	assume(t, c, request(right...))
	_, err = c.AssumeRole(t.Context(), request(right[0]))
	wantError(t, err, 403, "AccessDenied", "")
	_, err = c.AssumeRole(t.Context(), request(right[1]))
	wantError(t, err, 403, "AccessDenied", "")
	_, err = client(srv, own).AssumeRole(t.Context(), request(right...))
	wantError(t, err, 403, "AccessDenied",
		"User: arn:aws:sts::123456789012:assumed-role/app/self is not authorized to perform: sts:AssumeRole on resource: "+roleARN)

	srv.Trust(roleARN, nil)
	assume(t, c, request())
}

func TestSetSessionLifetime_ShorterThanSTSAllows(t *testing.T) {
	srv := start(t)
	clock := fakeClock(srv)
	srv.SetSessionLifetime(30 * time.Second)
	c := user(srv)
	out := assume(t, c, request(lasting(3600)))
	if want := clock.Now().Add(30 * time.Second).Truncate(time.Second); !out.Credentials.Expiration.Equal(want) {
		t.Errorf("expiration is %v, want %v", out.Credentials.Expiration, want)
	}
	_, err := c.AssumeRole(t.Context(), request(lasting(30)))
	wantError(t, err, 400, "ValidationError", "")
	clock.Step(30 * time.Second)
	_, err = client(srv, keysOf(out.Credentials)).GetCallerIdentity(t.Context(), nil)
	wantError(t, err, 403, "ExpiredToken", "")
}

func TestAddSession_RejectsAnARNThatIsNoRole(t *testing.T) {
	if _, err := start(t).AddSession("app", "node", time.Hour); err == nil {
		t.Error("a session of no role")
	}
}

// With the longest token of STS, a session is as good as any.
func TestSetTokenSize(t *testing.T) {
	srv := start(t)
	srv.SetTokenSize(4096)
	c := user(srv)
	out := assume(t, c, request())
	for range 100 { // until one of the long ones
		if len(*out.Credentials.SessionToken) == 4096 {
			break
		}
		out = assume(t, c, request())
	}
	if n := len(*out.Credentials.SessionToken); n != 4096 || *out.SessionTokenSize != 4096 || *out.SessionTokenUtilization != 100 {
		t.Errorf("a token of %d bytes, %d said, %d %%", n, *out.SessionTokenSize, *out.SessionTokenUtilization)
	}
	if _, err := client(srv, keysOf(out.Credentials)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("the size can change while sessions have tokens of another one")
		}
	}()
	srv.SetTokenSize(1024)
}
