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
	issued := testCredentials(time.Hour)
	for _, test := range []struct {
		name       string
		edit       func(*corev1.Secret)
		repairable bool
	}{
		{"unchanged", func(*corev1.Secret) {}, true},
		{"a label was removed", func(s *corev1.Secret) { s.Labels = nil }, true},
		{"an annotation that is not about the session was removed", func(s *corev1.Secret) { delete(s.Annotations, secret.AccessKeyIDAnnotation) }, true},
		{"without the annotation that older versions lack", func(s *corev1.Secret) { delete(s.Annotations, secret.SelfAnnotation) }, true},
		{"all annotations were removed", func(s *corev1.Secret) { s.Annotations = nil }, false},
		{"another session", func(s *corev1.Secret) { s.Annotations[secret.SessionNameAnnotation] = "other.payments.aws-iam-app" }, false},
		{"another duration", func(s *corev1.Secret) { s.Annotations[secret.SessionDurationAnnotation] = "900" }, false},
		{"an owner was added", func(s *corev1.Secret) {
			s.OwnerReferences = []metav1.OwnerReference{{Kind: "AWSIAMRole", UID: "u"}}
		}, true},
		{"credentials.process was removed", func(s *corev1.Secret) { delete(s.Data, "credentials.process") }, true},
		{"for another mount path", func(s *corev1.Secret) { s.Data["credentials.process"] = []byte("x") }, true},
		{"container.json was removed", func(s *corev1.Secret) { delete(s.Data, "container.json") }, true},
		{"credentials was removed", func(s *corev1.Secret) { delete(s.Data, "credentials") }, true},
		{"role-arn was removed", func(s *corev1.Secret) { delete(s.Data, "role-arn") }, true},
		{"credentials.json was removed", func(s *corev1.Secret) { delete(s.Data, "credentials.json") }, false},
		{"expire was removed", func(s *corev1.Secret) { delete(s.Data, "expire") }, false},
		{"a later expiry", func(s *corev1.Secret) { s.Data["expire"] = []byte("2026-11-21T02:00:00Z") }, false},
		{"another role", func(s *corev1.Secret) { s.Data["role-arn"] = []byte("arn:aws-cn:iam::123456789012:role/other") }, false},
		{"other credentials in one file", func(s *corev1.Secret) {
			s.Data["container.json"] = []byte(strings.Replace(string(s.Data["container.json"]), issued.AccessKeyID, "ASIAOTHER", 1))
		}, false},
		{"another secret access key in one file", func(s *corev1.Secret) {
			s.Data["credentials"] = []byte(strings.Replace(string(s.Data["credentials"]), issued.SecretAccessKey.Reveal(), "other", 1))
		}, false},
		{"an invalid file", func(s *corev1.Secret) { s.Data["container.json"] = []byte("{") }, false},
		{"another type of Secret", func(s *corev1.Secret) { s.Type = corev1.SecretTypeServiceAccountToken }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := secret.Render(to, issued, nil)
			test.edit(s)
			if got := secret.Repairable(reduced(s, to), to, ""); got != test.repairable {
				t.Errorf("repairable is %t", got)
			}
		})
	}
}

// The session annotations can be missing only if the Secret has the access key that was issued
// last.
func TestRepairable_WithoutAnnotations(t *testing.T) {
	to, issued := target(t), testCredentials(time.Hour)
	s := secret.Render(to, issued, nil)
	s.Annotations = nil
	if !secret.Repairable(reduced(s, to), to, issued.AccessKeyID) {
		t.Error("the issued credentials are not repairable")
	}
	if secret.Repairable(reduced(s, to), to, "ASIAOTHER") {
		t.Error("other credentials are repairable")
	}
}

func TestCopiedFrom(t *testing.T) {
	s := secret.Render(target(t), testCredentials(time.Hour), nil)
	if secret.CopiedFrom(s) != "" || !secret.IsManaged(s) {
		t.Error("the original is taken for a copy")
	}
	for _, change := range []func(*corev1.Secret){
		func(s *corev1.Secret) { s.Namespace = "other" },
		func(s *corev1.Secret) { s.Name = "other" },
	} {
		c := s.DeepCopy()
		change(c)
		if secret.CopiedFrom(c) != "payments/aws-iam-app" || secret.IsManaged(c) {
			t.Errorf("%s/%s is not taken for a copy", c.Namespace, c.Name)
		}
	}
	delete(s.Annotations, secret.SelfAnnotation)
	if secret.CopiedFrom(s) != "" || !secret.IsManaged(s) {
		t.Error("a Secret of an older version is taken for a copy")
	}
}

// sizeOf returns the size of a Secret's text, in bytes.
func sizeOf(s *corev1.Secret) (n int) {
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

func TestReduce_LimitsSize(t *testing.T) {
	const limit = 24 << 10
	big := strings.Repeat("x", 200<<10)
	to := target(t)
	to.Owner = &metav1.OwnerReference{APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: "app", UID: "u-2"}
	yes := true
	for name, edit := range map[string]func(*corev1.Secret){
		"annotations":     func(s *corev1.Secret) { s.Annotations["note"] = big },
		"our annotations": func(s *corev1.Secret) { s.Annotations[secret.SessionNameAnnotation] = big },
		"labels":          func(s *corev1.Secret) { s.Labels[big[:60]] = big },
		"data":            func(s *corev1.Secret) { s.Data["role-arn"], s.Data["expire"] = []byte(big), []byte(big) },
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
			s := secret.Render(to, testCredentials(time.Hour), nil)
			edit(s)
			managed := metav1.GetControllerOf(s) == nil
			r := reduced(s, to)
			if n := sizeOf(r); n > limit {
				t.Errorf("has %d bytes", n)
			}
			if secret.IsManaged(r) != managed {
				t.Errorf("IsManaged returns %t", secret.IsManaged(r))
			}
			if want := name != "data" && name != "an access key"; secret.IsTruncated(r) != want {
				t.Errorf("IsTruncated returns %t", secret.IsTruncated(r))
			}
		})
	}
}

// A digest changes with what the Secret is to be for, and with nothing else.
func TestTarget_Digest(t *testing.T) {
	for _, test := range []struct {
		name    string
		edit    func(*secret.Target)
		changes bool
	}{
		{"the same", func(*secret.Target) {}, false},
		{"another mount path", func(to *secret.Target) { to.MountPath = "/x" }, true},
		{"another Region", func(to *secret.Target) { to.Region = "eu-west-3" }, false},
		{"another session name", func(to *secret.Target) { to.Session.Name = "other.payments.aws-iam-app" }, true},
		{"another duration", func(to *secret.Target) { to.Session.Duration = 2 * time.Hour }, true},
		{"another label", func(to *secret.Target) { to.Labels = map[string]string{"team": "x"} }, true},
		{"another owner", func(to *secret.Target) { to.Owner = &metav1.OwnerReference{Kind: "AWSIAMRole", UID: "v"} }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, after := target(t), target(t)
			before.Owner = &metav1.OwnerReference{Kind: "AWSIAMRole", UID: "u"}
			after.Owner = before.Owner
			test.edit(&after)
			if (before.Digest() != after.Digest()) != test.changes {
				t.Errorf("changes is %t", !test.changes)
			}
		})
	}
}
