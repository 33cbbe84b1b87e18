package credentials_test

import (
	"strings"
	"testing"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
)

func TestParseExternalIDs(t *testing.T) {
	ids, err := credentials.ParseExternalIDs(`# two vendors
arn:aws:iam::111111111111:role/*     vendor-one:42

	arn:aws:iam::222222222222:role/a?    two
arn:aws:iam::222222222222:role/*/b+c plus
arn:aws:iam::222222222222:role/ab    never
`)
	if err != nil {
		t.Fatal(err)
	}
	sessions := credentials.SessionTemplate{ClusterName: "prod", ExternalID: "{cluster}/{namespace}", ExternalIDs: ids}
	for arn, want := range map[string]string{
		"arn:aws:iam::111111111111:role/a":         "vendor-one:42",
		"arn:aws:iam::111111111111:role/team/a":    "vendor-one:42",
		"arn:aws:iam::222222222222:role/ab":        "two",
		"arn:aws:iam::222222222222:role/abc":       "prod/payments",
		"arn:aws:iam::222222222222:role/team/b+c":  "plus",
		"arn:aws:iam::222222222222:role/team/bbbc": "prod/payments",
		"arn:aws-cn:iam::111111111111:role/a":      "prod/payments",
	} {
		parsed, err := role.ParseARN(arn)
		if err != nil {
			t.Fatal(err)
		}
		user := credentials.User{Namespace: "payments", Secret: "aws-iam-a"}
		if got := sessions.Session(parsed, user, 0, credentials.Caller{}).ExternalID; got != want {
			t.Errorf("%s has %q, want %q", arn, got, want)
		}
	}
}

func TestParseExternalIDs_Mistakes(t *testing.T) {
	for text, want := range map[string]string{
		"arn:aws:iam::111111111111:role/a":                          "line 1 does not have two words",
		"\narn:aws:iam::111111111111:role/a b c":                    "line 2 does not have two words",
		"orders vendor":                                             "is no pattern of role ARNs",
		"arn:aws:iam::111111111111:role/a x":                        "line 1: STS does not accept",
		"arn:aws:iam::111111111111:role/a $(reboot)":                "line 1: STS does not accept",
		"arn:aws:iam::1:role/a " + strings.Repeat("x", 513):         "STS does not accept",
		"arn:aws:iam::1:role/a ok\n" + strings.Repeat("x", 100_000): "token too long",
	} {
		if _, err := credentials.ParseExternalIDs(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}
