package integration_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret"
	ststest "kube-aws-iam-controller/test/sts"
)

func TestSTS_AccessDeniedThenGranted(t *testing.T) {
	w := newTestEnv(t)
	const arn = "arn:aws:iam::" + account + ":role/orders"
	w.sts.Deny(arn)
	w.start()
	w.pod("app", role("orders"))
	w.event("Warning GetCredentialsFailed app:", arn, "arn:aws:iam::"+account+":user/controller", "trust policy", "AccessDenied")

	w.pod("other", role("reports"))
	w.wait("aws-iam-reports")
	if w.secret("aws-iam-orders") != nil {
		t.Error("a Secret without credentials")
	}
	w.pod("late", role("orders"))
	w.event("Warning GetCredentialsFailed late:", arn)

	w.sts.Allow(arn)
	w.wait("aws-iam-orders")
}

// One denied role of many pods causes one call of STS at a time, and one event for each pod.
func TestSTS_DeniedRoleCausesFewCalls(t *testing.T) {
	w := newTestEnv(t)
	w.sts.Deny("arn:aws:iam::" + account + ":role/orders")
	w.start()
	w.pod("first", role("orders"))
	w.event("Warning GetCredentialsFailed first:")
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		w.pod(name, role("orders"))
		w.event("Warning GetCredentialsFailed " + name + ":")
	}
	if n := assumed(w.sts, "AccessDenied"); n > 5 {
		t.Errorf("%d calls", n)
	}
	counts := map[string]int{}
	for _, line := range w.events() {
		counts[line]++
	}
	for line, n := range counts {
		if n > 1 {
			t.Errorf("%d events: %s", n, line)
		}
	}
}

func TestSTS_DownDeletesSecretsOnceExpired(t *testing.T) {
	w := newTestEnv(t)
	w.sts.SetSessionLifetime(8 * time.Second)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	w.sts.SetFault(ststest.ConnectionReset)
	w.pod("new", role("reports"))
	w.event("Warning GetCredentialsFailed new:", "reports")

	held := credentialsOf(t, s)
	w.waitGone("aws-iam-orders")
	if gone := time.Now(); gone.Before(held.UsableUntil()) {
		t.Errorf("removed at %s, though usable until %s", gone, held.UsableUntil())
	}
	w.event("Warning GetCredentialsFailed app:", "orders")

	w.sts.SetFault(ststest.NoFault)
	w.wait("aws-iam-orders")
	w.wait("aws-iam-reports")
}

func TestSTS_TransientErrorsAreRetried(t *testing.T) {
	for fault, calls := range map[ststest.Fault]int{ // as many as the SDK itself tries
		ststest.Throttled: 3, ststest.InternalFailure: 3, ststest.ServiceUnavailable: 3, ststest.NotXML: 1,
	} {
		t.Run(fault.String(), func(t *testing.T) {
			w := newTestEnv(t)
			w.start()
			w.pod("app", role("orders"))
			w.wait("aws-iam-orders")
			w.sts.FaultNext(calls, fault)
			w.pod("other", role("reports"))
			w.wait("aws-iam-reports")
		})
	}
}

// Responses that a correct STS never sends are not written to a Secret.
func TestSTS_IncompleteOrExpiredCredentialsAreNotWritten(t *testing.T) {
	for _, fault := range []ststest.Fault{ststest.MissingCredentials, ststest.MissingExpiration, ststest.AlreadyExpired} {
		t.Run(fault.String(), func(t *testing.T) {
			w := newTestEnv(t)
			w.start()
			w.pod("first", role("first"))
			w.wait("aws-iam-first")
			w.sts.SetFault(fault)
			w.pod("app", role("orders"))
			w.event("Warning GetCredentialsFailed app:", "incomplete or have expired")
			if s := w.secret("aws-iam-orders"); s != nil {
				t.Errorf("written: %v", s.Annotations)
			}
			w.sts.SetFault(ststest.NoFault)
			w.wait("aws-iam-orders")
		})
	}
}

func TestSecret_OfAnotherWriterIsLeftAlone(t *testing.T) {
	w := newTestEnv(t)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "aws-iam-orders", Labels: map[string]string{"heritage": "helm"}}, StringData: map[string]string{"mine": "yes"}}
	w.create(theirs)
	w.start()
	w.pod("app", role("orders"))
	w.event("Warning SecretNotManaged app:", "kubectl label secret --namespace "+w.namespace+" aws-iam-orders heritage=kube-aws-iam-controller")
	w.pod("late", role("orders"))
	w.event("Warning SecretNotManaged late:")
	calls := assumed(w.sts, "*")

	w.checkUnchanged(theirs)
	w.deletePod("app")
	w.deletePod("late")
	w.pod("other", role("other"))
	w.wait("aws-iam-other")
	w.checkUnchanged(theirs)

	w.pod("app", role("orders"))
	w.event("Warning SecretNotManaged app:")
	if calls != 0 {
		t.Errorf("%d calls of STS for a Secret that cannot be written", calls)
	}
	w.patch(theirs, `{"metadata":{"labels":{"heritage":"`+secret.OwnerValue+`"}}}`)
	s := w.wait("aws-iam-orders")
	if s.UID != theirs.UID || s.Data["mine"] != nil {
		t.Errorf("it was not taken over in place: UID %s and not %s, data %v", s.UID, theirs.UID, s.Data["mine"])
	}
}

