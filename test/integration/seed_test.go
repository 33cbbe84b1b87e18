package integration_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	iamrole "kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	ownRole    = "arn:aws:iam::" + account + ":role/controller"
	seedSecret = "aws-iam-controller"
)

// fromSeed gives a controller no AWS credentials but those of a Secret.
func fromSeed(w *testEnv, name string, change ...func(*credentials.Options)) func(*app.Options) {
	w.t.Helper()
	for _, variable := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		w.t.Setenv(variable, "")
	}
	options := credentials.Options{Seeded: true, QPS: 300, Now: w.clocks.machine, Elapsed: w.clocks.elapsed}
	for _, f := range change {
		f(&options)
	}
	aws, err := credentials.New(w.t.Context(), options)
	w.must(err)
	return func(o *app.Options) {
		o.Credentials = aws
		o.Seed = types.NamespacedName{Namespace: w.namespace, Name: name}
		o.Self = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "controller-0", UID: "a-pod-of-the-controller"}}
	}
}

// newProcess returns the JSON of a credential_process with a new session of the controller's role.
func newProcess(w *testEnv, life time.Duration) string {
	w.t.Helper()
	return newProcessOf(w, ownRole, life)
}

// newProcessOf is newProcess for any role.
func newProcessOf(w *testEnv, roleARN string, life time.Duration) string {
	w.t.Helper()
	keys, err := w.sts.AddSession(roleARN, "bootstrap", life)
	w.must(err)
	text, err := json.Marshal(map[string]any{
		"Version": 1, "AccessKeyId": keys.AccessKeyID, "SecretAccessKey": keys.SecretAccessKey, "SessionToken": keys.SessionToken,
		"Expiration": w.clocks.sts().Add(life).UTC().Format(time.RFC3339),
	})
	w.must(err)
	return string(text)
}

// newSeed returns a Secret as kubectl create secret generic makes it.
func newSeed(namespace, name, process string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{
		"credentials.json":    []byte(process),
		"credentials.process": []byte("[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n"),
	}}
}

// replaceSeed puts a seed made by hand in place of the one that is there.
func replaceSeed(w *testEnv, process string) {
	w.t.Helper()
	seed := newSeed(w.namespace, seedSecret, process)
	w.eventually("a seed put in place", func() bool { // the controller can write it at just this moment
		if now := w.secret(seedSecret); now != nil {
			seed.UID, seed.ResourceVersion = now.UID, now.ResourceVersion
			return w.Update(w.t.Context(), seed) == nil
		}
		return w.Create(w.t.Context(), seed) == nil
	})
}

// waitSeedInUse waits until the controller uses the credentials of a seed, or later ones.
func waitSeedInUse(w *testEnv, seed *corev1.Secret) {
	w.t.Helper()
	expires := credentialsOf(w.t, seed).Expires
	w.eventually("the metric of the renewed seed", func() bool {
		return w.metric("base_credentials_expiration_timestamp_seconds") >= float64(expires.Unix())
	})
}

func TestSeed_AdoptedAndRenewed(t *testing.T) {
	w := newTestEnv(t)
	w.sts.SetSessionLifetime(12 * time.Second)
	replaceSeed(w, newProcess(w, time.Hour))
	w.start(fromSeed(w, seedSecret))
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")

	seed := w.wait(seedSecret)
	if seed.Labels["heritage"] != "kube-aws-iam-controller" || string(seed.Data["role-arn"]) != ownRole || seed.Data["credentials.process"] == nil {
		t.Errorf("it is adopted as %v for %s", seed.Labels, seed.Data["role-arn"])
	}
	for range 2 {
		seed = w.waitOther(seed)
		waitSeedInUse(w, seed)
	}
	w.pod("late", role("reports"))
	w.wait("aws-iam-reports")
	if refused := assumed(w.sts, "*") - assumed(w.sts, ""); refused > 0 {
		t.Errorf("%d calls were refused", refused)
	}
}

