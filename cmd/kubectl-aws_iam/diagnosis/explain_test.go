package diagnosis_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
)

var now = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

var (
	errForbidden = apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "x", errors.New("no"))
	errMissing   = apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, "x")
)

func arn(t *testing.T, name string) role.ARN {
	t.Helper()
	a, err := role.ParseARN("arn:aws:iam::123456789012:role/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// managed returns the metadata of a Secret that was issued some time ago.
func managed(name, roleName string, age time.Duration) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "payments", Name: name, Labels: map[string]string{"heritage": "kube-aws-iam-controller"},
		Annotations: map[string]string{
			"iam.amazonaws.com/role-arn":         "arn:aws:iam::123456789012:role/" + roleName,
			"iam.amazonaws.com/access-key-id":    "ASIAEXAMPLE",
			"iam.amazonaws.com/secret":           "payments/" + name,
			"iam.amazonaws.com/issued-at":        now.Add(-age).Format(time.RFC3339),
			"iam.amazonaws.com/session-duration": "3600",
		},
	}}
}

func lease(age time.Duration) diagnosis.Read[*coordinationv1.Lease] {
	renewed, holder, seconds := metav1.NewMicroTime(now.Add(-age)), "kube-aws-iam-controller-abc_uid", int32(13)
	return diagnosis.Read[*coordinationv1.Lease]{Value: &coordinationv1.Lease{
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &renewed, LeaseDurationSeconds: &seconds},
	}}
}

// running returns an installation that works.
func running() diagnosis.Installation {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-aws-iam-controller"}}
	d.Spec.Replicas, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas = new(int32(2)), 2, 2, 2
	d.Spec.Template.Spec = corev1.PodSpec{ServiceAccountName: "kube-aws-iam-controller", Containers: []corev1.Container{{Name: settings.Name, Image: "registry.example/controller:v1"}}}
	i := diagnosis.Installation{Settings: settings.Default(), Lease: lease(time.Second)}
	i.Settings.LeaderElect = true
	i.Settings.Base, _ = role.ParseBase("arn:aws:iam::123456789012:role/")
	i.Deployment.Value = d
	return i
}

// working returns a pod whose role works.
func working(t *testing.T) *diagnosis.Snapshot {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "orders-1"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "orders", NodeName: "node-1",
			Volumes: []corev1.Volume{{Name: "aws", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "aws-iam-orders"}}}},
			Containers: []corev1.Container{{
				Name: "app", VolumeMounts: []corev1.VolumeMount{{Name: "aws", MountPath: "/meta/aws-iam"}},
			}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	s := &diagnosis.Snapshot{Now: now, Namespace: "payments", Pod: pod, Installation: running(), Node: lease(3 * time.Second)}
	s.Asked = asked(t, pod)
	s.Asked[0].Decision.Value = authorization.Decision{Allowed: true, Reason: "RBAC: allowed"}
	s.Asked[0].Secret.Value = managed("aws-iam-orders", "orders", 10*time.Minute)
	s.Asked[0].Events.Value = []diagnosis.Event{{Secret: "aws-iam-orders", Reason: v1.ReasonCreateCredentials, Note: "Secret has credentials", At: now.Add(-10 * time.Minute)}}
	return s
}

// asked returns what a pod asks for.
func asked(t *testing.T, pod *corev1.Pod) []diagnosis.Asked {
	t.Helper()
	var all []diagnosis.Asked
	for _, r := range request.FromPod(pod, "/meta/aws-iam") {
		a := diagnosis.Asked{Request: r, Warnings: r.WarningsFor(r, "/meta/aws-iam"), Subject: authorization.Subject{Namespace: pod.Namespace, ServiceAccount: request.ServiceAccountName(pod)}}
		if r.Role != "" && r.Validate() == nil {
			a.Role = arn(t, r.Role)
		}
		all = append(all, a)
	}
	return all
}

