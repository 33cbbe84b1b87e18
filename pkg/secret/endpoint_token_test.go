package secret_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/secret"
)

// tokenForm is 32 bytes in base64url, which leave two bits of the last character unused.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$`)

const token = "endpoint-token"

func TestRender_EveryNewSecretHasATokenOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		got := string(secret.Render(target(t), testCredentials(time.Hour), nil).Data[token])
		if seen[got] || !tokenForm.MatchString(got) {
			t.Fatalf("%q after %d others", got, len(seen))
		}
		seen[got] = true
	}
}

// A caller can have read the token before a renewal: it must be accepted after that, too.
func TestRender_KeepsTheToken(t *testing.T) {
	const kept = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	for _, c := range []struct {
		name, value string
		keeps       bool
	}{
		{"a token", kept, true},
		{"none", "", false},
		{"a newline at the end", kept + "\n", false},
		{"a newline within", kept[:20] + "\n" + kept[20:], false},
		{"too short", kept[:42], false},
		{"too long", kept + "A", false},
		{"padded", kept + "=", false},
		{"the other base64 alphabet", strings.Replace(kept, "A", "+", 1), false},
		{"unused bits", kept[:42] + "9", false},
		{"no token at all", "secret", false},
		{"a megabyte", strings.Repeat("A", 1<<20), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			existing := secret.Render(target(t), testCredentials(time.Hour), nil)
			existing.Data[token] = []byte(c.value)
			for name, replaced := range map[string]*corev1.Secret{"itself": existing, "reduced": reduced(existing, target(t))} {
				if got := string(secret.Render(target(t), testCredentials(2*time.Hour), replaced).Data[token]); (got == c.value) != c.keeps || !tokenForm.MatchString(got) {
					t.Errorf("%s: becomes %q", name, got)
				}
			}
			if intact(existing, target(t)) != c.keeps {
				t.Errorf("is intact: %t", !c.keeps)
			}
			if got := reduced(existing, target(t)).Data[token]; (string(got) == c.value) != (c.keeps || c.value == "") {
				t.Errorf("reduced, it has %d bytes of it", len(got))
			}
		})
	}
}