// zalando-incubator/kube-aws-iam-controller has its users make an AWSIAMRole for the seed. It
// never decides over the seed, and does not own it: deleting it would delete the seed.
func TestSeed_DropsOwningAWSIAMRole(t *testing.T) {
	w := newTestEnv(t)
	const name = "kube-aws-iam-controller-iam-role"
	resource := w.awsIAMRole(name, "controller")
	s := newSeed(w.namespace, name, newProcess(w, time.Hour))
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1.GroupVersion.String(), Kind: v1.Kind, Name: name, UID: resource.UID}}
	w.create(s)
	w.start(fromSeed(w, name))
	got := w.wait(name)
	if secret.BelongsToAWSIAMRole(got) || len(got.OwnerReferences) != 0 || string(got.Data["role-arn"]) != ownRole {
		t.Errorf("it is for %s, with labels %v and owners %v", got.Data["role-arn"], got.Labels, got.OwnerReferences)
	}
	w.condition(name, v1.ConditionReady, metav1.ConditionFalse, v1.ReasonInvalidRole, "--seed-secret")
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
}

// The seed needs no grant of the controller's role, in any authorization mode.
func TestSeed_NeedsNoAuthorization(t *testing.T) {
	w := newTestEnv(t)
	replaceSeed(w, newProcess(w, time.Hour))
	w.pod("controller-0", role("controller"))
	w.start(fromSeed(w, seedSecret), modes(authorization.ModeRBAC))
	w.wait(seedSecret)
}

func TestSeed_DeletedIsRestoredFromMemory(t *testing.T) {
	w := newTestEnv(t)
	replaceSeed(w, newProcess(w, time.Hour))
	w.start(fromSeed(w, seedSecret))
	before := w.wait(seedSecret)
	calls := assumed(w.sts, "*")
	w.must(w.Delete(t.Context(), before))
	w.eventually("the seed again", func() bool { now := w.secret(seedSecret); return now != nil && now.UID != before.UID })
	if now := w.wait(seedSecret); accessKey(now) != accessKey(before) || now.Labels["heritage"] != secret.OwnerValue {
		t.Errorf("it has other credentials, or labels %v", now.Labels)
	}
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	if n := assumed(w.sts, "*") - calls; n != 1 {
		t.Errorf("%d calls of STS for the pod and the seed", n)
	}
}

func TestSeed_WarnsWhileNotRenewedAndRecovers(t *testing.T) {
	w := newTestEnv(t)
	w.sts.Deny(ownRole)
	replaceSeed(w, newProcess(w, 10*time.Second))
	health := freeAddress(t)
	w.start(fromSeed(w, seedSecret), func(o *app.Options) { o.HealthAddress = health })
	w.eventually("ready", func() bool { return ready(t.Context(), health) })
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")

	remedy := "scripts/bootstrap.sh --namespace " + w.namespace + " --name " + seedSecret + " " + ownRole
	for _, object := range []string{seedSecret, "controller-0"} {
		w.event("Warning SeedNotRenewed "+object+":", "does not trust itself", remedy)
	}
	expires := w.metric("base_credentials_expiration_timestamp_seconds")
	if at := time.Now().Add(10 * time.Second).Unix(); expires == 0 || expires > float64(at) {
		t.Errorf("the metric says %f, which is not before %d", expires, at)
	}
	for _, object := range []string{seedSecret, "controller-0"} {
		w.event("Warning SeedExpired "+object+":", "expired at", remedy)
	}
	if ready(t.Context(), health) {
		t.Error("it says that it is ready, without credentials")
	}
	if !strings.Contains(written.String(), remedy) {
		t.Error("the log does not say the remedy")
	}
	if w.secret(seedSecret) == nil {
		t.Error("the seed was removed")
	}

	w.sts.Allow(ownRole)
	replaceSeed(w, newProcess(w, time.Hour))
	w.wait(seedSecret)
	w.pod("late", role("reports"))
	w.wait("aws-iam-reports")
	w.eventually("ready again", func() bool { return ready(t.Context(), health) })
}

// In the last minutes of its life a seed is dead for those that start now, and yet it is good
// enough to be renewed.
func TestSeed_RenewedInTheLastMinute(t *testing.T) {
	w := newTestEnv(t)
	w.sts.Deny(ownRole)
	replaceSeed(w, newProcess(w, time.Minute))
	w.start(fromSeed(w, seedSecret))
	w.eventually("an attempt", func() bool { return assumed(w.sts, "AccessDenied") > 0 })
	w.sts.Allow(ownRole)
	w.wait(seedSecret)
	if n := assumed(w.sts, "AccessDenied"); n > 5 {
		t.Errorf("%d attempts", n)
	}
}