// find returns a check by its name.
func find(t *testing.T, r *diagnosis.Report, name string) diagnosis.Check {
	t.Helper()
	for _, section := range r.Sections {
		for _, c := range section.Checks {
			if c.Name == name {
				return c
			}
		}
	}
	t.Fatalf("there is no check %s in %+v", name, r)
	return diagnosis.Check{}
}

func TestExplain_Works(t *testing.T) {
	r := diagnosis.Explain(working(t))
	if !r.Works() {
		t.Errorf("next is %s", r.Next)
	}
	for _, name := range []string{"request", "name", "right", "Secret", "mount", "events", "controller", "Lease", "clock"} {
		if c := find(t, r, name); c.Status != diagnosis.Passed {
			t.Errorf("%+v", c)
		}
	}
}

// TestExplain_Fails has one fault at a time: which check finds it, and which command comes next.
func TestExplain_Fails(t *testing.T) {
	type snapshot = diagnosis.Snapshot
	missing := func(s *snapshot) {
		s.Asked[0].Secret, s.Asked[0].Events = diagnosis.Read[*metav1.PartialObjectMetadata]{Err: errMissing}, diagnosis.Read[[]diagnosis.Event]{}
	}
	event := func(s *snapshot, reason, action, note string) {
		s.Asked[0].Events.Value = append(s.Asked[0].Events.Value, diagnosis.Event{
			Secret: "aws-iam-orders", Warning: true, Reason: reason, Action: action, Note: note, At: now.Add(-time.Minute),
		})
	}
	for _, c := range []struct {
		name                 string
		fault                func(*snapshot)
		check, message, next string
	}{
		{"no right", func(s *snapshot) {
			missing(s)
			s.Asked[0].Decision.Value = authorization.Decision{Reason: "ServiceAccount payments/orders may not assume role orders", Hint: "kubectl create role x"}
		}, "right", "may not assume", "kubectl create role x"},
		{"no right, with the event that says so", func(s *snapshot) {
			missing(s)
			s.Asked[0].Decision.Value = authorization.Decision{Reason: "may not", Hint: "kubectl create role x"}
			event(s, v1.ReasonRoleForbidden, "Authorize", "may not. To allow it: kubectl create role x")
		}, "events", "may not", "kubectl create role x"},
		{"no right by the event alone", func(s *snapshot) {
			missing(s)
			s.Asked[0].Decision.Err = &authorization.UndecidedError{Err: errForbidden}
			event(s, v1.ReasonRoleForbidden, "Authorize", "may not. To allow it: kubectl create role x")
		}, "right", "the controller's event says: may not", "kubectl describe pod --namespace payments orders-1"},
		{"a name that no Secret can have", func(s *snapshot) {
			s.Pod.Spec.Volumes[0].Secret.SecretName = "aws-iam-Orders"
			s.Asked = asked(t, s.Pod)
			missing(s)
		}, "name", "no Secret can be called", "kubectl edit pod --namespace payments orders-1"},
		{"the Secret of another ServiceAccount", func(s *snapshot) {
			s.Pod.Spec.Volumes[0].Secret.SecretName = "aws-iam.other"
			s.Asked = asked(t, s.Pod)
			missing(s)
		}, "name", "only pods of ServiceAccount", "kubectl edit pod --namespace payments orders-1"},
		{"a role that is none", func(s *snapshot) {
			s.Asked[0].RoleErr = errors.New("is no role")
		}, "name", "is no role", "kubectl edit pod --namespace payments orders-1"},
		{"not injected", func(s *snapshot) {
			s.Pod.Labels = map[string]string{"iam.amazonaws.com/inject": "true", "pod-template-hash": "6c9f"}
			s.Pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "orders-6c9f", Controller: new(true)}}
			s.Pod.Spec.Volumes = nil
			s.Asked = asked(t, s.Pod)
			missing(s)
		}, "injection", "created without Secret", "kubectl rollout restart deployment --namespace payments orders"},
		{"an annotation in a namespace without injection", func(s *snapshot) {
			s.Pod.Annotations = map[string]string{"iam.amazonaws.com/role": "orders"}
			s.Asked = nil
		}, "request", "counts only in a namespace", "kubectl label namespace payments iam.amazonaws.com/inject=true"},
		{"an annotation that the policies did not see", func(s *snapshot) {
			s.Pod.Annotations = map[string]string{"iam.amazonaws.com/role": "orders"}
			s.Labels.Value = map[string]string{"iam.amazonaws.com/inject": "true"}
			s.Asked = nil
		}, "request", "not in force", "kubectl delete pod --namespace payments orders-1"},
		{"no request", func(s *snapshot) { s.Asked = nil }, "request", "references no Secret", "kubectl aws-iam explain serviceaccount --namespace payments orders"},
		{"a ServiceAccount without a role", func(s *snapshot) {
			s.Pod.Spec.Volumes[0].Secret.SecretName = "aws-iam.orders"
			s.Asked = asked(t, s.Pod)
			missing(s)
			s.Asked[0].Account.Value = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "orders"}}
		}, "request", "none of the annotations", "kubectl annotate serviceaccount --namespace payments orders iam.amazonaws.com/role=<role name or ARN>"},
		{"a ServiceAccount that does not exist", func(s *snapshot) {
			s.Pod.Spec.Volumes[0].Secret.SecretName = "aws-iam.orders"
			s.Asked = asked(t, s.Pod)
			missing(s)
			s.Asked[0].Account.Err = errMissing
		}, "request", "does not exist", "kubectl create serviceaccount --namespace payments orders"},
		{"no Secret", missing, "Secret", "does not exist", "kubectl logs --namespace kube-system"},
		{"a Secret of another writer", func(s *snapshot) { s.Asked[0].Secret.Value.Labels = nil }, "Secret", "is not this controller's", "kubectl describe secret --namespace payments aws-iam-orders"},
		{"an expired Secret", func(s *snapshot) { s.Asked[0].Secret.Value = managed("aws-iam-orders", "orders", 2*time.Hour) }, "Secret", "expired 60m ago", "kubectl logs"},
		{"a late Secret", func(s *snapshot) { s.Asked[0].Secret.Value = managed("aws-iam-orders", "orders", 50*time.Minute) }, "Secret", "expire in 10m, and are not renewed", "kubectl logs"},
		{"a Secret of another role", func(s *snapshot) { s.Asked[0].Secret.Value = managed("aws-iam-orders", "billing", time.Minute) }, "Secret", "still holds credentials of arn:aws:iam::123456789012:role/billing", "kubectl logs"},
		{"a Secret that an AWSIAMRole decides over", func(s *snapshot) {
			s.Asked[0].Secret.Value = managed("aws-iam-orders", "billing", time.Minute)
			s.Asked[0].Owner = &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Name: "aws-iam-orders"}}
		}, "Secret", "as an AWSIAMRole has the Secret's name", "kubectl aws-iam explain awsiamrole --namespace payments aws-iam-orders"},
		{"STS refuses", func(s *snapshot) {
			missing(s)
			event(s, v1.ReasonGetCredentialsFailed, "AssumeRole/AccessDenied", "STS says no")
		}, "events", "STS says no", "kubectl aws-iam trust arn:aws:iam::123456789012:role/orders --for pod --namespace payments orders-1"},
		{"no identity", func(s *snapshot) {
			missing(s)
			event(s, v1.ReasonGetCredentialsFailed, "AssumeRole/NoCredentials", "no AWS credentials of its own")
		}, "events", "no AWS credentials of its own", "kubectl aws-iam check"},
		{"the seed expired", func(s *snapshot) {
			missing(s)
			s.Settings.Seed = types.NamespacedName{Namespace: "payments", Name: "seed"}
			s.Seed.Value = managed("seed", "controller", 2*time.Hour)
			event(s, v1.ReasonGetCredentialsFailed, "AssumeRole/ExpiredToken", "expired")
		}, "seed", "expired 60m ago", "kubectl aws-iam seed"},
		{"the seed is missing", func(s *snapshot) {
			s.Settings.Seed = types.NamespacedName{Namespace: "payments", Name: "seed"}
			s.Seed.Err = errMissing
		}, "seed", "does not exist", "kubectl aws-iam seed"},
		{"no controller", func(s *snapshot) {
			missing(s)
			s.Deployment = diagnosis.Read[*appsv1.Deployment]{}
		}, "controller", "there is no Deployment", "kubectl get deployments --all-namespaces --selector application=kube-aws-iam-controller"},
		{"no replica", func(s *snapshot) { s.Deployment.Value.Status.AvailableReplicas = 0 }, "controller", "no available replica", "kubectl describe deployment --namespace kube-system"},
		{"another namespace is served", func(s *snapshot) { s.Settings.Namespaces = []string{"orders"} }, "controller", "serves only orders", "kubectl edit deployment --namespace kube-system"},
		{"wrong flags", func(s *snapshot) { s.SettingsErr = errors.New("--base-role-arn") }, "controller", "--base-role-arn", "kubectl describe deployment"},
		{"no leader", func(s *snapshot) { s.Lease = lease(time.Hour) }, "Lease", "no replica is active", "kubectl logs --namespace kube-system --selector application=kube-aws-iam-controller --tail 20"},
		{"a released Lease", func(s *snapshot) { *s.Lease.Value.Spec.HolderIdentity = "" }, "Lease", "no replica holds it", "kubectl logs"},
		{"no Lease", func(s *snapshot) { s.Lease = diagnosis.Read[*coordinationv1.Lease]{Err: errMissing} }, "Lease", "no replica was ever active", "kubectl logs"},
		{"the node's clock is ahead", func(s *snapshot) { s.Node = lease(-6 * time.Minute) }, "clock", "6m0s ahead", "kubectl describe node node-1"},
		{"the node's clock is behind", func(s *snapshot) { s.Node = lease(6 * time.Minute) }, "clock", "6m0s behind", "kubectl describe node node-1"},
		{"a mount that is never updated", func(s *snapshot) {
			s.Asked[0].Warnings = []request.Warning{{Reason: request.NeverRefreshed, Note: "subPath"}, {Reason: request.OptionalSecret, Note: "optional"}}
		}, "mount", "NeverRefreshed: subPath (and 1 more)", "kubectl edit pod --namespace payments orders-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := working(t)
			c.fault(s)
			r := diagnosis.Explain(s)
			got := find(t, r, c.check)
			if got.Status != diagnosis.Failed || !strings.Contains(got.Message, c.message) {
				t.Errorf("%+v", got)
			}
			if !strings.HasPrefix(r.Next, c.next) {
				t.Errorf("next is %q, want %q", r.Next, c.next)
			}
			for _, section := range r.Sections {
				for _, check := range section.Checks {
					if (check.Status == diagnosis.Failed) != (check.Next != "") {
						t.Errorf("%+v", check)
					}
				}
			}
		})
	}
}

