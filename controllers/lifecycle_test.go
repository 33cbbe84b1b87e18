package controllers_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/secret"
)

func TestAPodGetsCredentials(t *testing.T) {
	w := newWorld(t)
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

func TestPodsThatWereThereBefore(t *testing.T) {
	w := newWorld(t)
	w.pod("early", role("orders"))
	w.start()
	w.wait("aws-iam-orders")
}

func TestManyPodsShareOneSecret(t *testing.T) {
	w := newWorld(t)
	w.start()
	names := []string{"a", "b", "c", "d", "e", "f"}
	for _, name := range names {
		w.pod(name, role("orders"))
	}
	w.wait("aws-iam-orders")
	w.pod("late", role("orders"), mounting("aws-iam-second", "/second"))
	w.wait("aws-iam-second")
	if n := w.assumed("*"); n != 2 {
		t.Errorf("%d calls of AssumeRole for two Secrets", n)
	}

	for _, name := range names {
		w.delete(name)
	}
	w.pod("another", role("third"))
	w.wait("aws-iam-third")
	if !w.good("aws-iam-orders") {
		t.Error("the Secret is gone although one pod still wants it")
	}
}

// Pods that come while their Secret is being written must not cost another session: each look at the Secrets sees what was written before.
func TestABurstOfPodsIsOneCallForEachSecret(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *controllers.Options) { o.MaxConcurrentReconciles = 64 })
	const pods, secrets = 200, 40
	var creating sync.WaitGroup
	for worker := range 10 {
		creating.Go(func() {
			for i := worker; i < pods; i += 10 {
				name := fmt.Sprintf("role-%d", i*secrets/pods)
				if err := w.Create(t.Context(), w.newPod(fmt.Sprintf("pod-%d", i), role(name))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	creating.Wait()
	for i := range secrets {
		w.wait(fmt.Sprintf("aws-iam-role-%d", i))
	}
	if n := w.assumed("*"); n != secrets {
		t.Errorf("%d calls of AssumeRole for %d Secrets", n, secrets)
	}
	for _, line := range w.events() {
		if strings.Contains(line, "Warning") {
			t.Error(line)
		}
	}
}

func TestTwoRolesInOnePod(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pod("app", role("orders"), mounting("aws-iam-reports", "/meta/aws-iam-reports"))
	w.wait("aws-iam-orders")
	w.wait("aws-iam-reports")
	w.event("Warning MountPathMismatch app:", "aws-iam-reports", "/meta/aws-iam")
}

func TestProjectedVolumeAndEnvironment(t *testing.T) {
	w := newWorld(t)
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
	for _, line := range w.events() {
		if strings.Contains(line, "MountPathMismatch") {
			t.Error(line)
		}
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	w.sts.SetSessionLifetime(6 * time.Second)
	w.start()
	w.pod("app", role("orders"))
	for s, round := w.wait("aws-iam-orders"), 0; round < 3; round++ {
		next := w.waitOther(s)
		before, _ := secret.Read(s)
		if now := time.Now(); now.After(before.UsableUntil()) {
			t.Errorf("renewed at %s, when the old ones could be used only until %s", now, before.UsableUntil())
		}
		if next.UID != s.UID {
			t.Error("the Secret was made anew")
		}
		s = next
	}
}

func TestATamperedSecretIsRestored(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pod("app", role("orders"))
	for _, edit := range []struct {
		what   string
		change func(*corev1.Secret)
	}{
		{"a key is changed", func(s *corev1.Secret) {
			s.Data["credentials.process"] = []byte("[default]\ncredential_process = rm -rf /\n")
		}},
		{"a key is removed", func(s *corev1.Secret) { delete(s.Data, "container.json") }},
		{"everything is removed", func(s *corev1.Secret) { s.Data = nil }},
		{"it does not say when it expires", func(s *corev1.Secret) { s.Data["expire"] = []byte("tomorrow") }},
		{"an annotation tells another role", func(s *corev1.Secret) { s.Annotations[secret.RoleARNAnnotation] = "arn:aws:iam::1:role/x" }},
	} {
		s := w.wait("aws-iam-orders")
		edit.change(s)
		w.must(w.Update(t.Context(), s))
		w.eventually(edit.what, func() bool {
			now := w.secret("aws-iam-orders")
			c, err := secret.Read(now)
			return err == nil && w.good("aws-iam-orders") && len(now.Data) == 7 && now.UID == s.UID &&
				strings.Contains(string(now.Data["credentials.process"]), "cat /meta/aws-iam") && now.Annotations[secret.AccessKeyIDAnnotation] == c.AccessKeyID &&
				now.Annotations[secret.RoleARNAnnotation] == string(now.Data["role-arn"])
		})
	}
}

func TestWhatOthersAddStays(t *testing.T) {
	w := newWorld(t)
	w.sts.SetSessionLifetime(12 * time.Second)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	w.must(w.Patch(t.Context(), s.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"team":"a"},"annotations":{"note":"b"}}}`))))
	s = w.waitOther(s)
	if s.Labels["team"] != "a" || s.Annotations["note"] != "b" {
		t.Errorf("labels %v, annotations %v", s.Labels, s.Annotations)
	}
}

func TestASecretThatNobodyWantsIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	w.delete("app")
	w.waitGone("aws-iam-orders")

	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
}

func TestASecretThatWasUnusedBeforeTheStart(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	stop()
	w.delete("app")
	w.start()
	w.waitGone("aws-iam-orders")
}

func TestTheGracePeriodOutlivesARestartOfThePod(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *controllers.Options) { o.UnusedGracePeriod = time.Hour })
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	w.delete("app")
	w.pod("app", role("orders"), mounting("aws-iam-other", "/other"))
	w.wait("aws-iam-other")
	if now := w.secret("aws-iam-orders"); now == nil || accessKey(now) != accessKey(s) {
		t.Error("the Secret did not stay as it was")
	}
}

func TestFinishedPodsWantNothingAndTerminatingPodsDo(t *testing.T) {
	w := newWorld(t)
	w.start()
	finished := w.pod("job", role("batch"))
	terminating := w.pod("server", role("orders"), func(p *corev1.Pod) { p.Finalizers = []string{"example.org/drain"} })
	w.wait("aws-iam-batch")
	w.wait("aws-iam-orders")

	finished.Status.Phase = corev1.PodSucceeded
	w.must(w.Status().Update(t.Context(), finished))
	w.delete("server")
	w.waitGone("aws-iam-batch")
	if !w.good("aws-iam-orders") {
		t.Error("the Secret of a terminating pod is gone")
	}
	w.must(w.Patch(t.Context(), terminating, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
	w.waitGone("aws-iam-orders")
}

// A controller that is killed leaves everything as it is, and the next one takes it up without a call or a write.
func TestRestartInTheMiddle(t *testing.T) {
	w := newWorld(t)
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
		if now := w.secret(old.Name); now == nil || now.ResourceVersion != old.ResourceVersion {
			t.Errorf("Secret %s was written", old.Name)
		}
	}
	if n := w.assumed("*"); n != 4 {
		t.Errorf("%d calls of AssumeRole for 4 Secrets", n)
	}
}

func TestLeaderHandover(t *testing.T) {
	w := newWorld(t)
	elect := func(o *controllers.Options) { o.LeaderElect = true }
	stop := w.start(elect)
	w.pod("a", role("first"))
	w.wait("aws-iam-first")
	w.start(elect)

	stopped := time.Now()
	stop()
	w.pod("b", role("second"))
	w.wait("aws-iam-second")
	t.Logf("the other served %s after the first was stopped", time.Since(stopped))
	if n := w.assumed("*"); n != 2 {
		t.Errorf("%d calls of AssumeRole for two Secrets", n)
	}
}

func TestTheWholeClusterIsServedWithoutNamespaces(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *controllers.Options) { o.Namespaces = nil })
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
}