// An AWSIAMRole with the name of the seed's Secret has no effect on the seed.
func TestSeed_AWSIAMRoleOfItsNameIsRejected(t *testing.T) {
	w := newTestEnv(t)
	replaceSeed(w, newProcess(w, time.Hour))
	w.start(fromSeed(w, seedSecret), modes(authorization.ModeRBAC))
	before := w.wait(seedSecret)
	resource := w.awsIAMRole(seedSecret, "admin")
	w.event("Warning InvalidRole "+seedSecret+":", "--seed-secret", "no AWSIAMRole decides over it")
	if now := w.secret(seedSecret); string(now.Data["role-arn"]) != ownRole || accessKey(now) != accessKey(before) {
		t.Errorf("it is for %s", now.Data["role-arn"])
	}
	w.must(w.Delete(t.Context(), resource))
	w.pod("app", role("orders"))
	w.event("Warning RoleForbidden app:")
}

// A seed with credentials of another account is not used, so that a writer of Secrets cannot make
// the controller work for another account.
func TestSeed_OfAnotherRoleIsRefused(t *testing.T) {
	w := newTestEnv(t)
	replaceSeed(w, newProcess(w, time.Hour))
	health := freeAddress(t)
	w.start(fromSeed(w, seedSecret), func(o *app.Options) { o.HealthAddress = health })
	w.wait(seedSecret)
	w.eventually("ready", func() bool { return ready(t.Context(), health) })

	planted := newProcessOf(w, "arn:aws:iam::210987654321:role/controller", time.Hour)
	w.eventually("the controller reads the planted seed", func() bool {
		if hasEvent(w.events(), "Warning SeedExpired "+seedSecret+":", "210987654321") {
			return true
		}
		if now := w.secret(seedSecret); now == nil || string(now.Data["credentials.json"]) != planted {
			replaceSeed(w, planted) // a renewal that had begun before can replace it
		}
		return false
	})
	w.eventually("not ready", func() bool { return !ready(t.Context(), health) })
	before := assumed(w.sts, "*")
	w.pod("app", role("orders"))
	w.event("Warning GetCredentialsFailed app:", "210987654321")
	if n := len(w.sts.Calls()); assumed(w.sts, "*") > before {
		t.Errorf("%d of %d calls of AssumeRole", assumed(w.sts, "*"), n)
	}
	replaceSeed(w, newProcess(w, time.Hour))
	w.wait("aws-iam-orders")
	w.eventually("ready again", func() bool { return ready(t.Context(), health) })
}

func TestSeed_WithAnotherName(t *testing.T) {
	w := newTestEnv(t)
	w.must(w.Create(t.Context(), newSeed(w.namespace, "my-seed", newProcess(w, time.Hour))))
	w.start(fromSeed(w, "my-seed"))
	if s := w.wait("my-seed"); string(s.Data["role-arn"]) != ownRole {
		t.Errorf("it is for %s", s.Data["role-arn"])
	}
}

// The intermediate role assumes those of pods; the seed renews itself.
func TestSeed_WithAssumeRole(t *testing.T) {
	const hub = "arn:aws:iam::210987654321:role/hub"
	w := newTestEnv(t)
	hubARN, err := iamrole.ParseARN(hub)
	w.must(err)
	w.sts.Trust(ownRole, func(c ststest.Call) bool { return c.CallerRoleARN == ownRole })
	w.sts.Trust("arn:aws:iam::210987654321:role/orders", func(c ststest.Call) bool { return c.CallerRoleARN == hub })
	replaceSeed(w, newProcess(w, time.Hour))
	w.start(fromSeed(w, seedSecret, func(o *credentials.Options) { o.Intermediate = credentials.Session{Role: hubARN, Name: "controller"} }))
	if s := w.wait(seedSecret); string(s.Data["role-arn"]) != ownRole {
		t.Errorf("it is for %s", s.Data["role-arn"])
	}
	w.pod("app", role("orders"))
	if s := w.wait("aws-iam-orders"); string(s.Data["role-arn"]) != "arn:aws:iam::210987654321:role/orders" {
		t.Errorf("a pod's is for %s", s.Data["role-arn"])
	}
}

func TestSeed_DamagedIsRestored(t *testing.T) {
	w := newTestEnv(t)
	replaceSeed(w, newProcess(w, time.Hour))
	w.start(fromSeed(w, seedSecret))
	s := w.wait(seedSecret)
	damaged := s.DeepCopy()
	delete(damaged.Data, "credentials.json")
	w.must(w.Update(t.Context(), damaged))
	w.waitOther(s)
}

