package integration_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/secret"
)

func TestPod_GetsCredentials(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")

	if s.Labels[secret.OwnerLabel] != secret.OwnerValue {
		t.Error("the label is missing")
	}
	call := w.sts.Calls()[len(w.sts.Calls())-1]
	if want := "test." + w.namespace + ".aws-iam-orders"; call.SessionName != want || call.Duration != time.Hour {
		t.Errorf("asked for session %q of %s, not %q of an hour", call.SessionName, call.Duration, want)
	}
	w.event("Normal CreateCredentials app:", `Secret "aws-iam-orders"`, "arn:aws:iam::"+account+":role/orders")
}

func TestPod_CreatedBeforeTheStart(t *testing.T) {
	w := newTestEnv(t)
	w.pod("early", role("orders"))
	w.start()
	w.wait("aws-iam-orders")
}

func TestPod_ManyShareOneSecret(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	names := []string{"a", "b", "c", "d", "e", "f"}
	for _, name := range names {
		w.pod(name, role("orders"))
	}
	w.wait("aws-iam-orders")
	w.pod("late", role("orders"), mounting("aws-iam-second", "/second"))
	w.wait("aws-iam-second")
	if n := assumed(w.sts, "*"); n != 2 {
		t.Errorf("%d calls of AssumeRole for two Secrets", n)
	}

	for _, name := range names {
		w.deletePod(name)
	}
	w.pod("another", role("third"))
	w.wait("aws-iam-third")
	if !w.isGood(w.secret("aws-iam-orders")) {
		t.Error("the Secret is gone although one pod still wants it")
	}
}

// Pods that come while their Secret is being written must not cost another session: each look at
// the Secrets sees what was written before.
func TestSTS_OneCallPerSecretInABurst(t *testing.T) {
	w := newTestEnv(t)
	w.start(func(o *app.Options) { o.MaxConcurrentReconciles = 64 })
	const pods, secrets = 200, 40
	var creating sync.WaitGroup
	for worker := range 10 {
		creating.Go(func() {
			for i := worker; i < pods; i += 10 {
				name := fmt.Sprintf("role-%d", i*secrets/pods)
				if err := w.Create(t.Context(), newPod(w.namespace, fmt.Sprintf("pod-%d", i), role(name))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	creating.Wait()
	for i := range secrets {
		w.wait(fmt.Sprintf("aws-iam-role-%d", i))
	}
	if n := assumed(w.sts, "*"); n != secrets {
		t.Errorf("%d calls of AssumeRole for %d Secrets", n, secrets)
	}
	checkNoEvent(t, w.events(), "Warning")
}

func TestPod_TwoRoles(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", role("orders"), mounting("aws-iam-reports", "/meta/aws-iam-reports"))
	w.wait("aws-iam-orders")
	w.wait("aws-iam-reports")
	w.event("Warning MountPathMismatch app:", "aws-iam-reports", "/meta/aws-iam")
}

func TestPod_ProjectedVolumeAndEnvironment(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "aws-iam-orders"}}}},
		}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "all", MountPath: "/meta/aws-iam"}}
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "aws-iam-legacy"},
		}}}
	})
	w.wait("aws-iam-orders")
	w.wait("aws-iam-legacy")
	w.event("Warning NeverRefreshed app:", "aws-iam-legacy", `container "main"`)
	checkNoEvent(t, w.events(), "Warning MountPathMismatch")
}

func TestRenewal_InTime(t *testing.T) {
	w := newTestEnv(t)
	w.sts.SetSessionLifetime(6 * time.Second)
	w.start()
	w.pod("app", role("orders"))
	for s, round := w.wait("aws-iam-orders"), 0; round < 3; round++ {
		next := w.waitOther(s)
		before := credentialsOf(t, s)
		if now := time.Now(); now.After(before.UsableUntil()) {
			t.Errorf("renewed at %s, when the old ones could be used only until %s", now, before.UsableUntil())
		}
		if next.UID != s.UID {
			t.Error("the Secret was created again")
		}
		s = next
	}
}

