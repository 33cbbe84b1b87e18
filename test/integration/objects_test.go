package integration_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	iamrole "kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// withoutFinalizers is a patch that lets an object be deleted.
const withoutFinalizers = `{"metadata":{"finalizers":null}}`

// create creates objects.
func (w *testEnv) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		w.must(w.Create(w.t.Context(), o))
	}
}

// read reads an object again.
func (w *testEnv) read(o client.Object) {
	w.t.Helper()
	w.must(w.Get(w.t.Context(), client.ObjectKeyFromObject(o), o))
}

// patch applies a JSON merge patch, and puts the result into o.
func (w *testEnv) patch(o client.Object, patch string) {
	w.t.Helper()
	w.must(w.Patch(w.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// annotate sets an annotation of the test's Namespace.
func (w *testEnv) annotate(annotation, value string) {
	w.t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	w.patch(n, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, annotation, value))
}

// podOption changes a pod before it is created.
type podOption func(*corev1.Pod)

// pod creates a pod that mounts the Secrets of roles, one volume each.
func (w *testEnv) pod(name string, options ...podOption) *corev1.Pod {
	w.t.Helper()
	p := newPod(w.namespace, name, options...)
	w.create(p)
	return p
}

// deletePod deletes a pod at once.
func (w *testEnv) deletePod(name string) {
	w.t.Helper()
	w.must(w.Delete(w.t.Context(), newPod(w.namespace, name), client.GracePeriodSeconds(0)))
}

// newPod returns a pod without volumes if no option adds one.
func newPod(namespace, name string, options ...podOption) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example/app:1"}}},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

// mounting adds a volume of a Secret and mounts it at a path.
func mounting(secretName, path string) podOption {
	return func(p *corev1.Pod) {
		volume := fmt.Sprintf("volume-%d", len(p.Spec.Volumes))
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: secretName},
		}})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: path})
	}
}

// role mounts the Secret of a role where it belongs.
func role(name string) podOption { return mounting("aws-iam-"+name, "/meta/aws-iam") }

// as runs a pod under a ServiceAccount.
func as(serviceAccount string) podOption {
	return func(p *corev1.Pod) { p.Spec.ServiceAccountName = serviceAccount }
}

// awsIAMRole creates an AWSIAMRole.
func (w *testEnv) awsIAMRole(name, reference string, change ...func(*v1.AWSIAMRole)) *v1.AWSIAMRole {
	w.t.Helper()
	r := newAWSIAMRole(w.namespace, name, reference)
	for _, f := range change {
		f(r)
	}
	w.create(r)
	return r
}

func newAWSIAMRole(namespace, name, reference string) *v1.AWSIAMRole {
	return &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1.AWSIAMRoleSpec{RoleReference: reference}}
}

// large gives an AWSIAMRole n labels, an annotation of a size and a finalizer.
func large(n, annotation int) func(*v1.AWSIAMRole) {
	return func(r *v1.AWSIAMRole) {
		r.Labels = map[string]string{}
		for i := range n {
			r.Labels[fmt.Sprint("example.org/label-", i)] = "value"
		}
		r.Annotations = map[string]string{"example.org/annotation": strings.Repeat("a", annotation)}
		r.Finalizers = []string{"example.org/finalizer"}
	}
}

// grant allows a subject to assume a role by its name or ARN, until the returned binding is
// deleted.
func (w *testEnv) grant(roleName string, subject rbacv1.Subject) *rbacv1.RoleBinding {
	w.t.Helper()
	role, binding := newRole(w.namespace, "assume-"+rand.String(10), assume(roleName), subject)
	w.create(role, binding)
	return binding
}

// assume is the right to assume roles by their names or ARNs, or every role if none is given.
func assume(roleNames ...string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{"zalando.org"}, Resources: []string{"awsiamroles"}, Verbs: []string{"assume"}, ResourceNames: roleNames}}
}

// newRole returns a Role, and its binding to a subject.
func newRole(namespace, name string, rules []rbacv1.PolicyRule, subject rbacv1.Subject) (*rbacv1.Role, *rbacv1.RoleBinding) {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	return &rbacv1.Role{ObjectMeta: meta, Rules: rules},
		&rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}
}

// newClusterRole returns a ClusterRole, and its binding to subjects.
func newClusterRole(name string, rules []rbacv1.PolicyRule, subjects ...rbacv1.Subject) (*rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding) {
	meta := metav1.ObjectMeta{Name: name}
	return &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}}
}

func serviceAccount(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
}

func everyServiceAccount(namespace string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:" + namespace}
}

func newServiceAccount(namespace, name string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// token returns a new token of a ServiceAccount, for the API server if no audience is given.
func (w *testEnv) token(serviceAccount string, life time.Duration, audiences ...string) string {
	w.t.Helper()
	seconds := int64(life.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds}}
	w.must(w.SubResource("token").Create(w.t.Context(), newServiceAccount(w.namespace, serviceAccount), request))
	return request.Status.Token
}

// newUpstreamSecret returns a Secret exactly as zalando-incubator/kube-aws-iam-controller writes
// it: no annotations, fewer keys, for an AWSIAMRole one more.
func newUpstreamSecret(namespace, name, roleName string, expires time.Time, owner *v1.AWSIAMRole) *corev1.Secret {
	at := expires.UTC().Format(time.RFC3339)
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"heritage": "kube-aws-iam-controller"}},
		Data: map[string][]byte{
			"expire":              []byte(at),
			"role-arn":            []byte("arn:aws:iam::" + account + ":role/" + roleName),
			"credentials":         []byte("[default]\naws_access_key_id = ASIAUPSTREAM\naws_secret_access_key = s\naws_session_token = t\naws_expiration = " + at + "\n"),
			"credentials.process": []byte("[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n"),
			"credentials.json":    []byte(`{"Version":1,"AccessKeyId":"ASIAUPSTREAM","SecretAccessKey":"s","SessionToken":"t","Expiration":"` + at + `"}`),
		},
	}
	if owner != nil {
		s.Labels["type"] = "awsiamrole"
		s.Data["awsiamrole-generation"] = []byte("1")
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: owner.Name, UID: owner.UID}}
	}
	return s
}

// newStraySecret returns a Secret of the controller's own that no pod asks for, with credentials of
// that age, which live an hour.
func newStraySecret(tb testing.TB, namespace, roleName string, age time.Duration) *corev1.Secret {
	tb.Helper()
	arn, err := iamrole.ParseARN("arn:aws:iam::" + account + ":role/" + roleName)
	if err != nil {
		tb.Fatal(err)
	}
	issued := time.Now().Add(-age)
	name := "aws-iam-" + roleName
	target := secret.Target{
		Name: types.NamespacedName{Namespace: namespace, Name: name}, Files: secret.Files{MountPath: "/meta/aws-iam", Region: region},
		Session: credentials.Session{Role: arn, Name: "test." + namespace + "." + name, Duration: time.Hour},
	}
	return secret.Render(target, credentials.Credentials{
		AccessKeyID: "ASIASTRAY", SecretAccessKey: credentials.Redact("stray-key"), SessionToken: credentials.Redact("stray-token"), Issued: issued, Expires: issued.Add(time.Hour),
	}, nil)
}