func TestSecret_WithoutLabelIsLeftAlone(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	delete(s.Labels, secret.OwnerLabel)
	w.must(w.Update(t.Context(), s))
	w.event("Warning SecretNotManaged app:")
	w.checkUnchanged(s)
}

func TestPod_InvalidRoleNamesAreReported(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	for name, secretName := range map[string]string{
		"nothing": "aws-iam-", "upper": "aws-iam-Orders", "plus": "aws-iam-a+b", "path": "aws-iam-a/b", "dots": "aws-iam-a..b",
		"long": "aws-iam-" + strings.Repeat("a", 65), "hostile": "aws-iam-$(reboot)",
	} {
		w.pod(name, mounting(secretName, "/meta/aws-iam"))
		w.event("Warning InvalidRole "+name+":", secretName[len("aws-iam-"):])
	}
	if n := assumed(w.sts, "*"); n != 0 {
		t.Errorf("%d calls of AssumeRole", n)
	}
}

func TestSecret_ImmutableIsReported(t *testing.T) {
	w := newTestEnv(t)
	w.sts.SetSessionLifetime(10 * time.Second)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	immutable := true
	s.Immutable = &immutable
	w.must(w.Update(t.Context(), s))
	w.event("Warning UpdateSecretFailed app:", "immutable", "kubectl delete secret --namespace "+w.namespace+" aws-iam-orders")
	w.waitOther(s)
}

// Another writer writes to the Secret again and again while the controller wants to write, too.
func TestSecret_ConflictsOnWriteAreRetried(t *testing.T) {
	w := newTestEnv(t)
	w.sts.SetSessionLifetime(6 * time.Second)
	w.sts.SetLatency(50 * time.Millisecond)
	w.start()
	w.pod("app", role("orders"))
	first := w.wait("aws-iam-orders")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var edits atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			s := w.secret("aws-iam-orders")
			if s == nil {
				t.Error("it is gone")
				return
			}
			if s.Annotations["edits"] = time.Now().String(); w.Update(context.Background(), s) == nil {
				edits.Add(1)
			}
			time.Sleep(30 * time.Millisecond)
		}
	}()
	w.waitOther(first)
	cancel()
	<-done
	w.wait("aws-iam-orders")
	if edits.Load() == 0 {
		t.Error("nothing was tried")
	}
	checkNoEvent(t, w.events(), "Warning")
}

func TestIdentity_MissingIsReportedUntilAvailable(t *testing.T) {
	w := newTestEnv(t)
	file := filepath.Join(t.TempDir(), "credentials")
	w.must(os.WriteFile(file, nil, 0o600))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	w.start()
	w.pod("app", role("orders"))
	w.event("Warning GetCredentialsFailed app:", "no AWS credentials of its own", "AWS_WEB_IDENTITY_TOKEN_FILE")

	w.must(os.WriteFile(file, credentialsFile(w.keys), 0o600))
	w.wait("aws-iam-orders")
}

// credentialsFile returns the content of a shared credentials file.
func credentialsFile(k ststest.Keys) []byte {
	return []byte("[default]\naws_access_key_id = " + k.AccessKeyID + "\naws_secret_access_key = " + k.SecretAccessKey + "\n")
}

func TestIdentity_ExpiredIsReplaced(t *testing.T) {
	w := newTestEnv(t)
	file := filepath.Join(t.TempDir(), "credentials")
	w.must(os.WriteFile(file, credentialsFile(w.keys), 0o600))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")

	w.sts.Revoke(w.keys.AccessKeyID)
	w.must(os.WriteFile(file, credentialsFile(w.sts.AddUser(account, "successor")), 0o600))
	w.pod("new", role("reports"))
	w.wait("aws-iam-reports")
}

// A role that assumes roles gets an hour at most: more is not asked for.
func TestSession_RoleChainingLimitsDuration(t *testing.T) {
	w := newTestEnv(t)
	useInstanceRole(t, w.sts)
	w.start(func(o *app.Options) { o.Sessions.Duration = 12 * time.Hour })
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	w.eventually("a warning in the log", func() bool { return strings.Contains(written.String(), "role chaining") })
}

// While new pods come all the time and STS is slow, what is due is renewed; and while thousands are
// due, new pods are served first.
func TestRenewal_NotStarvedByNewPods(t *testing.T) {
	w := newTestEnv(t)
	w.sts.SetSessionLifetime(12 * time.Second)
	aws, err := credentials.New(t.Context(), credentials.Options{QPS: 4, Now: time.Now})
	w.must(err)
	w.start(func(o *app.Options) { o.Credentials, o.MaxConcurrentReconciles = aws, 1 })
	w.pod("steady", role("steady"))
	s := w.wait("aws-iam-steady")

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			name := "new-" + time.Now().Format("150405.000000")
			w.pod(name, role(strings.ReplaceAll(name, ".", "-")))
			time.Sleep(50 * time.Millisecond)
		}
	}()
	w.waitOther(s)
	cancel()
	<-done
	if s := w.secret("aws-iam-steady"); s.UID == "" {
		t.Error("it was created again")
	}
}

