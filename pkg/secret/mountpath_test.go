package secret_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
)

// The cache does not know the mount path that a Secret is to have, as annotations decide it. It
// keeps the one that the Secret has.
func TestIntact_MountPath(t *testing.T) {
	at := func(mountPath string) secret.Target {
		to := target(t)
		to.Files = to.At(mountPath)
		return to
	}
	for _, c := range []struct {
		name          string
		before, after secret.Target
		edit          func(data map[string][]byte)
		intact        bool
	}{
		{"the default", at(""), at(""), nil, true},
		{"one of its own", at("/meta/second"), at("/meta/second"), nil, true},
		{"one more", at(""), at("/meta/second"), nil, false},
		{"the default again", at("/meta/second"), at(""), nil, false},
		{"another", at("/meta/second"), at("/meta/third"), nil, false},
		{"the files disagree", at("/meta/second"), at("/meta/second"), func(data map[string][]byte) {
			data[keys.Config] = secret.Render(at(""), testCredentials(time.Hour), nil).Data[keys.Config]
		}, false},
		{"another writer's command", at(""), at(""), func(data map[string][]byte) {
			for key, value := range data {
				data[key] = []byte(strings.ReplaceAll(string(value), "cat /", "cat /;id /"))
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := secret.Render(c.before, testCredentials(time.Hour), nil)
			if c.edit != nil {
				c.edit(s.Data)
			}
			cached := s.DeepCopy()
			secret.Reduce(cached, target(t).Files)
			if secret.Intact(cached, c.after) != c.intact || !secret.Repairable(cached, c.after, "") {
				t.Errorf("intact is %t, repairable %t", secret.Intact(cached, c.after), secret.Repairable(cached, c.after, ""))
			}
			repaired := secret.Render(c.after, testCredentials(time.Hour), s)
			if line := "credential_process = cat " + c.after.MountPath + "/credentials.json\n"; !hasLine(repaired, line) {
				t.Errorf("no %q", line)
			}
		})
	}
}

// hasLine reports whether both files with a credential_process have this one.
func hasLine(s *corev1.Secret, line string) bool {
	return strings.HasSuffix(string(s.Data[keys.CredentialsProcess]), line) && strings.HasSuffix(string(s.Data[keys.Config]), line)
}
