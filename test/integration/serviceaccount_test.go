package integration_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	// stackRole is a role as CloudFormation names it, which no Secret's name can contain.
	stackRole = "arn:aws:iam::" + account + ":role/stacks/Stack-OrdersRole-1AB2C3"
	otherRole = "arn:aws:iam::210987654321:role/Shared"
)

// annotations are those of a ServiceAccount.
type annotations map[string]string

// serviceAccount creates a ServiceAccount.
func (w *testEnv) serviceAccount(name string, a annotations) *corev1.ServiceAccount {
	w.t.Helper()
	sa := newServiceAccount(w.namespace, name)
	sa.Annotations = a
	w.create(sa)
	return sa
}

// annotateAccount sets annotations of a ServiceAccount; a nil value removes one.
func (w *testEnv) annotateAccount(name string, a map[string]any) {
	w.t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": a}})
	w.must(err)
	w.patch(newServiceAccount(w.namespace, name), string(patch))
}

// podOf creates a pod of a ServiceAccount that mounts the Secret of that ServiceAccount.
func (w *testEnv) podOf(account string) {
	w.t.Helper()
	w.pod(account, as(account), mounting("aws-iam."+account, "/meta/aws-iam"))
}

// waitRole returns a Secret as soon as it has good credentials of a role.
func (w *testEnv) waitRole(name, arn string) (s *corev1.Secret) {
	w.t.Helper()
	w.eventually("Secret "+name+" of "+arn, func() bool {
		s = w.secret(name)
		return w.isGood(s) && string(s.Data["role-arn"]) == arn
	})
	return s
}

// noRenewal has sessions last longer than a test.
func noRenewal(o *app.Options) { o.RefreshLimit = 30 * time.Minute }

func TestServiceAccount_PodGetsTheAnnotatedRole(t *testing.T) {
	w := newTestEnv(t)
	for _, arn := range []string{stackRole, otherRole} { // the role's owner decides by ServiceAccount
		w.sts.Trust(arn, func(c ststest.Call) bool {
			return strings.HasPrefix(c.Tags[credentials.TagServiceAccount], "by-") && c.Tags[credentials.TagNamespace] == w.namespace &&
				c.SessionName == "test."+w.namespace+".aws-iam."+c.Tags[credentials.TagServiceAccount]
		})
	}
	w.start(noRenewal, func(o *app.Options) {
		o.Sessions.Tags = []string{credentials.TagServiceAccount, credentials.TagNamespace}
	})
	for _, row := range []struct {
		account string
		a       annotations
		role    string
	}{
		{"by-name", annotations{request.RoleAnnotation: "Orders"}, "arn:aws:iam::" + account + ":role/Orders"},
		{"by-arn-with-path-and-upper-case", annotations{request.RoleAnnotation: stackRole}, stackRole},
		{"by-eks-annotation", annotations{request.RoleARNAnnotation: stackRole}, stackRole},
		{"by-role-rather-than-eks", annotations{request.RoleAnnotation: stackRole, request.RoleARNAnnotation: appRole}, stackRole},
		{"by-arn-of-another-account", annotations{request.RoleAnnotation: otherRole}, otherRole},
		{"by.name.with.dots", annotations{request.RoleAnnotation: appRole}, appRole},
	} {
		t.Run(row.account, func(t *testing.T) {
			sa := w.serviceAccount(row.account, row.a)
			w.podOf(row.account)
			s := w.waitRole("aws-iam."+row.account, row.role)
			if got := s.Annotations[secret.ServiceAccountUIDAnnotation]; got != string(sa.UID) {
				t.Errorf("the Secret says uid %q, and not %q", got, sa.UID)
			}
		})
	}
	t.Run("metric", func(*testing.T) {
		w.eventually("the Secrets count as those of ServiceAccounts", func() bool {
			return w.metric("secrets", "source", "ServiceAccount") == 6 && w.metric("secrets", "source", "Pod") == 0
		})
	})
	t.Run("duration", func(t *testing.T) {
		w.serviceAccount("short", annotations{request.RoleAnnotation: "app", request.DurationAnnotation: "900"})
		w.podOf("short")
		c := credentialsOf(t, w.wait("aws-iam.short"))
		if life := c.Expires.Sub(c.Issued); life > 16*time.Minute {
			t.Errorf("the session lasts %s", life)
		}
	})
}

