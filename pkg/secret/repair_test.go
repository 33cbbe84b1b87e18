package secret_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/secret"
)

func TestRepairable(t *testing.T) {
	to := target(t)
	issued := held(time.Hour)
	for _, test := range []struct {
		name       string
		edit       func(*corev1.Secret)
		repairable bool
	}{
		{"nothing was changed", func(*corev1.Secret) {}, true},
		{"a label is gone", func(s *corev1.Secret) { s.Labels = nil }, true},
		{"an annotation that says nothing of the session is gone", func(s *corev1.Secret) { delete(s.Annotations, secret.AccessKeyIDAnnotation) }, true},
		{"it does not say what it is, as an older version's", func(s *corev1.Secret) { delete(s.Annotations, secret.SelfAnnotation) }, true},
		{"all annotations are gone", func(s *corev1.Secret) { s.Annotations = nil }, false},
		{"another session's", func(s *corev1.Secret) { s.Annotations[secret.SessionNameAnnotation] = "other.payments.aws-iam-app" }, false},
		{"another duration", func(s *corev1.Secret) { s.Annotations[secret.SessionDurationAnnotation] = "900" }, false},
		{"an owner was added", func(s *corev1.Secret) {
			s.OwnerReferences = []metav1.OwnerReference{{Kind: "AWSIAMRole", UID: "u"}}
		}, true},
		{"the process file is gone", func(s *corev1.Secret) { delete(s.Data, "credentials.process") }, true},
		{"it is for another mount path", func(s *corev1.Secret) { s.Data["credentials.process"] = []byte("x") }, true},
		{"the container file is gone", func(s *corev1.Secret) { delete(s.Data, "container.json") }, true},
		{"the static file is gone", func(s *corev1.Secret) { delete(s.Data, "credentials") }, true},
		{"the role's ARN is gone", func(s *corev1.Secret) { delete(s.Data, "role-arn") }, true},
		{"the credentials are gone", func(s *corev1.Secret) { delete(s.Data, "credentials.json") }, false},
		{"the expiry is gone", func(s *corev1.Secret) { delete(s.Data, "expire") }, false},
		{"a later expiry", func(s *corev1.Secret) { s.Data["expire"] = []byte("2026-11-21T02:00:00Z") }, false},
		{"another role", func(s *corev1.Secret) { s.Data["role-arn"] = []byte("arn:aws-cn:iam::123456789012:role/other") }, false},
		{"other credentials in one file", func(s *corev1.Secret) {
			s.Data["container.json"] = []byte(strings.Replace(string(s.Data["container.json"]), issued.AccessKeyID, "ASIAOTHER", 1))
		}, false},
		{"another key in one file", func(s *corev1.Secret) {
			s.Data["credentials"] = []byte(strings.Replace(string(s.Data["credentials"]), issued.SecretAccessKey.Reveal(), "other", 1))
		}, false},
		{"a broken file", func(s *corev1.Secret) { s.Data["container.json"] = []byte("{") }, false},
		{"of another type", func(s *corev1.Secret) { s.Type = corev1.SecretTypeServiceAccountToken }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := secret.Render(to, issued)
			test.edit(s)
			if got := secret.Repairable(reduced(s, to), to, ""); got != test.repairable {
				t.Errorf("repairable is %t", got)
			}
		})
	}
}

// Annotations that are missing are replaced by what the controller remembers of the access key,
// and by nothing else.
func TestRepairable_ByTheAccessKeyThatWasIssued(t *testing.T) {
	to, issued := target(t), held(time.Hour)
	s := secret.Render(to, issued)
	s.Annotations = nil
	if !secret.Repairable(reduced(s, to), to, issued.AccessKeyID) {
		t.Error("its own credentials are not recognized")
	}
	if secret.Repairable(reduced(s, to), to, "ASIAOTHER") {
		t.Error("others are taken for its own")
	}
}

func TestCopyOf(t *testing.T) {
	s := secret.Render(target(t), held(time.Hour))
	if secret.CopyOf(s) != "" || !secret.Owned(s) {
		t.Error("the original is taken for a copy")
	}
	for _, change := range []func(*corev1.Secret){
		func(s *corev1.Secret) { s.Namespace = "other" },
		func(s *corev1.Secret) { s.Name = "other" },
	} {
		c := s.DeepCopy()
		change(c)
		if secret.CopyOf(c) != "payments/aws-iam-app" || secret.Owned(c) {
			t.Errorf("%s/%s is not taken for a copy", c.Namespace, c.Name)
		}
	}
	delete(s.Annotations, secret.SelfAnnotation)
	if secret.CopyOf(s) != "" || !secret.Owned(s) {
		t.Error("one of an older version is taken for a copy")
	}
}

// keptBytes returns how many bytes of text a Secret has.
func keptBytes(s *corev1.Secret) (n int) {
	for _, texts := range []map[string]string{s.Labels, s.Annotations, s.StringData} {
		for key, value := range texts {
			n += len(key) + len(value)
		}
	}
	for key, value := range s.Data {
		n += len(key) + cap(value)
	}
	for _, o := range s.OwnerReferences {
		n += len(o.Name) + len(o.Kind) + len(o.UID) + len(o.APIVersion)
	}
	for _, f := range s.Finalizers {
		n += len(f)
	}
	return n + len(fmt.Sprint(s.ManagedFields))
}

func TestReduce_KeepsAConstantAtMost(t *testing.T) {
	const limit = 24 << 10
	big := strings.Repeat("x", 200<<10)
	to := target(t)
	to.Owner = &metav1.OwnerReference{APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: "app", UID: "u-2"}
	yes := true
	for name, edit := range map[string]func(*corev1.Secret){
		"annotations": func(s *corev1.Secret) { s.Annotations["note"] = big },
		"our own":     func(s *corev1.Secret) { s.Annotations[secret.SessionNameAnnotation] = big },
		"labels":      func(s *corev1.Secret) { s.Labels[big[:60]] = big },
		"data":        func(s *corev1.Secret) { s.Data["role-arn"], s.Data["expire"] = []byte(big), []byte(big) },
		"a controller": func(s *corev1.Secret) {
			s.OwnerReferences = []metav1.OwnerReference{{Kind: "x", Name: big, Controller: &yes}}
		},
		"owners": func(s *corev1.Secret) {
			s.OwnerReferences = slices.Repeat([]metav1.OwnerReference{{Kind: "AWSIAMRole", Name: "n", UID: "u-2"}, {Kind: "x", Name: "n", UID: "u"}}, 10000)
		},
		"finalizers": func(s *corev1.Secret) { s.Finalizers = []string{big} },
		"an access key": func(s *corev1.Secret) {
			s.Data["credentials.json"] = []byte(`{"Version":1,"AccessKeyId":"` + big + `","SecretAccessKey":"k","SessionToken":"t","Expiration":"2026-11-21T01:00:00Z"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := secret.Render(to, held(time.Hour))
			edit(s)
			foreign := metav1.GetControllerOf(s) != nil
			r := reduced(s, to)
			if n := keptBytes(r); n > limit {
				t.Errorf("keeps %d bytes", n)
			}
			if secret.Owned(r) == foreign {
				t.Error("it is taken for another writer's, or for its own")
			}
			if lacks := name != "data" && name != "an access key"; secret.Cut(r) != lacks {
				t.Errorf("lacking something is %t", secret.Cut(r))
			}
		})
	}
}
