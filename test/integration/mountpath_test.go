package integration_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	corev1 "k8s.io/api/core/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/request"
)

// putFiles writes a Secret's files to a directory, as the kubelet does.
func putFiles(t *testing.T, s *corev1.Secret, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range s.Data {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// accessKeyFrom returns the access key ID that the SDK gets by the credentials.process of a
// directory.
func accessKeyFrom(t *testing.T, dir string) string {
	t.Helper()
	profile, err := config.LoadSharedConfigProfile(t.Context(), "default", func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{filepath.Join(dir, "credentials.process")}, []string{}
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := processcreds.NewProvider(profile.CredentialProcess).Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.AccessKeyID
}

// A container has three roles, each in a directory of its own, and one process uses them all.
func TestMountPath_SeveralRolesInOneContainer(t *testing.T) {
	w := newTestEnv(t)
	base := t.TempDir()
	places := map[string]string{"aws-iam-orders": base + "/aws-iam", "reports": base + "/reports", "aws-iam.invoices": base + "/invoices"}
	w.start(noRenewal, func(o *app.Options) { o.MountPath = places["aws-iam-orders"] })
	w.awsIAMRole("reports", "reports", func(r *v1.AWSIAMRole) { r.Annotations = annotations{request.MountPathAnnotation: places["reports"]} })
	w.serviceAccount("invoices", annotations{request.RoleAnnotation: "app", request.MountPathAnnotation: places["aws-iam.invoices"]})
	w.wait("reports") // which decides over a pod's AWSIAMRole
	options := []podOption{as("invoices")}
	for name, place := range places {
		options = append(options, mounting(name, place))
	}
	w.pod("app", options...)
	for name, place := range places {
		putFiles(t, w.wait(name), place)
	}
	for name, place := range places {
		if got, want := accessKeyFrom(t, place), accessKey(w.secret(name)); got != want {
			t.Errorf("%s gives %s, not %s of Secret %s", place, got, want, name)
		}
	}
	checkNoEvent(t, w.events(), "Warning")
}

// hasMountPath reports whether a Secret is good and its command reads from this directory.
func (w *testEnv) hasMountPath(s *corev1.Secret, dir string) bool {
	return w.isGood(s) && string(s.Data["credentials.process"]) == "[default]\ncredential_process = cat "+dir+"/credentials.json\n"
}

// The mount path follows the annotation without STS, a mistake in it changes no Secret, and pods
// that have the files elsewhere get a Warning.
func TestMountPath_FollowsTheAnnotation(t *testing.T) {
	const name = "aws-iam.orders"
	w := newTestEnv(t)
	w.start(noRenewal)
	w.serviceAccount("orders", annotations{request.RoleAnnotation: "app"})
	w.pod("before", as("orders"), mounting(name, "/meta/aws-iam"))
	before := w.wait(name)
	moveTo := func(annotation any, dir string) {
		w.annotateAccount("orders", map[string]any{request.MountPathAnnotation: annotation})
		w.eventually("files for "+dir, func() bool { return w.hasMountPath(w.secret(name), dir) })
	}
	moveTo("/meta/first", "/meta/first")
	w.event("Warning MountPathMismatch before:", name, "/meta/first", request.MountPathAnnotation)
	w.patch(w.secret(name), `{"data":{"credentials.process":"eA=="}}`)
	w.eventually("the repair", func() bool { return w.hasMountPath(w.secret(name), "/meta/first") })
	moveTo(nil, "/meta/aws-iam")
	moveTo("/meta/orders", "/meta/orders")
	w.pod("right", as("orders"), mounting(name, "/meta/orders"))
	w.pod("wrong", as("orders"), mounting(name, "/meta/aws-iam"))
	w.event("Warning MountPathMismatch wrong:", name, "/meta/orders", request.MountPathAnnotation)

	kept := w.secret(name)
	w.annotateAccount("orders", map[string]any{request.MountPathAnnotation: "/meta/$(id)"})
	w.pod("late", as("orders"), mounting(name, "/meta/orders"))
	w.event("Warning InvalidRole late:", request.MountPathAnnotation, "/meta/$(id)")
	w.checkUnchanged(kept)
	if accessKey(kept) != accessKey(before) || assumed(w.sts, "*") != 1 {
		t.Error("new credentials")
	}
	for _, start := range []string{"Warning MountPathMismatch right:", "Warning MountPathMismatch late:", "Warning SecretContested"} {
		checkNoEvent(t, w.events(), start)
	}
}