// TestExplain_Unknown has what a user may not read, and what is over: nothing of it is a failure.
func TestExplain_Unknown(t *testing.T) {
	type snapshot = diagnosis.Snapshot
	for _, c := range []struct {
		name           string
		change         func(*snapshot)
		check, message string
	}{
		{"access reviews", func(s *snapshot) { s.Asked[0].Decision.Err = &authorization.UndecidedError{Err: errForbidden} }, "right", "you may not create localsubjectaccessreviews; the Secret is there"},
		{"an undecided review", func(s *snapshot) { s.Asked[0].Decision.Err = errors.New("webhook") }, "right", "webhook"},
		{"web identity", func(s *snapshot) {
			s.Settings.WebIdentity = true
			s.Asked[0].Request.Secret = "aws-iam.orders"
			s.Asked[0].Decision = diagnosis.Read[authorization.Decision]{}
		}, "right", "the role's trust policy decides"},
		{"a dry run", func(s *snapshot) {
			s.Settings.DryRun = true
			s.Asked[0].Decision.Value = authorization.Decision{Reason: "may not"}
		}, "right", "would be refused"},
		{"Secrets", func(s *snapshot) {
			s.Asked[0].Secret = diagnosis.Read[*metav1.PartialObjectMetadata]{Err: errForbidden}
		}, "Secret", "the controller's event of 10m ago says: Secret has credentials"},
		{"a Secret of an older version", func(s *snapshot) { delete(s.Asked[0].Secret.Value.Annotations, "iam.amazonaws.com/issued-at") }, "Secret", "an older version wrote it"},
		{"events", func(s *snapshot) { s.Asked[0].Events = diagnosis.Read[[]diagnosis.Event]{Err: errForbidden} }, "events", "cannot be listed"},
		{"no events", func(s *snapshot) { s.Asked[0].Events.Value = nil }, "events", "there is none"},
		{"an old refusal", func(s *snapshot) {
			s.Asked[0].Events.Value = []diagnosis.Event{{Warning: true, Reason: v1.ReasonRoleForbidden, Note: "may not", At: now.Add(-time.Minute)}}
		}, "events", "which is over: may not"},
		{"a failure before the last issue", func(s *snapshot) {
			s.Asked[0].Events.Value = []diagnosis.Event{{Warning: true, Reason: v1.ReasonGetCredentialsFailed, Note: "throttled", At: now.Add(-20 * time.Minute)}}
		}, "events", "which is over: throttled"},
		{"Deployments", func(s *snapshot) { s.Deployment = diagnosis.Read[*appsv1.Deployment]{Err: errForbidden} }, "controller", "you may not list Deployments"},
		{"Leases", func(s *snapshot) { s.Lease = diagnosis.Read[*coordinationv1.Lease]{Err: errForbidden} }, "Lease", "you may not read Leases"},
		{"a controller without --leader-elect", func(s *snapshot) { s.Settings.LeaderElect = false }, "Lease", "not used"},
		{"the seed", func(s *snapshot) {
			s.Settings.Seed = types.NamespacedName{Namespace: "kube-system", Name: "seed"}
			s.Seed.Err = errForbidden
		}, "seed", "you may not read Secret kube-system/seed"},
		{"the node's Lease", func(s *snapshot) { s.Node = diagnosis.Read[*coordinationv1.Lease]{Err: errForbidden} }, "clock", "you may not read the Lease of node node-1"},
		{"no node", func(s *snapshot) { s.Pod.Spec.NodeName = "" }, "clock", "there is no node"},
		{"a pod that has ended", func(s *snapshot) { s.Pod.Status.Phase, s.Asked = corev1.PodSucceeded, nil }, "request", "asks for nothing any more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := working(t)
			c.change(s)
			r := diagnosis.Explain(s)
			if got := find(t, r, c.check); got.Status != diagnosis.Unknown || !strings.Contains(got.Message, c.message) {
				t.Errorf("%+v", got)
			}
			if !r.Works() {
				t.Errorf("next is %s", r.Next)
			}
		})
	}
}

// TestExplain_WithoutBase is a request by name where the base role ARN is not known.
func TestExplain_WithoutBase(t *testing.T) {
	s := working(t)
	s.Asked[0].Role, s.Settings.Base = role.ARN{}, role.Base{}
	if got := find(t, diagnosis.Explain(s), "name"); got.Status != diagnosis.Passed || !strings.Contains(got.Message, "--base-role-arn") {
		t.Errorf("%+v", got)
	}
	s.Asked[0].Decision.Value = authorization.Decision{Reason: "may not", Hint: "kubectl create"}
	if got := find(t, diagnosis.Explain(s), "right"); got.Status != diagnosis.Failed || !strings.Contains(got.Message, "base role ARN is not known") {
		t.Errorf("%+v", got)
	}
}
