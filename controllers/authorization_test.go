package controllers_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/policy"
)

func modes(modes ...string) func(*controllers.Options) {
	return func(o *controllers.Options) { o.AuthorizationModes = modes }
}

// as lets a pod run under a ServiceAccount.
func as(serviceAccount string) podOption {
	return func(p *corev1.Pod) { p.Spec.ServiceAccountName = serviceAccount }
}

// grant allows a subject to assume a role by its name or ARN, and returns what it takes to take that back.
func (w *world) grant(name string, subject rbacv1.Subject) (binding *rbacv1.RoleBinding) {
	w.t.Helper()
	meta := metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "assume-"}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"zalando.org"}, Resources: []string{"awsiamroles"}, Verbs: []string{"assume"}, ResourceNames: []string{name}}}}
	w.must(w.Create(w.t.Context(), role))
	binding = &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name}}
	w.must(w.Create(w.t.Context(), binding))
	return binding
}

func (w *world) serviceAccount(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "ServiceAccount", Namespace: w.namespace, Name: name}
}

func (w *world) everyServiceAccount() rbacv1.Subject {
	return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:" + w.namespace}
}

// The event of a refusal has the commands that allow the role: pkg/policy and config have a shell
// run such commands.
func TestRBACRefusesAndSaysWhatWouldAllow(t *testing.T) {
	w := newWorld(t)
	w.start(modes(policy.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	w.event("Warning RoleForbidden app:", "ServiceAccount "+w.namespace+"/shop may not assume role orders",
		"kubectl create role -n "+w.namespace+" 'assume:shop:orders'", "kubectl create rolebinding -n "+w.namespace+" 'assume:shop:orders'")
	if n := w.assumed("*"); n != 0 {
		t.Errorf("%d calls of AssumeRole for who may not", n)
	}

	w.grant("orders", w.serviceAccount("shop"))
	w.wait("aws-iam-orders")
}

func TestRBACByNameByARNAndByGroup(t *testing.T) {
	w := newWorld(t)
	w.grant("by-name", w.serviceAccount("shop"))
	w.grant("arn:aws:iam::"+account+":role/by-arn", w.serviceAccount("shop"))
	w.grant("by-group", w.everyServiceAccount())
	w.start(modes(policy.ModeRBAC))
	for _, name := range []string{"by-name", "by-arn", "by-group"} {
		w.pod(name, role(name), as("shop"))
		w.wait("aws-iam-" + name)
	}
	w.pod("another", role("by-name"), as("another"))
	w.event("Warning RoleForbidden another:", "another may not assume role by-name")
	w.pod("default", role("by-arn"))
	w.event("Warning RoleForbidden default:", "/default may not assume role by-arn")
	if !w.good("aws-iam-by-name") {
		t.Error("the Secret of who may is gone because of one who may not")
	}
}

func TestAWithdrawnRightRemovesTheSecret(t *testing.T) {
	w := newWorld(t)
	binding := w.grant("orders", w.serviceAccount("shop"))
	team := w.grant("reports", w.everyServiceAccount())
	w.start(modes(policy.ModeRBAC), func(o *controllers.Options) { o.RefreshLimit = 30 * time.Minute })
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
	w.condition("resource", v1.ConditionAuthorized, metav1.ConditionFalse, controllers.ReasonRoleForbidden, "system:serviceaccounts:"+w.namespace, "kubectl create rolebinding")
	w.condition("resource", v1.ConditionReady, metav1.ConditionFalse, controllers.ReasonRoleForbidden)
	w.event("Warning RoleForbidden resource:")

	w.grant("orders", w.serviceAccount("shop"))
	w.grant("reports", w.everyServiceAccount())
	w.wait("aws-iam-orders")
	w.wait("resource")
	w.condition("resource", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
}

func TestClusterRolesCount(t *testing.T) {
	w := newWorld(t)
	w.start(modes(policy.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	w.event("Warning RoleForbidden app:")
	meta := metav1.ObjectMeta{Name: "assume-" + w.namespace}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"zalando.org"}, Resources: []string{"awsiamroles"}, Verbs: []string{"assume"}}}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{w.serviceAccount("shop")}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name}}
	w.must(w.Create(t.Context(), role))
	w.must(w.Create(t.Context(), binding))
	w.wait("aws-iam-orders")
	w.must(w.Delete(t.Context(), role))
	w.waitGone("aws-iam-orders")
}

// annotate sets or, with nothing, removes an annotation of the test's Namespace.
func (w *world) annotate(annotation, value string) {
	w.t.Helper()
	var n corev1.Namespace
	w.must(w.Get(w.t.Context(), client.ObjectKey{Name: w.namespace}, &n))
	if n.Annotations == nil {
		n.Annotations = map[string]string{}
	}
	n.Annotations[annotation] = value
	if value == "" {
		delete(n.Annotations, annotation)
	}
	w.must(w.Update(w.t.Context(), &n))
}

func TestNamespaceMode(t *testing.T) {
	w := newWorld(t)
	w.start(modes(policy.ModeNamespace))
	w.pod("app", role("orders"))
	w.event("Warning RoleForbidden app:", "Namespace "+w.namespace, "kubectl annotate namespace", policy.AllowedRolesAnnotation)
	w.annotate(policy.AllowedRolesAnnotation, `["ord*"]`)
	w.wait("aws-iam-orders")
	w.annotate(policy.AllowedRolesAnnotation, `orders`)
	w.waitGone("aws-iam-orders")
	w.pod("malformed", role("orders"))
	w.event("Warning RoleForbidden malformed:", "is not a JSON array")
	w.annotate(policy.PermittedAnnotation, `arn:aws:iam::`+account+`:role/ord.*`)
	w.wait("aws-iam-orders")
}

