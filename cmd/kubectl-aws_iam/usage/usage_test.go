package usage_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
	"kube-aws-iam-controller/pkg/request"
)

var now = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// issued returns the metadata of a Secret of the controller that was issued some time ago.
func issued(name string, age time.Duration) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "payments", Name: name, Labels: map[string]string{"heritage": "kube-aws-iam-controller"},
		Annotations: map[string]string{
			"iam.amazonaws.com/role-arn":         "arn:aws:iam::123456789012:role/orders",
			"iam.amazonaws.com/secret":           "payments/" + name,
			"iam.amazonaws.com/issued-at":        now.Add(-age).Format(time.RFC3339),
			"iam.amazonaws.com/session-duration": "3600",
		},
	}}
}

func pod(name, account, secret string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: name}, Spec: corev1.PodSpec{
		ServiceAccountName: account,
		Volumes:            []corev1.Volume{{Name: "aws", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}},
	}}
}

func awsIAMRole(name, reference string) *v1.AWSIAMRole {
	return &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: name}, Spec: v1.AWSIAMRoleSpec{RoleReference: reference}}
}

func account(name, role string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "payments", Name: name, Annotations: map[string]string{request.RoleAnnotation: role},
	}}
}

func TestOf(t *testing.T) {
	const held = "arn:aws:iam::123456789012:role/orders"
	foreign := issued("aws-iam-orders", 0)
	foreign.Labels = nil
	old := issued("aws-iam-orders", 0)
	delete(old.Annotations, "iam.amazonaws.com/issued-at")
	ofResource := issued("reports", 0)
	ofResource.Labels["type"] = "awsiamrole"
	ready := awsIAMRole("reports", "reports")
	ready.Status = v1.AWSIAMRoleStatus{RoleARN: held, Expiration: &metav1.Time{Time: now.Add(time.Hour)}, AccessKeyID: "ASIAEXAMPLE"}
	for _, c := range []struct {
		name              string
		s                 usage.Snapshot
		kind, role, state string
		pods              string
	}{
		{
			"ready",
			usage.Snapshot{Secrets: []*metav1.PartialObjectMetadata{issued("aws-iam-orders", 0)}, Pods: []*corev1.Pod{pod("b", "x", "aws-iam-orders"), pod("a", "y", "aws-iam-orders")}},
			usage.KindPod, held, usage.Ready, "a b",
		},
		{"waiting", usage.Snapshot{Pods: []*corev1.Pod{pod("a", "x", "aws-iam-orders")}}, usage.KindPod, "orders", usage.Waiting, "a"},
		{
			"late",
			usage.Snapshot{Secrets: []*metav1.PartialObjectMetadata{issued("aws-iam-orders", 46*time.Minute)}, Pods: []*corev1.Pod{pod("a", "x", "aws-iam-orders")}},
			usage.KindPod, held, usage.Late, "a",
		},
		{"expired", usage.Snapshot{Secrets: []*metav1.PartialObjectMetadata{issued("aws-iam-orders", time.Hour)}}, usage.KindPod, held, usage.Expired, ""},
		{"unused", usage.Snapshot{Secrets: []*metav1.PartialObjectMetadata{issued("aws-iam-orders", 0)}}, usage.KindPod, held, usage.Unused, ""},
		{
			"of another writer",
			usage.Snapshot{Secrets: []*metav1.PartialObjectMetadata{foreign}, Pods: []*corev1.Pod{pod("a", "x", "aws-iam-orders")}},
			usage.KindPod, "orders", usage.NotManaged, "a",
		},
		{"of an older version", usage.Snapshot{Secrets: []*metav1.PartialObjectMetadata{old}, Pods: []*corev1.Pod{pod("a", "x", "aws-iam-orders")}}, usage.KindPod, held, usage.Ready, "a"},
		{"an invalid name", usage.Snapshot{Pods: []*corev1.Pod{pod("a", "x", "aws-iam-Orders")}}, usage.KindPod, "Orders", usage.Invalid, ""},
		{
			"of a ServiceAccount",
			usage.Snapshot{Accounts: []*metav1.PartialObjectMetadata{account("x", "Orders")}, Pods: []*corev1.Pod{pod("a", "x", "aws-iam.x")}},
			usage.KindServiceAccount, "Orders", usage.Waiting, "a",
		},
		{
			"of a ServiceAccount with an invalid role",
			usage.Snapshot{Accounts: []*metav1.PartialObjectMetadata{account("x", "a b")}, Pods: []*corev1.Pod{pod("a", "x", "aws-iam.x")}},
			usage.KindServiceAccount, "a b", usage.Invalid, "a",
		},
		{"of another ServiceAccount", usage.Snapshot{Pods: []*corev1.Pod{pod("a", "y", "aws-iam.x")}}, usage.KindServiceAccount, "", usage.Invalid, ""},
		{"of an AWSIAMRole", usage.Snapshot{AWSIAMRoles: []*v1.AWSIAMRole{awsIAMRole("reports", "Reports")}}, usage.KindAWSIAMRole, "Reports", usage.Waiting, ""},
		{"of an AWSIAMRole that is gone", usage.Snapshot{Secrets: []*metav1.PartialObjectMetadata{ofResource}}, usage.KindAWSIAMRole, held, usage.Unused, ""},
		{
			"an AWSIAMRole decides",
			usage.Snapshot{AWSIAMRoles: []*v1.AWSIAMRole{awsIAMRole("aws-iam-orders", "Other")}, Pods: []*corev1.Pod{pod("a", "x", "aws-iam-orders")}},
			usage.KindAWSIAMRole, "Other", usage.Waiting, "a",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.SecretsKnown = true
			got := usage.Of(&c.s, now)
			if len(got) != 1 || got[0].Kind != c.kind || got[0].Role != c.role || got[0].State != c.state || strings.Join(got[0].Pods, " ") != c.pods {
				t.Errorf("%+v", got[0])
			}
		})
	}
	for name, c := range map[string]struct {
		s     usage.Snapshot
		state string
	}{
		"a pod":                        {usage.Snapshot{Pods: []*corev1.Pod{pod("a", "x", "aws-iam-orders")}}, usage.Unknown},
		"an AWSIAMRole with a status":  {usage.Snapshot{AWSIAMRoles: []*v1.AWSIAMRole{ready}}, usage.Ready},
		"an AWSIAMRole without status": {usage.Snapshot{AWSIAMRoles: []*v1.AWSIAMRole{awsIAMRole("x", "x")}}, usage.Unknown},
	} {
		if got := usage.Of(&c.s, now); got[0].State != c.state {
			t.Errorf("without the right to Secrets, %s is %+v", name, got[0])
		}
	}
}

// A Secret that no object asks for, and that is not the controller's, is no usage, and a
// ServiceAccount without a pod has none.
func TestOf_Leaves(t *testing.T) {
	foreign := issued("aws-iam-orders", 0)
	foreign.Labels = nil
	s := &usage.Snapshot{SecretsKnown: true, Secrets: []*metav1.PartialObjectMetadata{foreign}, Accounts: []*metav1.PartialObjectMetadata{account("x", "orders")}}
	if got := usage.Of(s, now); len(got) != 0 {
		t.Errorf("%+v", got[0])
	}
}

func TestOf_Sorted(t *testing.T) {
	s := &usage.Snapshot{Pods: []*corev1.Pod{pod("a", "x", "aws-iam-b"), pod("b", "x", "aws-iam-a")}}
	s.Pods[1].Namespace = "orders"
	var names []string
	for _, u := range usage.Of(s, now) {
		names = append(names, u.Namespace+"/"+u.Secret)
	}
	if !slices.Equal(names, []string{"orders/aws-iam-a", "payments/aws-iam-b"}) {
		t.Errorf("the order is %q", names)
	}
}
