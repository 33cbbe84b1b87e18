package controllers_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/secret"
)

func TestAccessDeniedThenGranted(t *testing.T) {
	w := newWorld(t)
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

// One denied role that many pods want is one call of STS at a time, and one event a pod.
func TestNoStormOfCallsOrEvents(t *testing.T) {
	w := newWorld(t)
	w.sts.Deny("arn:aws:iam::" + account + ":role/orders")
	w.start()
	w.pod("first", role("orders"))
	w.event("Warning GetCredentialsFailed first:")
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		w.pod(name, role("orders"))
		w.event("Warning GetCredentialsFailed " + name + ":")
	}
	if n := w.assumed("AccessDenied"); n > 5 {
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

func TestSTSDownForLongerThanTheMarginAndBack(t *testing.T) {
	w := newWorld(t)
	w.sts.SetSessionLifetime(8 * time.Second)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	w.sts.SetFault(ststest.ConnectionReset)
	w.pod("new", role("reports"))
	w.event("Warning GetCredentialsFailed new:", "reports")

	held, _ := secret.Read(s)
	w.waitGone("aws-iam-orders")
	if gone := time.Now(); gone.Before(held.UsableUntil()) {
		t.Errorf("removed at %s, though usable until %s", gone, held.UsableUntil())
	}
	w.event("Warning GetCredentialsFailed app:", "orders")

	w.sts.SetFault(ststest.NoFault)
	w.wait("aws-iam-orders")
	w.wait("aws-iam-reports")
}

func TestFaultsOfSTSPass(t *testing.T) {
	for fault, calls := range map[ststest.Fault]int{ // as many as the SDK itself tries
		ststest.Throttled: 3, ststest.InternalFailure: 3, ststest.ServiceUnavailable: 3, ststest.NotXML: 1,
	} {
		t.Run(fault.String(), func(t *testing.T) {
			w := newWorld(t)
			w.start()
			w.pod("app", role("orders"))
			w.wait("aws-iam-orders")
			w.sts.FaultNext(calls, fault)
			w.pod("other", role("reports"))
			w.wait("aws-iam-reports")
		})
	}
}

// Answers that a correct STS never gives must never reach a Secret.
func TestIncompleteOrExpiredCredentialsAreNeverWritten(t *testing.T) {
	for _, fault := range []ststest.Fault{ststest.MissingCredentials, ststest.MissingExpiration, ststest.AlreadyExpired} {
		t.Run(fault.String(), func(t *testing.T) {
			w := newWorld(t)
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

func TestASecretOfSomebodyElseIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "aws-iam-orders", Labels: map[string]string{"heritage": "helm"}}, StringData: map[string]string{"mine": "yes"}}
	w.must(w.Create(t.Context(), theirs))
	w.start()
	w.pod("app", role("orders"))
	w.event("Warning SecretNotManaged app:", "kubectl label secret --namespace "+w.namespace+" aws-iam-orders heritage=kube-aws-iam-controller")
	w.pod("late", role("orders"))
	w.event("Warning SecretNotManaged late:")
	calls := w.assumed("*")

	now := w.secret("aws-iam-orders")
	if now.ResourceVersion != theirs.ResourceVersion {
		t.Error("it was touched")
	}
	w.delete("app")
	w.delete("late")
	w.pod("other", role("other"))
	w.wait("aws-iam-other")
	if now := w.secret("aws-iam-orders"); now == nil || now.ResourceVersion != theirs.ResourceVersion {
		t.Error("it was touched when nobody wanted it any more")
	}

	w.pod("app", role("orders"))
	w.event("Warning SecretNotManaged app:")
	if calls != 1 {
		t.Errorf("%d calls of STS for a Secret that cannot be written", calls)
	}
	now.Labels["heritage"] = secret.OwnerValue
	w.must(w.Update(t.Context(), now))
	s := w.wait("aws-iam-orders")
	if s.UID != theirs.UID || s.Data["mine"] != nil {
		t.Errorf("it was not taken over in place: UID %s and not %s, data %v", s.UID, theirs.UID, s.Data["mine"])
	}
}

func TestALabelTakenAwayIsRespected(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	delete(s.Labels, secret.OwnerLabel)
	w.must(w.Update(t.Context(), s))
	w.event("Warning SecretNotManaged app:")
	if now := w.secret("aws-iam-orders"); now.ResourceVersion != s.ResourceVersion {
		t.Error("it was touched")
	}
}

func TestNamesThatNoRoleCanHave(t *testing.T) {
	w := newWorld(t)
	w.start()
	for name, secretName := range map[string]string{
		"nothing": "aws-iam-", "upper": "aws-iam-Orders", "plus": "aws-iam-a+b", "path": "aws-iam-a/b", "dots": "aws-iam-a..b",
		"long": "aws-iam-" + strings.Repeat("a", 65), "hostile": "aws-iam-$(reboot)",
	} {
		w.pod(name, mounting(secretName, "/meta/aws-iam"))
		w.event("Warning InvalidRole "+name+":", secretName[len("aws-iam-"):])
	}
	if n := w.assumed("*"); n != 0 {
		t.Errorf("%d calls of AssumeRole", n)
	}
}

func TestAnImmutableSecretIsExplained(t *testing.T) {
	w := newWorld(t)
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

// Somebody writes to the Secret again and again while the controller wants to write, too.
func TestConflictsOnWrite(t *testing.T) {
	w := newWorld(t)
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
	for _, line := range w.events() {
		if strings.Contains(line, "Warning") {
			t.Error(line)
		}
	}
}

func TestNoCredentialsOfItsOwnUntilThereAre(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "credentials")
	w.must(os.WriteFile(file, nil, 0o600))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	w.start()
	w.pod("app", role("orders"))
	w.event("Warning GetCredentialsFailed app:", "no AWS credentials of its own", "AWS_WEB_IDENTITY_TOKEN_FILE")

	w.must(os.WriteFile(file, []byte("[default]\naws_access_key_id = "+w.keys.AccessKeyID+"\naws_secret_access_key = "+w.keys.SecretAccessKey+"\n"), 0o600))
	w.wait("aws-iam-orders")
}

func TestOwnCredentialsExpireAndAreReplaced(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(k ststest.Keys) {
		w.must(os.WriteFile(file, []byte("[default]\naws_access_key_id = "+k.AccessKeyID+"\naws_secret_access_key = "+k.SecretAccessKey+"\n"), 0o600))
	}
	write(w.keys)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")

	w.sts.Revoke(w.keys.AccessKeyID)
	write(w.sts.AddUser(account, "successor"))
	w.pod("new", role("reports"))
	w.wait("aws-iam-reports")
}

// A role that assumes roles gets an hour at most: more is not asked for.
func TestChainedSessionsAreClamped(t *testing.T) {
	w := newWorld(t)
	w.beARole()
	w.start(func(o *controllers.Options) { o.SessionDuration = 12 * time.Hour })
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	w.eventually("a warning in the log", func() bool { return strings.Contains(written.String(), "role chaining") })
}

// While new pods come all the time and STS is slow, what is due is renewed; and while thousands are due, new pods are served first.
func TestRefreshesDoNotStarve(t *testing.T) {
	w := newWorld(t)
	w.sts.SetSessionLifetime(12 * time.Second)
	aws, err := credentials.New(t.Context(), credentials.Options{QPS: 4, Now: time.Now})
	w.must(err)
	w.start(func(o *controllers.Options) { o.Credentials, o.MaxConcurrentReconciles = aws, 1 })
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
		t.Error("made anew")
	}
}

func TestProbesAndMetrics(t *testing.T) {
	w := newWorld(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	w.must(err)
	address := listener.Addr().String()
	w.must(listener.Close())
	w.start(func(o *controllers.Options) { o.HealthAddress = address })
	get := func(path string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
		w.must(err)
		r, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0
		}
		defer func() { _ = r.Body.Close() }()
		_, _ = io.Copy(io.Discard, r.Body)
		return r.StatusCode
	}
	w.sts.SetFault(ststest.ServiceUnavailable)
	w.eventually("ready, whatever STS does", func() bool { return get("/readyz") == http.StatusOK && get("/healthz") == http.StatusOK })

	w.pod("app", role("orders"))
	w.event("Warning GetCredentialsFailed app:")
	w.sts.SetFault(ststest.NoFault)
	s := w.wait("aws-iam-orders")
	held, _ := secret.Read(s)
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

// What an admission policy or webhook denies is not tried again and again.
func TestADeletionThatIsDeniedIsNoHotLoop(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	stop()
	w.delete("app")
	w.startAs(w.withoutVerb("delete", "secrets"))
	w.pod("other", role("other"))
	w.wait("aws-iam-other")
	refusals := func() float64 { return w.metric("refused_total", "reason", controllers.ReasonUpdateSecretFailed) }
	w.eventually("a second attempt", func() bool { return refusals() >= 2 })
	if n := refusals(); n > 4 {
		t.Errorf("%v attempts within seconds", n)
	}
}

// What goes wrong a second time, after it went well, is told again; and what keeps going wrong stays one event.
func TestASecondFailureIsTold(t *testing.T) {
	w := newWorld(t)
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

// An SDK quotes what it cannot parse; the controller does not. That no secret is told is checked at the end of every test.
func TestAProcessThatPrintsNonsenseIsNotQuoted(t *testing.T) {
	w := newWorld(t)
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
