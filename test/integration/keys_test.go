package integration_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/request"
	iamrole "kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// hasKeys reports whether a Secret is good and has its credentials as keys of their own.
func (w *testEnv) hasKeys(s *corev1.Secret) bool {
	if !w.isGood(s) {
		return false
	}
	c := credentialsOf(w.t, s)
	return string(s.Data["access-key-id"]) == c.AccessKeyID && string(s.Data["secret-access-key"]) == c.SecretAccessKey.Reveal() &&
		string(s.Data["session-token"]) == c.SessionToken.Reveal()
}

// lacksKeys reports whether a Secret is good and has none of these keys.
func (w *testEnv) lacksKeys(s *corev1.Secret) bool {
	return w.isGood(s) && s.Data["access-key-id"] == nil && s.Data["secret-access-key"] == nil && s.Data["session-token"] == nil
}

// The keys come and go with the annotation, without STS, and stay at repairs and renewals.
func TestKeys_FollowTheAnnotation(t *testing.T) {
	w := newTestEnv(t)
	w.start(noRenewal)
	w.awsIAMRole("reports", "reports")
	w.serviceAccount("orders", annotations{request.RoleAnnotation: "app"})
	w.podOf("orders")
	for name, annotate := range map[string]func(value string){
		"reports": func(value string) {
			w.patch(newAWSIAMRole(w.namespace, "reports", ""), fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, request.KeysAnnotation, value))
		},
		"aws-iam.orders": func(value string) {
			w.patch(newServiceAccount(w.namespace, "orders"), fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, request.KeysAnnotation, value))
		},
	} {
		before := w.wait(name)
		if !w.lacksKeys(before) {
			t.Errorf("%s has keys that nothing asks for", name)
		}
		annotate(`"true"`)
		w.eventually("the keys of "+name, func() bool { return w.hasKeys(w.secret(name)) })
		s := w.secret(name)
		w.patch(s, `{"data":{"session-token":null,"secret-access-key":"eA=="}}`)
		w.eventually("the keys again of "+name, func() bool { return w.hasKeys(w.secret(name)) })
		if now := w.secret(name); accessKey(now) != accessKey(before) {
			t.Errorf("%s: new credentials", name)
		}
		w.patch(s, `{"data":{"credentials.json":null}}`) // which needs new credentials
		if now := w.waitOther(before); !w.hasKeys(now) {
			t.Errorf("%s: new credentials without keys", name)
		}
		annotate("null")
		w.eventually("no keys of "+name, func() bool { return w.lacksKeys(w.secret(name)) })
	}
	if n := assumed(w.sts, "*"); n != 4 {
		t.Errorf("%d calls of STS", n)
	}
	checkNoEvent(t, w.events(), "Warning SecretContested")
}

// A key that is there on request gets a Warning only where nothing asks for it.
func TestKeys_MissingOnesShowOnThePod(t *testing.T) {
	w := newTestEnv(t)
	w.start(noRenewal)
	w.serviceAccount("with", annotations{request.RoleAnnotation: "app", request.KeysAnnotation: "true"})
	w.serviceAccount("without", annotations{request.RoleAnnotation: "app"})
	taking := func(secretName string, keys ...string) podOption {
		return func(p *corev1.Pod) {
			for _, key := range keys {
				ref := &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secretName}, Key: key}
				p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: ref}})
			}
		}
	}
	for _, account := range []string{"with", "without"} {
		w.pod(account, as(account), taking("aws-iam."+account, "session-token", "token"))
	}
	w.pod("volume", role("orders"), func(p *corev1.Pod) {
		p.Spec.Volumes[0].Secret.Items = []corev1.KeyToPath{{Key: "credentials.json", Path: "a"}, {Key: "keys.json", Path: "b"}}
	})
	w.awsIAMRole("aws-iam-reports", "reports", func(r *v1.AWSIAMRole) { r.Annotations = annotations{request.KeysAnnotation: "true"} })
	w.wait("aws-iam-reports")
	w.pod("resource", taking("aws-iam-reports", "access-key-id", "token"))

	w.event("Warning MissingKey without:", `: "session-token"`, "so the container does not start", `iam.amazonaws.com/keys: "true" on ServiceAccount "without"`)
	w.event("Warning MissingKey volume:", `: "keys.json"`, "so the pod does not start", "credentials.process")
	for _, pod := range []string{"with", "without", "resource"} {
		w.event("Warning MissingKey "+pod+":", `: "token"`, "access-key-id, secret-access-key, session-token") // beside the event of the other key
		w.event("Warning NeverRefreshed " + pod + ":")
	}
	for _, line := range w.events() {
		for _, start := range []string{"Warning MissingKey with:", "Warning MissingKey resource:"} {
			if hasEvent([]string{line}, start) && !hasEvent([]string{line}, start, `: "token"`) {
				t.Error(line)
			}
		}
	}
}

