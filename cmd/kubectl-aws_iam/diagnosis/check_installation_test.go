package diagnosis_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiversion "k8s.io/apimachinery/pkg/version"
	"sigs.k8s.io/yaml"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
)

const controllerUser = "system:serviceaccount:kube-system:kube-aws-iam-controller"

func inOrder() *diagnosis.InstallationSnapshot {
	s := &diagnosis.InstallationSnapshot{Now: now, Installation: running()}
	s.Server.Value = &apiversion.Info{GitVersion: "v1.36.3-eks-123"}
	s.HasCRD.Value = true
	for _, name := range []string{"secret-writes", "secret-label", "serviceaccount-secret", "pod-role", "pod-roles"} {
		s.Policies.Value = append(s.Policies.Value, diagnosis.Policy{Name: settings.Name + "-" + name, Bound: true, Denies: true, Text: "x == 'system:serviceaccount:kube-system:' + 'kube-aws-iam-controller'"})
	}
	s.Environment.Value = map[string]string{"AWS_REGION": "eu-central-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": ""}
	s.Usages.Value = []*usage.Usage{{Namespace: "payments", Secret: "aws-iam-orders", State: usage.Ready, Issued: &metav1.Time{Time: now.Add(-time.Minute)}}}
	return s
}

func TestCheckInstallation(t *testing.T) {
	type snapshot = diagnosis.InstallationSnapshot
	const passed, failed, unknown = diagnosis.Passed, diagnosis.Failed, diagnosis.Unknown
	for _, c := range []struct {
		name    string
		change  func(*snapshot)
		check   string
		status  diagnosis.Status
		message string
		next    string // the beginning
	}{
		{"works", func(*snapshot) {}, "credentials", passed, "1 Ready; issued last: payments/aws-iam-orders, 60s ago", ""},
		{"an old Kubernetes", func(s *snapshot) { s.Server.Value.GitVersion = "v1.29.1" }, "Kubernetes", failed, "need 1.30", "kubectl version"},
		{"a Kubernetes without injection", func(s *snapshot) { s.Server.Value.GitVersion = "v1.33.1" }, "Kubernetes", passed, "injection needs 1.36", ""},
		{"no CRD", func(s *snapshot) { s.HasCRD.Value = false }, "CRD", failed, "serves no awsiamroles", "kubectl apply"},
		{"a missing policy", func(s *snapshot) { s.Policies.Value = s.Policies.Value[1:] }, "policies", failed, "kube-aws-iam-controller-secret-writes is missing", "kubectl get validatingadmissionpolicies"},
		{"a policy without a binding", func(s *snapshot) { s.Policies.Value[1].Bound = false }, "policies", failed, "secret-label has no binding", "kubectl get"},
		{"a policy that only warns", func(s *snapshot) { s.Policies.Value[0].Denies = false }, "policies", failed, "secret-writes only warns", "kubectl get"},
		{"a policy for another controller", func(s *snapshot) { s.Policies.Value[0].Text = "'system:serviceaccount:other:kube-aws-iam-controller'" }, "policies", failed, "does not name " + controllerUser, "kubectl get"},
		{"late rights", func(s *snapshot) { s.Policies.Value[3].Denies, s.Policies.Value[4].Denies = false, false }, "policies", passed, "3 are in force; kube-aws-iam-controller-pod-role and", ""},
		{"mode Namespace needs no policies of pods", func(s *snapshot) { s.Settings.Modes, s.Policies.Value = []string{"Namespace"}, s.Policies.Value[:3] }, "policies", passed, "3 are in force", ""},
		{"a seed without its policy", func(s *snapshot) {
			s.Settings.Seed = types.NamespacedName{Namespace: "kube-system", Name: "seed"}
			s.Seed.Value = managed("seed", "controller", time.Minute)
		}, "policies", failed, "seed-delete is missing", "kubectl get"},
		{"policies that may not be read", func(s *snapshot) { s.Policies = diagnosis.Read[[]diagnosis.Policy]{Err: errForbidden} }, "policies", unknown, "forbidden", ""},
		{"injection", func(s *snapshot) { s.Injection.Value = []diagnosis.Policy{{Name: "a", Bound: true}, {Name: "b"}} }, "injection", passed, "1 policies are in force", ""},
		{"no MutatingAdmissionPolicies", func(s *snapshot) { s.Injection.Err = errMissing }, "injection", unknown, "has no MutatingAdmissionPolicies", ""},
		{"no controller", func(s *snapshot) { s.Deployment = diagnosis.Read[*appsv1.Deployment]{} }, "controller", failed, "there is no Deployment", "kubectl get deployments"},
		{"a controller that may not be read", func(s *snapshot) { s.Deployment = diagnosis.Read[*appsv1.Deployment]{Err: errForbidden} }, "controller", failed, "you may not list Deployments", "kubectl auth can-i"},
		{"a rollout", func(s *snapshot) { s.Deployment.Value.Status.UpdatedReplicas = 1 }, "version", unknown, "registry.example/controller:v1, on 1 of 2", ""},
		{"missing rights", func(s *snapshot) {
			s.Denied.Value = []authorizationv1.ResourceAttributes{{Verb: "create", Resource: "secrets"}, {Verb: "update", Group: "zalando.org", Resource: "awsiamroles", Subresource: "status", Namespace: "a"}}
		}, "RBAC", failed, "no right to create secrets, update awsiamroles.zalando.org/status in a", "kubectl auth can-i --list --as " + controllerUser},
		{"rights that may not be asked for", func(s *snapshot) { s.Denied.Err = errForbidden }, "RBAC", unknown, "you may not create subjectaccessreviews", ""},
		{"Pod Identity", func(*snapshot) {}, "identity", passed, "EKS Pod Identity", ""},
		{"web identity", func(s *snapshot) {
			s.Environment.Value = map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_ROLE_ARN": "arn:x", "AWS_REGION": "eu-central-1"}
		}, "identity", passed, "web identity, role arn:x", ""},
		{"keys of a user", func(s *snapshot) { s.Environment.Value["AWS_ACCESS_KEY_ID"] = "" }, "identity", passed, "keys of a user", ""},
		{"an instance profile", func(s *snapshot) { s.HostNetwork, s.Environment.Value = true, nil }, "identity", passed, "instance profile", ""},
		{"an environment that may not be read", func(s *snapshot) { s.Environment = diagnosis.Read[map[string]string]{Err: errForbidden} }, "identity", unknown, "forbidden", ""},
		{"an identity that failed", func(s *snapshot) {
			s.Warnings.Value = []diagnosis.Event{{Warning: true, Reason: "SeedExpired", Note: "the seed expired", At: now.Add(-time.Second)}}
		}, "identity", failed, "SeedExpired 1s ago: the seed expired", "kubectl logs --namespace kube-system"},
		{"an identity that works again", func(s *snapshot) {
			s.Warnings.Value = []diagnosis.Event{{Warning: true, Reason: "SeedExpired", At: now.Add(-time.Hour)}}
		}, "identity", passed, "EKS Pod Identity", ""},
		{"no Region", func(s *snapshot) { delete(s.Environment.Value, "AWS_REGION") }, "Region", failed, "AWS_REGION is not set", "kubectl set env deployment --namespace kube-system kube-aws-iam-controller AWS_REGION=<region>"},
		{"the Region of the node", func(s *snapshot) { s.HostNetwork, s.Environment.Value = true, nil }, "Region", passed, "that of the node", ""},
		{"late credentials", func(s *snapshot) {
			s.Usages.Value = append(s.Usages.Value, &usage.Usage{State: usage.Late, Expires: &metav1.Time{Time: now.Add(70 * time.Minute)}}, &usage.Usage{State: usage.Waiting})
		}, "credentials", failed, "1 Ready, 1 Late, 1 Waiting", "kubectl aws-iam list --all-namespaces --expiring 71m"},
		{"roles that may not be read", func(s *snapshot) { s.Usages = diagnosis.Read[[]*usage.Usage]{Err: errors.New("may not")} }, "credentials", unknown, "may not", ""},
		{"nothing in use", func(s *snapshot) { s.Usages.Value = nil }, "credentials", passed, "no role is in use", ""},
		{"metadata that no pod tried", func(*snapshot) {}, "metadata", unknown, "only a pod can find out", ""},
		{"metadata that pods reach", func(s *snapshot) { s.Metadata = &diagnosis.Read[bool]{Value: true} }, "metadata", failed, "a pod reaches", "aws ec2 modify-instance-metadata-options"},
		{"metadata that pods do not reach", func(s *snapshot) { s.Metadata = &diagnosis.Read[bool]{} }, "metadata", passed, "a pod does not reach", ""},
		{"metadata that could not be tried", func(s *snapshot) { s.Metadata = &diagnosis.Read[bool]{Err: errForbidden} }, "metadata", unknown, "forbidden", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := inOrder()
			c.change(s)
			r := diagnosis.CheckInstallation(s)
			if got := find(t, r, c.check); got.Status != c.status || !strings.Contains(got.Message, c.message) {
				t.Errorf("%+v", got)
			}
			if c.status == failed && !strings.HasPrefix(r.Next, c.next) || c.status != failed && r.Next != "" {
				t.Errorf("next is %q, want %q", r.Next, c.next)
			}
		})
	}
}