// What changes in the ServiceAccount shows in the Secret, which is kept while its credentials live.
func TestServiceAccount_SecretFollowsTheAccount(t *testing.T) {
	w := newTestEnv(t)
	w.start(noRenewal)
	w.podOf("orders")
	w.event("Warning ServiceAccountWithoutRole orders:", `ServiceAccount "orders" has no annotation iam.amazonaws.com/role, or does not exist`,
		"kubectl annotate serviceaccount --namespace "+w.namespace+" orders iam.amazonaws.com/role=")
	first := w.serviceAccount("orders", annotations{request.RoleAnnotation: "app"})
	before := w.waitRole("aws-iam.orders", appRole)

	w.annotateAccount("orders", map[string]any{request.RoleAnnotation: stackRole})
	w.waitRole("aws-iam.orders", stackRole)
	w.annotateAccount("orders", map[string]any{request.RoleAnnotation: nil, request.RoleARNAnnotation: appRole})
	after := w.waitRole("aws-iam.orders", appRole)
	if accessKey(after) == accessKey(before) {
		t.Error("the session of the first annotation is back")
	}

	w.must(w.Delete(t.Context(), newServiceAccount(w.namespace, "orders")))
	again := w.serviceAccount("orders", annotations{request.RoleARNAnnotation: appRole})
	renewed := w.waitOther(after)
	if uid := renewed.Annotations[secret.ServiceAccountUIDAnnotation]; uid != string(again.UID) || again.UID == first.UID {
		t.Errorf("uid %s in the Secret, after %s and %s", uid, first.UID, again.UID)
	}

	calls := assumed(w.sts, "*")
	w.annotateAccount("orders", map[string]any{request.RoleARNAnnotation: nil})
	w.pod("later", as("orders"), mounting("aws-iam.orders", "/meta/aws-iam"))
	w.event("Warning ServiceAccountWithoutRole later:", "orders")
	w.checkUnchanged(renewed)
	w.clocks.pass(61 * time.Minute) // longer than the session
	w.waitGone("aws-iam.orders")
	if n := assumed(w.sts, "*"); n != calls {
		t.Errorf("%d calls of AssumeRole without an annotation", n-calls)
	}
}

// Each mistake is where the user looks, with what to write.
func TestServiceAccount_MistakesShowOnThePod(t *testing.T) {
	w := newTestEnv(t)
	useInstanceRole(t, w.sts)
	w.start(noRenewal)
	long := strings.Repeat("a", 250)
	for _, row := range []struct {
		name, account, mounts string
		a                     annotations
		event                 string
		texts                 []string
	}{
		{"no-role", "no-role", "aws-iam.no-role", annotations{request.RoleAnnotation: "not a role"}, v1.ReasonInvalidRole, []string{
			`ServiceAccount "no-role"`, "annotation iam.amazonaws.com/role is", "write the role's name, or its ARN such as arn:aws:iam::123456789012:role/name",
		}},
		{"no-arn", "no-arn", "aws-iam.no-arn", annotations{request.RoleARNAnnotation: "arn:aws:s3:::bucket"}, v1.ReasonInvalidRole, []string{
			"annotation eks.amazonaws.com/role-arn is", "write the role's name",
		}},
		{"duration", "duration", "aws-iam.duration", annotations{request.RoleAnnotation: "app", request.DurationAnnotation: "1h"}, v1.ReasonInvalidRole, []string{
			"annotation iam.amazonaws.com/session-duration is", "a number of seconds from 900 to 43200",
		}},
		{"own-role", "own-role", "aws-iam.own-role", annotations{request.RoleAnnotation: ownRole}, v1.ReasonInvalidRole, []string{"controller"}},
		{"stranger", "other", "aws-iam.stranger", annotations{request.RoleAnnotation: "app"}, v1.ReasonInvalidRole, []string{
			`only pods of ServiceAccount "stranger" may have Secret "aws-iam.stranger", and this pod's is "other"`, `"aws-iam.other"`,
		}},
		{"without-account", "missing", "aws-iam.missing", nil, v1.ReasonServiceAccountWithoutRole, []string{"kubectl annotate serviceaccount"}},
		{"long", long, "aws-iam." + long, nil, v1.ReasonInvalidRole, []string{"too long a name", "at most 245 characters"}},
	} {
		t.Run(row.name, func(*testing.T) {
			if row.a != nil {
				w.serviceAccount(row.name, row.a)
			}
			w.pod(row.name, as(row.account), mounting(row.mounts, "/meta/aws-iam"))
			w.event("Warning "+row.event+" "+row.name+":", row.texts...)
		})
	}
	t.Run("AWSIAMRole of such a name", func(*testing.T) {
		w.awsIAMRole("aws-iam.duration", "app")
		w.condition("aws-iam.duration", v1.ConditionReady, metav1.ConditionFalse, v1.ReasonInvalidRole, "begins with aws-iam.", "give the AWSIAMRole another name")
	})
	if n := assumed(w.sts, "*"); n != 0 || len(versions(w)) != 1 {
		t.Errorf("%d calls of AssumeRole, and Secrets or AWSIAMRoles %v", n, versions(w))
	}
}

// A withdrawn right of one ServiceAccount ends its credentials, also if others have the role.
func TestServiceAccount_WithdrawnRightIsItsOwn(t *testing.T) {
	w := newTestEnv(t)
	binding := w.grant(stackRole, serviceAccount(w.namespace, "orders"))
	w.grant(stackRole, serviceAccount(w.namespace, "mails"))
	w.start(modes(authorization.ModeRBAC), noRenewal)
	for _, name := range []string{"orders", "mails", "denied"} {
		w.serviceAccount(name, annotations{request.RoleAnnotation: stackRole})
		w.podOf(name)
	}
	w.waitRole("aws-iam.orders", stackRole)
	kept := w.waitRole("aws-iam.mails", stackRole)
	w.event("Warning RoleForbidden denied:", "ServiceAccount "+w.namespace+"/denied may not assume role", "kubectl create rolebinding")
	w.must(w.Delete(t.Context(), binding))
	w.event("Warning RoleForbidden orders:", "ServiceAccount "+w.namespace+"/orders may not assume role")
	w.waitGone("aws-iam.orders")
	w.checkUnchanged(kept)
	if w.secret("aws-iam.denied") != nil {
		t.Error("the Secret of another ServiceAccount than those with the right")
	}
}