func hasAccountID(s *corev1.Secret, file string) bool {
	return strings.Contains(string(s.Data[file]), `"AccountId":"`+account+`"`)
}

// Without the account's ID, and with it again after the next start.
func TestKeys_AccountIDIsOmitted(t *testing.T) {
	w := newTestEnv(t)
	w.pod("app", role("orders"))
	for _, omit := range []bool{false, true, false} {
		stop := w.start(noRenewal, func(o *app.Options) { o.OmitAccountID = omit })
		w.eventually(fmt.Sprint("files, omitting ", omit), func() bool {
			s := w.secret("aws-iam-orders")
			return w.isGood(s) && hasAccountID(s, "credentials.json") != omit && hasAccountID(s, "container.json") != omit
		})
		stop()
	}
	if n := assumed(w.sts, "*"); n != 1 {
		t.Errorf("%d calls of STS", n)
	}
}

// The size of what each renewal writes to etcd grows with the session token, which a Secret has
// three times, and four times with keys of their own.
func TestKeys_SizeInTheAPIServer(t *testing.T) {
	w := newTestEnv(t)
	orders, err := iamrole.ParseARN("arn:aws:iam::" + account + ":role/orders")
	w.must(err)
	for _, n := range []int{400, 1 << 10, 2 << 10, 4 << 10} {
		for _, withKeys := range []bool{false, true} {
			to := secret.Target{
				Name: types.NamespacedName{Namespace: w.namespace, Name: fmt.Sprint("size-", n, "-", withKeys)}, Keys: withKeys,
				Files:   secret.Files{MountPath: "/meta/aws-iam", Region: region},
				Session: credentials.Session{Role: orders, Name: "prod.payments.aws-iam-orders", Duration: time.Hour},
			}
			c := credentials.Credentials{
				AccessKeyID: "ASIAEXAMPLEEXAMPLE00", SecretAccessKey: credentials.Redact(strings.Repeat("k", 40)),
				SessionToken: credentials.Redact(strings.Repeat("t", n)), Issued: time.Now(), Expires: time.Now().Add(time.Hour),
			}
			s := secret.Render(to, c, nil)
			w.must(w.Create(t.Context(), s, client.FieldOwner("kube-aws-iam-controller")))
			c.AccessKeyID = "ASIAEXAMPLEEXAMPLE01"
			next := secret.Replace(s.ObjectMeta, secret.Render(to, c, s))
			w.must(w.Update(t.Context(), next, client.FieldOwner("kube-aws-iam-controller")))
			w.read(s)
			size := s.Size() // as etcd stores it, but for a prefix
			t.Logf("token %d bytes, keys of their own %t: %d bytes", n, withKeys, size)
			if tokens := map[bool]int{false: 3, true: 4}[withKeys]; size < tokens*n || size > tokens*n+4<<10 {
				t.Errorf("%d bytes for a token of %d", size, n)
			}
		}
	}
}