func TestSecret_TamperedIsRestored(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", role("orders"))
	for _, edit := range []struct {
		what   string
		change func(*corev1.Secret)
	}{
		{"changed key", func(s *corev1.Secret) {
			s.Data["credentials.process"] = []byte("[default]\ncredential_process = rm -rf /\n")
		}},
		{"missing key", func(s *corev1.Secret) { delete(s.Data, "container.json") }},
		{"no data", func(s *corev1.Secret) { s.Data = nil }},
		{"invalid expiry", func(s *corev1.Secret) { s.Data["expire"] = []byte("tomorrow") }},
		{"annotation with another role", func(s *corev1.Secret) { s.Annotations[secret.RoleARNAnnotation] = "arn:aws:iam::1:role/x" }},
	} {
		s := w.wait("aws-iam-orders")
		edit.change(s)
		w.must(w.Update(t.Context(), s))
		w.eventually(edit.what, func() bool {
			now := w.secret("aws-iam-orders")
			c, err := secret.Read(now)
			return err == nil && w.isGood(w.secret("aws-iam-orders")) && len(now.Data) == 8 && now.UID == s.UID &&
				strings.Contains(string(now.Data["credentials.process"]), "cat /meta/aws-iam") && now.Annotations[secret.AccessKeyIDAnnotation] == c.AccessKeyID &&
				now.Annotations[secret.RoleARNAnnotation] == string(now.Data["role-arn"])
		})
	}
}

func TestSecret_KeepsMetadataOfOtherWriters(t *testing.T) {
	w := newTestEnv(t)
	w.sts.SetSessionLifetime(12 * time.Second)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	w.patch(s.DeepCopy(), `{"metadata":{"labels":{"team":"a"},"annotations":{"note":"b"}}}`)
	s = w.waitOther(s)
	if s.Labels["team"] != "a" || s.Annotations["note"] != "b" {
		t.Errorf("labels %v, annotations %v", s.Labels, s.Annotations)
	}
}

func TestSecret_DeletedWhenUnused(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	w.deletePod("app")
	w.waitGone("aws-iam-orders")

	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
}

func TestSecret_UnusedAtStartIsDeleted(t *testing.T) {
	w := newTestEnv(t)
	stop := w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	stop()
	w.deletePod("app")
	w.start()
	w.waitGone("aws-iam-orders")
}

func TestSecret_GracePeriodCoversAPodRestart(t *testing.T) {
	w := newTestEnv(t)
	w.start(func(o *app.Options) { o.UnusedGracePeriod = time.Hour })
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	w.deletePod("app")
	w.pod("app", role("orders"), mounting("aws-iam-other", "/other"))
	w.wait("aws-iam-other")
	if now := w.secret("aws-iam-orders"); now == nil || accessKey(now) != accessKey(s) {
		t.Error("the Secret did not stay as it was")
	}
}

func TestPod_FinishedReleasesSecretTerminatingKeepsIt(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	finished := w.pod("job", role("batch"))
	terminating := w.pod("server", role("orders"), func(p *corev1.Pod) { p.Finalizers = []string{"example.org/drain"} })
	w.wait("aws-iam-batch")
	w.wait("aws-iam-orders")

	finished.Status.Phase = corev1.PodSucceeded
	w.must(w.Status().Update(t.Context(), finished))
	w.deletePod("server")
	w.waitGone("aws-iam-batch")
	if !w.isGood(w.secret("aws-iam-orders")) {
		t.Error("the Secret of a terminating pod is gone")
	}
	w.patch(terminating, withoutFinalizers)
	w.waitGone("aws-iam-orders")
}

// A controller that is killed leaves everything as it is, and the next one takes it up without a
// call or a write.
func TestReconcile_RestartCausesNoWrites(t *testing.T) {
	w := newTestEnv(t)
	stop := w.start()
	for _, name := range []string{"a", "b", "c"} {
		w.pod(name, role("role-"+name))
		w.wait("aws-iam-role-" + name)
	}
	stop()
	var before corev1.SecretList
	w.must(w.List(t.Context(), &before, client.InNamespace(w.namespace)))
	w.pod("d", role("role-d"))

	w.start()
	w.wait("aws-iam-role-d")
	for _, old := range before.Items {
		w.checkUnchanged(&old)
	}
	if n := assumed(w.sts, "*"); n != 4 {
		t.Errorf("%d calls of AssumeRole for 4 Secrets", n)
	}
}

func TestLease_HandoverCostsNoSecondSession(t *testing.T) {
	w := newTestEnv(t)
	stop := w.start(electing)
	w.pod("a", role("first"))
	w.wait("aws-iam-first")
	w.start(electing)

	stopped := time.Now()
	stop()
	w.pod("b", role("second"))
	w.wait("aws-iam-second")
	t.Logf("the other served %s after the first was stopped", time.Since(stopped))
	if n := assumed(w.sts, "*"); n != 2 {
		t.Errorf("%d calls of AssumeRole for two Secrets", n)
	}
}

func TestNamespaces_AllWithoutTheFlag(t *testing.T) {
	w := newTestEnv(t)
	w.start(func(o *app.Options) { o.Namespaces = nil })
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
}
