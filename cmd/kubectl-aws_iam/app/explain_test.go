package app

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// explanation is what explain and check print with -o json.
type explanation struct {
	Works    bool
	Next     string
	Sections []struct {
		Title  string
		Checks []struct{ Name, Status, Message, Next string }
	}
}

// explain explains an object.
func (n *namespace) explain(args ...string) *explanation {
	n.Helper()
	return n.report(n.run(append([]string{"explain", "-o", "json"}, args...)...))
}

// check returns a check as its status and message.
func (e *explanation) check(name string) string {
	for _, section := range e.Sections {
		for _, c := range section.Checks {
			if c.Name == name {
				return c.Status + ": " + c.Message
			}
		}
	}
	return ""
}

// awaitWarning waits until the controller has emitted a Warning on an object.
func (n *namespace) awaitWarning(object, reason string) {
	n.Helper()
	n.await("Warning "+reason, func() (bool, error) {
		var events corev1.EventList
		if err := suite.Cluster.List(n.Context(), &events); err != nil {
			return false, err
		}
		for i := range events.Items {
			if e := &events.Items[i]; e.Namespace == n.name && e.InvolvedObject.Name == object && e.Reason == reason {
				return true, nil
			}
		}
		return false, nil
	})
}

// TestExplain_NextWorks runs the command that comes next until nothing is wrong any more.
func TestExplain_NextWorks(t *testing.T) {
	for _, c := range []struct {
		name   string
		create func(n *namespace)
		object []string
		secret string
		steps  int
	}{
		{"a pod without the right", func(n *namespace) { n.create(n.account("web", ""), n.pod("web", "web", "aws-iam-orders")) }, []string{"pod", "web"}, "aws-iam-orders", 1},
		{"a ServiceAccount without a role", func(n *namespace) { n.create(n.account("web", ""), n.pod("web", "web", "aws-iam.web")) }, []string{"pod", "web"}, "aws-iam.web", 2},
		{"the ServiceAccount of a pod", func(n *namespace) { n.create(n.account("web", ""), n.pod("web", "web", "aws-iam.web")) }, []string{"serviceaccount", "web"}, "aws-iam.web", 2},
		{"an AWSIAMRole without the right", func(n *namespace) { n.create(n.awsIAMRole("reports", "Reports")) }, []string{"awsiamrole", "reports"}, "reports", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNamespace(t)
			c.create(n)
			for range c.steps {
				e := n.explain(c.object...)
				if e.Works {
					t.Fatalf("%+v", e)
				}
				n.shell(e.Next)
			}
			n.awaitSecret(c.secret)
			if e := n.explain(c.object...); !e.Works || !strings.HasPrefix(e.check("Secret"), "Passed: access key ASIA") {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestExplain_Text(t *testing.T) {
	n := newNamespace(t)
	n.create(n.account("web", ""), n.pod("web", "web", "aws-iam-orders"))
	n.awaitWarning("web", "RoleForbidden")
	got := n.run("explain", "pod", "web", "-o", "wide")
	for _, want := range []string{
		"Pod " + n.name + "/web\n", "\nSecret aws-iam-orders\n",
		"  ✓ request    the pod references Secret aws-iam-orders, which asks for role orders\n",
		"  ✓ name       it is arn:aws:iam::123456789012:role/orders\n",
		"  ✗ right      ServiceAccount " + n.name + "/web may not assume role orders\n",
		"               → kubectl create role -n " + n.name + " 'assume:web:orders'",
		"  ✗ events     RoleForbidden ",
		"  – Secret     not reached\n",
		"\nController\n",
		"  ✓ controller  Deployment kube-system/kube-aws-iam-controller: 2 of 2 replicas available\n",
		"  ✓ Lease       held by ",
		"\nNext:\n  kubectl create role -n " + n.name + " 'assume:web:orders'",
	} {
		if !strings.Contains(got.out, want) {
			t.Errorf("it lacks %q:\n%s", want, got.out)
		}
	}
	if got.code != 1 || got.err != "" {
		t.Errorf("exit code %d: %s", got.code, got.err)
	}
}

func TestExplain_Fails(t *testing.T) {
	n := newNamespace(t)
	n.grantAll("orders", "billing")
	suite.STS.Deny("arn:aws:iam::123456789012:role/billing")
	t.Cleanup(func() { suite.STS.Allow("arn:aws:iam::123456789012:role/billing") })
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: "aws-iam-orders"}}
	injected := n.pod("injected", "web")
	injected.Labels = map[string]string{"iam.amazonaws.com/inject": "true"}
	annotated := n.pod("annotated", "web")
	annotated.Annotations = map[string]string{"iam.amazonaws.com/role": "orders"}
	mounted := n.pod("mounted", "web", "aws-iam-billing")
	mounted.Spec.Containers[0].VolumeMounts[0].MountPath = "/elsewhere"
	n.create(foreign, n.account("web", ""), injected, annotated, mounted,
		n.pod("foreign", "web", "aws-iam-orders"), n.pod("denied", "web", "aws-iam-billing"), n.pod("invalid", "web", "aws-iam-_"), n.pod("none", "web"))
	n.awaitWarning("denied", "GetCredentialsFailed")
	for _, c := range []struct{ pod, check, want, next string }{
		{"foreign", "Secret", "Failed: Secret \"aws-iam-orders\" exists and is not this controller's", "kubectl describe secret --namespace " + n.name + " aws-iam-orders"},
		{"denied", "events", "Failed: GetCredentialsFailed", "kubectl aws-iam trust arn:aws:iam::123456789012:role/billing --for pod --namespace " + n.name + " denied"},
		{"mounted", "mount", "Failed: MountPathMismatch", "kubectl aws-iam trust"},
		{"invalid", "name", "Failed: no Secret can be called", "kubectl edit pod --namespace " + n.name + " invalid"},
		{"injected", "injection", "Failed: the pod has the label iam.amazonaws.com/inject", "kubectl delete pod --namespace " + n.name + " injected"},
		{"annotated", "request", "Failed: the pod has the annotation iam.amazonaws.com/role, which counts only", "kubectl label namespace " + n.name},
		{"none", "request", "Failed: the pod references no Secret", "kubectl aws-iam explain serviceaccount --namespace " + n.name + " web"},
	} {
		t.Run(c.pod, func(t *testing.T) {
			e := n.in(t).explain("pod", c.pod)
			if got := e.check(c.check); !strings.HasPrefix(got, c.want) || !strings.HasPrefix(e.Next, c.next) {
				t.Errorf("%s, next is %s", got, e.Next)
			}
		})
	}
}

// TestExplain_LeastRights is for users who may do no more than the rows say.
func TestExplain_LeastRights(t *testing.T) {
	n := newNamespace(t)
	n.grantAll("orders")
	n.create(n.account("web", ""), n.pod("web", "web", "aws-iam-orders"), n.pod("denied", "web", "aws-iam-billing"))
	n.awaitSecret("aws-iam-orders")
	n.awaitWarning("denied", "RoleForbidden")
	// What the ClusterRole admin consists of: no controller aggregates it here.
	administrator := []string{"system:aggregate-to-admin", "system:aggregate-to-edit", "system:aggregate-to-view"}
	pods, events := may("get", "", "pods"), may("list", "", "events")
	for _, c := range []struct {
		name  string
		rules []rbacv1.PolicyRule
		roles []string
		pod   string
		want  map[string]string // the beginnings of checks
	}{
		{"pods", []rbacv1.PolicyRule{pods}, nil, "web", map[string]string{
			"right": "Unknown: you may not create localsubjectaccessreviews", "Secret": "Unknown: you may not read Secrets", "events": "Unknown: they cannot be listed",
			"controller": "Unknown: you may not list Deployments", "Lease": "Unknown: you may not read Leases", "name": "Passed: it is a role's name",
		}},
		{"pods and events", []rbacv1.PolicyRule{pods, events}, nil, "denied", map[string]string{
			"right": "Failed: you may not create localsubjectaccessreviews; the controller's event says: ServiceAccount " + n.name + "/web may not assume role billing",
		}},
		{"pods and events, of a pod that works", []rbacv1.PolicyRule{pods, events}, nil, "web", map[string]string{
			"right": "Unknown", "Secret": "Unknown: you may not read Secrets; the controller's event of", "events": "Passed: CreateCredentials",
		}},
		{"an administrator of the namespace", nil, administrator, "denied", map[string]string{
			"right": "Failed: ServiceAccount " + n.name + "/web may not assume role billing", "controller": "Unknown", "name": "Passed: it is arn:aws:iam::123456789012:role/billing",
		}},
		{"an administrator of the namespace, of a pod that works", nil, administrator, "web", map[string]string{
			"right": "Passed: ServiceAccount " + n.name + "/web may assume the role", "Secret": "Passed: access key ASIA",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			user := strings.NewReplacer(" ", "-", ",", "").Replace(c.name)
			n := n.in(t)
			u := n.as(user, "system:authenticated")
			subject := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: n.name + "-" + user}
			n.grant(user, subject, c.rules...)
			for _, role := range c.roles {
				n.create(&rbacv1.RoleBinding{
					ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: user + role}, Subjects: []rbacv1.Subject{subject},
					RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
				})
			}
			n.await("rights of "+user, func() (bool, error) { return u.run("explain", "pod", c.pod, "-o", "name").err == "", nil })
			e := u.explain("pod", c.pod)
			for check, want := range c.want {
				if got := e.check(check); !strings.HasPrefix(got, want) {
					t.Errorf("%s is %q", check, got)
				}
			}
		})
	}
}

func TestExplain_Errors(t *testing.T) {
	n := newNamespace(t)
	for want, args := range map[string][]string{
		`error: pods "none" not found`:           {"explain", "pod", "none"},
		`error: accepts 1 arg(s), received 0`:    {"explain", "pod"},
		`error: --base-role-arn: "x" is not`:     {"explain", "pod", "none", "--base-role-arn", "x"},
		`error: --output=x is unknown: it takes`: {"explain", "pod", "none", "-o", "x"},
	} {
		if got := n.run(args...); got.code != 1 || got.out != "" || !strings.HasPrefix(got.err, want) {
			t.Errorf("%q: exit code %d, %s%s", args, got.code, got.out, got.err)
		}
	}
}
