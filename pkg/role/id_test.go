package role_test

import (
	"testing"

	"kube-aws-iam-controller/pkg/role"
)

func TestID(t *testing.T) {
	const session = "arn:aws:sts::123456789012:assumed-role/Controller/i-0123"
	for _, c := range []struct {
		name, arn string
		same      bool
	}{
		{"the role", "arn:aws:iam::123456789012:role/Controller", true},
		{"in another case", "arn:aws:iam::123456789012:role/CONTROLLER", true},
		{"under a path, which a session's ARN leaves out", "arn:aws:iam::123456789012:role/team/controller", true},
		{"in another partition", "arn:aws-cn:iam::123456789012:role/controller", true},
		{"of another account", "arn:aws:iam::210987654321:role/Controller", false},
		{"of another name", "arn:aws:iam::123456789012:role/Controller2", false},
		{"whose path is that name", "arn:aws:iam::123456789012:role/Controller/app", false},
		{"called like the session", "arn:aws:iam::123456789012:role/i-0123", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := role.ParseARN(c.arn)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.ID() == role.SessionRole(session); got != c.same {
				t.Errorf("%s is %s: %t", c.arn, session, got)
			}
		})
	}
}

func TestSessionRole(t *testing.T) {
	for _, c := range []struct{ name, arn, roleName, id string }{
		{"a session", "arn:aws:sts::123456789012:assumed-role/Node/i-0", "Node", "role node of account 123456789012"},
		{"a session in China", "arn:aws-cn:sts::123456789012:assumed-role/node/i-0", "node", "role node of account 123456789012"},
		{"a user", "arn:aws:iam::123456789012:user/node", "", ""},
		{"a user called like a session", "arn:aws:iam::123456789012:assumed-role/node", "", ""},
		{"a federated user", "arn:aws:sts::123456789012:federated-user/alice", "", ""},
		{"a session of no role", "arn:aws:sts::123456789012:assumed-role//i-0", "", ""},
		{"a session of no account", "arn:aws:sts:::assumed-role/node/i-0", "", ""},
		{"no ARN", "x", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := role.SessionRole(c.arn)
			if role.SessionRoleName(c.arn) != c.roleName || id.String() != c.id || id.IsZero() != (c.roleName == "") {
				t.Errorf("got %q, %q", role.SessionRoleName(c.arn), id)
			}
		})
	}
	if got := (role.ID{}).String(); got != "" {
		t.Errorf("no role is called %q", got)
	}
	if (role.ARN{}).ID() != (role.ID{}) {
		t.Error("the zero ARN has an ID")
	}
}