// A Secret that another controller makes is not taken: the two would never agree.
func TestSeed_OwnedByAnotherControllerIsLeftAlone(t *testing.T) {
	w := newTestEnv(t)
	s := newSeed(w.namespace, seedSecret, newProcess(w, 10*time.Second))
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "bitnami.com/v1alpha1", Kind: "SealedSecret", Name: "seed", UID: "u-1", Controller: new(true)}}
	w.create(s)
	w.start(fromSeed(w, seedSecret))
	w.event("Warning SeedNotRenewed "+seedSecret+":", "controlled by SealedSecret", "scripts/bootstrap.sh")
	if now := w.secret(seedSecret); now.Labels["heritage"] != "" {
		t.Error("it was taken")
	}
}

func TestSeed_RejectedBySTSIsReportedAtOnce(t *testing.T) {
	w := newTestEnv(t)
	replaceSeed(w, newProcess(w, time.Hour))
	health := freeAddress(t)
	w.start(fromSeed(w, seedSecret), func(o *app.Options) { o.HealthAddress = health })
	s := w.wait(seedSecret)
	w.eventually("ready", func() bool { return ready(t.Context(), health) })

	w.sts.Revoke(accessKey(s))
	w.patch(s, `{"metadata":{"annotations":{"iam.amazonaws.com/session-duration":"900"}}}`) // it is issued again, with what is revoked
	w.event("Warning SeedExpired "+seedSecret+":", "InvalidClientTokenId", "scripts/bootstrap.sh", ownRole)
	w.eventually("not ready", func() bool { return !ready(t.Context(), health) })
	replaceSeed(w, newProcess(w, time.Hour))
	w.wait(seedSecret)
	w.eventually("ready again", func() bool { return ready(t.Context(), health) })
}

func TestSeed_InvalidIsReportedUntilReplaced(t *testing.T) {
	for says, c := range map[string]struct {
		seed    func(*testEnv) *corev1.Secret
		because string
	}{
		"missing": {func(*testEnv) *corev1.Secret { return nil }, "does not exist"},
		"no credentials.json": {func(w *testEnv) *corev1.Secret {
			s := newSeed(w.namespace, seedSecret, "")
			delete(s.Data, "credentials.json")
			return s
		}, "key credentials.json is not the JSON of a credential_process"},
		"not JSON": {func(w *testEnv) *corev1.Secret { return newSeed(w.namespace, seedSecret, "s3cr3t") }, "key credentials.json is not the JSON of a credential_process"},
		"incomplete": {func(w *testEnv) *corev1.Secret {
			return newSeed(w.namespace, seedSecret, `{"Version":1,"AccessKeyId":"ASIAEXAMPLE"}`)
		}, "key credentials.json is incomplete"},
		"no expiration": {func(w *testEnv) *corev1.Secret {
			return newSeed(w.namespace, seedSecret, `{"AccessKeyId":"a","SecretAccessKey":"b","SessionToken":"c"}`)
		}, "is not a time"},
		"expired": {func(w *testEnv) *corev1.Secret { return newSeed(w.namespace, seedSecret, newProcess(w, -time.Minute)) }, "expired at"},
		"revoked": {func(w *testEnv) *corev1.Secret {
			return newSeed(w.namespace, seedSecret, `{"AccessKeyId":"ASIANOTOFTHISPARTITION","SecretAccessKey":"b","SessionToken":"c","Expiration":"2099-01-01T00:00:00Z"}`)
		}, "InvalidClientTokenId"},
	} {
		t.Run(says, func(t *testing.T) {
			t.Setenv("AWS_MAX_ATTEMPTS", "1")
			w := newTestEnv(t)
			if s := c.seed(w); s != nil {
				w.create(s)
			}
			w.start(fromSeed(w, seedSecret))
			w.pod("app", role("orders"))
			w.event("Warning GetCredentialsFailed app:", w.namespace+"/"+seedSecret, c.because, "scripts/bootstrap.sh --namespace "+w.namespace)
			replaceSeed(w, newProcess(w, time.Hour))
			w.wait("aws-iam-orders")
			w.wait(seedSecret)
		})
	}
}