func TestModesAreJoined(t *testing.T) {
	w := newWorld(t)
	w.grant("by-rbac", w.serviceAccount("shop"))
	w.annotate(policy.AllowedRolesAnnotation, `["by-namespace"]`)
	w.start(modes(policy.ModeRBAC, policy.ModeNamespace))
	for _, name := range []string{"by-rbac", "by-namespace"} {
		w.pod(name, role(name), as("shop"))
		w.wait("aws-iam-" + name)
	}
	w.pod("neither", role("neither"), as("shop"))
	w.event("Warning RoleForbidden neither:", "kubectl create rolebinding", "Or: Namespace")
}

func TestADryRunTellsAndRefusesNobody(t *testing.T) {
	w := newWorld(t)
	w.start(modes(policy.ModeRBAC), func(o *controllers.Options) { o.DryRunAuthorization = true })
	w.pod("app", role("orders"), as("shop"))
	w.awsIAMRole("resource", "reports")
	w.wait("aws-iam-orders")
	w.wait("resource")
	w.event("Warning RoleForbidden app:", "Dry run", "shop may not assume role orders")
	w.condition("resource", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	w.condition("resource", v1.ConditionAuthorized, metav1.ConditionFalse, controllers.ReasonRoleForbidden, "Dry run")
	w.event("Warning RoleForbidden resource:", "Dry run")
	w.eventually("metrics and log", func() bool {
		return w.metric("refused_total", "reason", "RoleForbidden") >= 2 && strings.Contains(written.String(), "Dry run")
	})
}

// When the API server does not tell who may have what, nobody gets anything new, and what is there stays.
func TestAuthorizationFailsClosed(t *testing.T) {
	w := newWorld(t)
	w.grant("orders", w.serviceAccount("shop"))
	stop := w.start(modes(policy.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	s := w.wait("aws-iam-orders")
	stop()

	unable := w.without("subjectaccessreviews")
	w.startAs(unable, modes(policy.ModeRBAC))
	w.pod("new", role("reports"), as("shop"))
	w.event("Warning AuthorizationUnknown new:", "it is not known whether", "shop may assume role")
	if w.secret("aws-iam-reports") != nil || w.assumed("*") != 1 {
		t.Error("issued without a verdict")
	}
	if now := w.secret("aws-iam-orders"); now == nil || now.ResourceVersion != s.ResourceVersion {
		t.Error("what was there did not stay")
	}
}

// A role's owner can confine who uses it by what the controller, and not the requester, puts into the session.
func TestConfinement(t *testing.T) {
	w := newWorld(t)
	arn := func(name string) string { return "arn:aws:iam::" + account + ":role/" + name }
	w.sts.Trust(arn("by-external-id"), func(c ststest.Call) bool { return c.ExternalID == "test/"+w.namespace })
	w.sts.Trust(arn("by-tags"), func(c ststest.Call) bool {
		return c.Tags["eks-cluster-name"] == "test" && c.Tags["kubernetes-namespace"] == w.namespace
	})
	w.sts.Trust(arn("by-session"), func(c ststest.Call) bool { return strings.HasPrefix(c.SessionName, "test."+w.namespace+".") })
	w.sts.Trust(arn("of-others"), func(c ststest.Call) bool { return c.ExternalID == "test/others" })
	w.start(func(o *controllers.Options) {
		o.ExternalID, o.SessionTags = "{cluster}/{namespace}", []string{controllers.TagCluster, controllers.TagNamespace}
	})
	for _, name := range []string{"by-external-id", "by-tags", "by-session"} {
		w.pod(name, role(name))
		w.wait("aws-iam-" + name)
	}
	w.pod("of-others", role("of-others"))
	w.event("Warning GetCredentialsFailed of-others:", "AccessDenied")
}

// While the controller cannot find out who it is, a right that is withdrawn counts all the same.
func TestAWithdrawnRightCountsWhileSTSIsDown(t *testing.T) {
	w := newWorld(t)
	binding := w.grant("orders", w.serviceAccount("shop"))
	w.start(modes(policy.ModeRBAC))
	w.pod("app", role("orders"), as("shop"))
	w.wait("aws-iam-orders")
	w.sts.Revoke(w.keys.AccessKeyID)
	w.pod("other", role("orders"), as("shop"), mounting("aws-iam-other", "/other"))
	w.grant("other", w.serviceAccount("shop"))
	w.event("Warning GetCredentialsFailed other:", "InvalidClientTokenId")
	w.must(w.Delete(t.Context(), binding))
	w.waitGone("aws-iam-orders")
}

// Who asks for what he may not have takes nothing from others.
func TestAForbiddenAWSIAMRoleTakesNothingAway(t *testing.T) {
	w := newWorld(t)
	w.grant("orders", w.serviceAccount("shop"))
	w.start(modes(policy.ModeRBAC), func(o *controllers.Options) { o.RefreshLimit = 30 * time.Minute })
	w.pod("app", role("orders"), as("shop"))
	s := w.wait("aws-iam-orders")
	w.awsIAMRole("aws-iam-orders", "nobody-may")
	w.condition("aws-iam-orders", v1.ConditionAuthorized, metav1.ConditionFalse, controllers.ReasonRoleForbidden)
	if now := w.secret("aws-iam-orders"); now == nil || now.ResourceVersion != s.ResourceVersion {
		t.Error("the pods' Secret was touched")
	}
}