// TestRights compares the rights that are checked with those that config/rbac gives.
func TestRights(t *testing.T) {
	text, err := os.ReadFile("../../../config/rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	given := map[authorizationv1.ResourceAttributes]bool{}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		for _, r := range role.Rules {
			names := r.ResourceNames
			if len(names) == 0 {
				names = []string{""}
			}
			for _, resource := range r.Resources {
				resource, subresource, _ := strings.Cut(resource, "/")
				for _, verb := range r.Verbs {
					given[authorizationv1.ResourceAttributes{
						Namespace: role.Namespace, Group: r.APIGroups[0], Resource: resource, Subresource: subresource, Verb: verb, Name: names[0],
					}] = true
				}
			}
		}
	}
	s := settings.Default()
	needed := diagnosis.Rights(&s, "kube-system")
	for _, a := range needed {
		if !given[a] {
			t.Errorf("config/rbac does not give %+v", a)
		}
		delete(given, a)
	}
	for a := range given {
		t.Errorf("%+v is not checked", a)
	}
	s.Namespaces = []string{"a", "b"}
	if some := diagnosis.Rights(&s, "kube-system"); !slices.ContainsFunc(some, func(a authorizationv1.ResourceAttributes) bool { return a.Namespace == "b" && a.Resource == "secrets" }) {
		t.Errorf("rights for two namespaces are %+v", some)
	}
}