func TestProbes_ReadyWhileSTSIsDown(t *testing.T) {
	w := newTestEnv(t)
	health := freeAddress(t)
	w.start(func(o *app.Options) { o.HealthAddress = health })
	w.sts.SetFault(ststest.ServiceUnavailable)
	w.eventually("ready, whatever STS does", func() bool {
		return ready(t.Context(), health) && probe(t.Context(), health, "/healthz") == http.StatusOK
	})

	w.pod("app", role("orders"))
	w.event("Warning GetCredentialsFailed app:")
	w.sts.SetFault(ststest.NoFault)
	s := w.wait("aws-iam-orders")
	held := credentialsOf(t, s)
	w.eventually("metrics of the Secret", func() bool {
		return w.metric("credentials_expiration_timestamp_seconds", "namespace", w.namespace, "secret", "aws-iam-orders") == float64(held.Expires.Unix()) &&
			w.metric("secrets", "source", "Pod") == 1 &&
			w.metric("issue_duration_seconds", "reason", "new") == 1 &&
			w.metric("sts_requests_total", "operation", "AssumeRole", "code", "OK") == 1 &&
			w.metric("sts_requests_total", "operation", "GetCallerIdentity", "code", "ServiceUnavailable") >= 1 &&
			w.metric("sts_request_duration_seconds", "operation", "AssumeRole") >= 1 &&
			w.metric("refused_total", "reason", "GetCredentialsFailed") >= 1
	})
}

// A denied deletion is retried with a backoff.
func TestReconcile_DeniedDeletionBacksOff(t *testing.T) {
	w := newTestEnv(t)
	stop := w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	stop()
	w.deletePod("app")
	w.startAs(createUserWithout(w, "delete", "secrets"))
	w.pod("other", role("other"))
	w.wait("aws-iam-other")
	refusals := func() float64 { return w.metric("refused_total", "reason", v1.ReasonUpdateSecretFailed) }
	w.eventually("a second attempt", func() bool { return refusals() >= 2 })
	if n := refusals(); n > 4 {
		t.Errorf("%v attempts within seconds", n)
	}
}

// A failure after a success has an event of its own.
func TestEvents_SecondFailureIsReported(t *testing.T) {
	w := newTestEnv(t)
	w.sts.SetSessionLifetime(4 * time.Second)
	const arn = "arn:aws:iam::" + account + ":role/orders"
	w.sts.Deny(arn)
	w.start()
	w.pod("app", role("orders"))
	w.event("Warning GetCredentialsFailed app:", "AccessDenied")
	w.sts.Allow(arn)
	w.wait("aws-iam-orders")
	w.sts.Revoke(w.keys.AccessKeyID)
	w.event("Warning GetCredentialsFailed app:", "InvalidClientTokenId")
}

// An SDK quotes what it cannot parse; the controller does not. The check is at the end of every
// test.
func TestSeed_MalformedContentIsNotQuoted(t *testing.T) {
	w := newTestEnv(t)
	dir := t.TempDir()
	w.must(os.WriteFile(filepath.Join(dir, "out"), []byte(`{"Version":1,"AccessKeyId":"`+w.keys.AccessKeyID+`","SecretAccessKey":"`+w.keys.SecretAccessKey+`","Expiration":"tomorrow"}`), 0o600))
	w.must(os.WriteFile(filepath.Join(dir, "config"), []byte("[default]\ncredential_process = cat "+filepath.Join(dir, "out")+"\n"), 0o600))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	w.start()
	w.pod("app", role("orders"))
	w.event("Warning GetCredentialsFailed app:", "credential_process")
}

// A Secret that the API server refuses costs one session: it is asked before STS at each retry.
func TestSecret_RefusedByTheAPIServerCostsOneSession(t *testing.T) {
	w := newTestEnv(t)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "secrets"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("0")}},
	}
	w.create(quota)
	// The quota is enforced when a controller, which does not run here, has counted.
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: quota.Spec.Hard}
	w.must(w.Status().Update(t.Context(), quota))
	w.start()
	w.pod("app", role("orders"))
	w.event("Warning CreateSecretFailed app:", "exceeded quota: secrets")
	w.pod("another", role("orders"))
	w.event("Warning CreateSecretFailed another:", "exceeded quota: secrets")
	if n := assumed(w.sts, "*"); n != 1 {
		t.Errorf("%d sessions were made in vain", n)
	}
	w.must(w.Delete(t.Context(), quota))
	w.wait("aws-iam-orders")
	if n := assumed(w.sts, "*"); n != 2 {
		t.Errorf("%d sessions", n)
	}
}
