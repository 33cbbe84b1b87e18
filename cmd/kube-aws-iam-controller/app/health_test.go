package app

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/secret"
)

func TestSourceOf(t *testing.T) {
	for _, c := range []struct {
		name   string
		labels map[string]string
		want   string
	}{
		{"aws-iam-orders", nil, "Pod"},
		{"aws-iam-orders.v2", nil, "Pod"},
		{"aws-role.0orders0", nil, "Pod"},
		{"aws-iam.orders", nil, "ServiceAccount"},
		{"aws-iam.orders.v2", nil, "ServiceAccount"},
		{"reports", map[string]string{secret.TypeLabel: secret.TypeAWSIAMRole}, "AWSIAMRole"},
		{"aws-iam-orders", map[string]string{secret.TypeLabel: secret.TypeAWSIAMRole}, "AWSIAMRole"},
	} {
		t.Run(c.name+" of "+c.want, func(t *testing.T) {
			if got := sourceOf(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: c.name, Labels: c.labels}}); got != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
}
