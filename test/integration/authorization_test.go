package integration_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
)

// The event of a refusal has the commands that allow the role: pkg/authorization and config have a
// shell run such commands.
func TestRBAC_DenialNamesTheCommands(t *testing.T) {
	w := newTestEnv(t)
	w.start(modes(authorization.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	w.event("Warning RoleForbidden app:", "ServiceAccount "+w.namespace+"/shop may not assume role orders",
		"kubectl create role -n "+w.namespace+" 'assume:shop:orders'", "kubectl create rolebinding -n "+w.namespace+" 'assume:shop:orders'")
	if n := assumed(w.sts, "*"); n != 0 {
		t.Errorf("%d calls of AssumeRole for a denied role", n)
	}

	w.grant("orders", serviceAccount(w.namespace, "shop"))
	w.wait("aws-iam-orders")
}

func TestRBAC_GrantsByNameARNAndGroup(t *testing.T) {
	w := newTestEnv(t)
	w.grant("by-name", serviceAccount(w.namespace, "shop"))
	w.grant("arn:aws:iam::"+account+":role/by-arn", serviceAccount(w.namespace, "shop"))
	w.grant("by-group", everyServiceAccount(w.namespace))
	w.start(modes(authorization.ModeRBAC))
	for _, name := range []string{"by-name", "by-arn", "by-group"} {
		w.pod(name, role(name), as("shop"))
		w.wait("aws-iam-" + name)
	}
	w.pod("another", role("by-name"), as("another"))
	w.event("Warning RoleForbidden another:", "another may not assume role by-name")
	w.pod("default", role("by-arn"))
	w.event("Warning RoleForbidden default:", "/default may not assume role by-arn")
	if !w.isGood(w.secret("aws-iam-by-name")) {
		t.Error("the Secret of an allowed pod was deleted because of a denied one")
	}
}

func TestWithdrawnRight_DeletesTheSecret(t *testing.T) {
	w := newTestEnv(t)
	binding := w.grant("orders", serviceAccount(w.namespace, "shop"))
	team := w.grant("reports", everyServiceAccount(w.namespace))
	w.start(modes(authorization.ModeRBAC), func(o *app.Options) { o.RefreshLimit = 30 * time.Minute })
	w.pod("app", role("orders"), as("shop"))
	w.awsIAMRole("resource", "reports")
	w.wait("aws-iam-orders")
	w.wait("resource")

	withdrawn := time.Now()
	w.must(w.Delete(t.Context(), binding))
	w.waitGone("aws-iam-orders")
	t.Logf("removed %s after the binding", time.Since(withdrawn))
	w.event("Warning RoleForbidden app:", "orders")
	w.must(w.Delete(t.Context(), team))
	w.waitGone("resource")
	w.condition("resource", v1.ConditionAuthorized, metav1.ConditionFalse, v1.ReasonRoleForbidden, "system:serviceaccounts:"+w.namespace, "kubectl create rolebinding")
	w.condition("resource", v1.ConditionReady, metav1.ConditionFalse, v1.ReasonRoleForbidden)
	w.event("Warning RoleForbidden resource:")

	w.grant("orders", serviceAccount(w.namespace, "shop"))
	w.grant("reports", everyServiceAccount(w.namespace))
	w.wait("aws-iam-orders")
	w.wait("resource")
	w.condition("resource", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
}

func TestRBAC_ClusterRoleGrantsUntilDeleted(t *testing.T) {
	w := newTestEnv(t)
	w.start(modes(authorization.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	w.event("Warning RoleForbidden app:")
	role, binding := newClusterRole("assume-"+w.namespace, assume(), serviceAccount(w.namespace, "shop"))
	w.create(role, binding)
	w.wait("aws-iam-orders")
	w.must(w.Delete(t.Context(), role))
	w.waitGone("aws-iam-orders")
}

func TestAuthorization_NamespaceAnnotationsGrantRoles(t *testing.T) {
	w := newTestEnv(t)
	w.start(modes(authorization.ModeNamespace))
	w.pod("app", role("orders"))
	w.event("Warning RoleForbidden app:", "Namespace "+w.namespace, "kubectl annotate namespace", authorization.AllowedRolesAnnotation)
	w.annotate(authorization.AllowedRolesAnnotation, `["ord*"]`)
	w.wait("aws-iam-orders")
	w.annotate(authorization.AllowedRolesAnnotation, `orders`)
	w.waitGone("aws-iam-orders")
	w.pod("malformed", role("orders"))
	w.event("Warning RoleForbidden malformed:", "is not a JSON array")
	w.annotate(authorization.PermittedAnnotation, `arn:aws:iam::`+account+`:role/ord.*`)
	w.wait("aws-iam-orders")
}

func TestAuthorization_OneOfSeveralModesSuffices(t *testing.T) {
	w := newTestEnv(t)
	w.grant("by-rbac", serviceAccount(w.namespace, "shop"))
	w.annotate(authorization.AllowedRolesAnnotation, `["by-namespace"]`)
	w.start(modes(authorization.ModeRBAC, authorization.ModeNamespace))
	for _, name := range []string{"by-rbac", "by-namespace"} {
		w.pod(name, role(name), as("shop"))
		w.wait("aws-iam-" + name)
	}
	w.pod("neither", role("neither"), as("shop"))
	w.event("Warning RoleForbidden neither:", "kubectl create rolebinding", "Or: Namespace")
}

func TestDryRun_ReportsAndRefusesNothing(t *testing.T) {
	w := newTestEnv(t)
	w.start(modes(authorization.ModeRBAC), func(o *app.Options) { o.DryRunAuthorization = true })
	w.pod("app", role("orders"), as("shop"))
	w.awsIAMRole("resource", "reports")
	w.wait("aws-iam-orders")
	w.wait("resource")
	w.event("Warning RoleForbidden app:", "Dry run", "shop may not assume role orders")
	w.condition("resource", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	w.condition("resource", v1.ConditionAuthorized, metav1.ConditionFalse, v1.ReasonRoleForbidden, "Dry run")
	w.event("Warning RoleForbidden resource:", "Dry run")
	w.eventually("metrics and log", func() bool {
		return w.metric("refused_total", "reason", "RoleForbidden") >= 2 && strings.Contains(written.String(), "Dry run")
	})
}

// Without access reviews no Secret is issued, and existing ones stay.
func TestAuthorization_FailsClosed(t *testing.T) {
	w := newTestEnv(t)
	w.grant("orders", serviceAccount(w.namespace, "shop"))
	stop := w.start(modes(authorization.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	s := w.wait("aws-iam-orders")
	stop()

	w.startAs(createUserWithout(w, "*", "subjectaccessreviews"), modes(authorization.ModeRBAC))
	w.pod("new", role("reports"), as("shop"))
	w.event("Warning AuthorizationUnknown new:", "it is not known whether", "shop may assume role")
	if w.secret("aws-iam-reports") != nil || assumed(w.sts, "*") != 1 {
		t.Error("issued without a decision")
	}
	w.checkUnchanged(s)
}

// A role's owner can confine who uses it by what the controller, and not the requester, puts into
// the session.
func TestSession_ConfinedToTheNamespace(t *testing.T) {
	w := newTestEnv(t)
	arn := func(name string) string { return "arn:aws:iam::" + account + ":role/" + name }
	w.sts.Trust(arn("by-external-id"), func(c ststest.Call) bool { return c.ExternalID == "test/"+w.namespace })
	w.sts.Trust(arn("by-tags"), func(c ststest.Call) bool {
		return c.Tags["eks-cluster-name"] == "test" && c.Tags["kubernetes-namespace"] == w.namespace
	})
	w.sts.Trust(arn("by-session"), func(c ststest.Call) bool { return strings.HasPrefix(c.SessionName, "test."+w.namespace+".") })
	w.sts.Trust(arn("of-others"), func(c ststest.Call) bool { return c.ExternalID == "test/others" })
	w.start(func(o *app.Options) {
		o.Sessions.ExternalID, o.Sessions.Tags = "{cluster}/{namespace}", []string{credentials.TagCluster, credentials.TagNamespace}
	})
	for _, name := range []string{"by-external-id", "by-tags", "by-session"} {
		w.pod(name, role(name))
		w.wait("aws-iam-" + name)
	}
	w.pod("of-others", role("of-others"))
	w.event("Warning GetCredentialsFailed of-others:", "AccessDenied")
}

// A withdrawn right deletes the Secret also while STS rejects the controller's own credentials.
func TestWithdrawnRight_DeletesTheSecretWithoutAWSIdentity(t *testing.T) {
	w := newTestEnv(t)
	binding := w.grant("orders", serviceAccount(w.namespace, "shop"))
	w.start(modes(authorization.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	w.wait("aws-iam-orders")
	w.sts.Revoke(w.keys.AccessKeyID)
	w.pod("other", role("orders"), as("shop"), mounting("aws-iam-other", "/other"))
	w.grant("other", serviceAccount(w.namespace, "shop"))
	w.event("Warning GetCredentialsFailed other:", "InvalidClientTokenId")
	w.must(w.Delete(t.Context(), binding))
	w.waitGone("aws-iam-orders")
}

// An AWSIAMRole with a denied role leaves the Secret of its name to the pods that have their role.
func TestAWSIAMRole_ForbiddenLeavesThePodsSecret(t *testing.T) {
	w := newTestEnv(t)
	w.grant("orders", serviceAccount(w.namespace, "shop"))
	w.start(modes(authorization.ModeRBAC), func(o *app.Options) { o.RefreshLimit = 30 * time.Minute })
	w.pod("app", role("orders"), as("shop"))
	s := w.wait("aws-iam-orders")
	w.awsIAMRole("aws-iam-orders", "no-one-may")
	w.condition("aws-iam-orders", v1.ConditionAuthorized, metav1.ConditionFalse, v1.ReasonRoleForbidden)
	w.checkUnchanged(s)
}
