package credentials_test

import (
	"strings"
	"testing"

	"kube-aws-iam-controller/pkg/credentials"
)

func TestAssume_DenialQuotesSTS(t *testing.T) {
	const answer = "User: arn:aws:sts::123456789012:assumed-role/node/i-0123 is not authorized to perform: sts:TagSession on resource: " + appRole
	srv := start(t)
	signInAsNode(t, srv)
	client := newClient(t)
	srv.DenyWithMessage(appRole, answer+"\r\nand more")
	_, err := client.Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Denied, "AccessDenied", "may not assume role "+appRole+" (STS: AccessDenied: "+answer+").", "must allow sts:TagSession to arn:aws:iam::123456789012:role/node ")
}

func TestAssume_ShowsNoSecretThatSTSEchoes(t *testing.T) {
	srv := start(t)
	keys := signInAsNode(t, srv)
	client := newClient(t)
	for _, secret := range []string{keys.SecretAccessKey, keys.SessionToken} {
		for _, answer := range []string{secret, "a" + secret, "Value '" + secret + "' is wrong", "x-amz-security-token:" + secret, strings.Repeat("x", 300) + " " + secret} {
			srv.DenyWithMessage(appRole, answer)
			_, err := client.Assume(t.Context(), session(t, appRole))
			wantError(t, srv, err, credentials.Denied, "AccessDenied", appRole)
			if strings.Contains(err.Error(), secret[:20]) {
				t.Errorf("a part of a secret is shown: %v", err)
			}
		}
	}
}
