package app

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
)

// pod returns a pod of a ServiceAccount that mounts Secrets.
func (n *namespace) pod(name, account string, secrets ...string) *corev1.Pod {
	container := corev1.Container{Name: "app", Image: "app"}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: name},
		Spec:       corev1.PodSpec{ServiceAccountName: account},
	}
	for i, secret := range secrets {
		volume := fmt.Sprintf("aws-%d", i)
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: secret},
		}})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: "/meta/aws-iam"})
	}
	pod.Spec.Containers = []corev1.Container{container}
	return pod
}

// account returns a ServiceAccount that asks for a role, unless that is empty.
func (n *namespace) account(name, role string) *corev1.ServiceAccount {
	a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: name}}
	if role != "" {
		a.Annotations = map[string]string{"iam.amazonaws.com/role": role}
	}
	return a
}

func (n *namespace) awsIAMRole(name, reference string) *v1.AWSIAMRole {
	return &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: name}, Spec: v1.AWSIAMRoleSpec{RoleReference: reference}}
}

// grant creates a Role and its binding to a subject.
func (n *namespace) grant(name string, subject rbacv1.Subject, rules ...rbacv1.PolicyRule) {
	n.Helper()
	meta := metav1.ObjectMeta{Namespace: n.name, Name: name}
	n.create(&rbacv1.Role{ObjectMeta: meta, Rules: rules}, &rbacv1.RoleBinding{
		ObjectMeta: meta, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
	})
}

// grantAll gives all ServiceAccounts of the namespace the right to roles.
func (n *namespace) grantAll(roles ...string) {
	n.Helper()
	n.grant("assume", group("system:serviceaccounts:"+n.name), rbacv1.PolicyRule{
		Verbs: []string{"assume"}, APIGroups: []string{v1.GroupVersion.Group}, Resources: []string{v1.Resource}, ResourceNames: roles,
	})
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

// may returns a rule.
func may(verb, apiGroup, resource string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{apiGroup}, Resources: []string{resource}}
}
