package controllers_test

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/policy"
	iamrole "kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

const (
	ownRole    = "arn:aws:iam::" + account + ":role/controller"
	seedSecret = "aws-iam-controller"
)

// fromSeed is a controller that has no AWS credentials but those of a Secret.
func (w *world) fromSeed(name string, change ...func(*credentials.Options)) func(*controllers.Options) {
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
	return func(o *controllers.Options) {
		o.Credentials = aws
		o.Seed = types.NamespacedName{Namespace: w.namespace, Name: name}
		o.Self = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "controller-0", UID: "a-pod-of-the-controller"}}
	}
}

// process is the JSON of a credential_process with a fresh session of the controller's role.
func (w *world) process(life time.Duration) string {
	w.t.Helper()
	keys, err := w.sts.AddSession(ownRole, "bootstrap", life)
	w.must(err)
	text, err := json.Marshal(map[string]any{
		"Version": 1, "AccessKeyId": keys.AccessKeyID, "SecretAccessKey": keys.SecretAccessKey, "SessionToken": keys.SessionToken,
		"Expiration": w.now().Add(life).UTC().Format(time.RFC3339),
	})
	w.must(err)
	return string(text)
}

// byHand is a Secret as kubectl create secret generic makes it.
func (w *world) byHand(name, process string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Data: map[string][]byte{
		"credentials.json":    []byte(process),
		"credentials.process": []byte("[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n"),
	}}
}

// replaceSeed puts a seed made by hand in place of the one that is there.
func (w *world) replaceSeed(process string) {
	w.t.Helper()
	seed := w.byHand(seedSecret, process)
	w.eventually("a seed put in place", func() bool { // the controller may write it at just this moment
		if now := w.secret(seedSecret); now != nil {
			seed.UID, seed.ResourceVersion = now.UID, now.ResourceVersion
			return w.Update(w.t.Context(), seed) == nil
		}
		return w.Create(w.t.Context(), seed) == nil
	})
}

func TestTheSeedIsAdoptedAndRenewsItself(t *testing.T) {
	w := newWorld(t)
	w.sts.SetSessionLifetime(12 * time.Second)
	w.replaceSeed(w.process(time.Hour))
	w.start(w.fromSeed(seedSecret))
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")

	seed := w.wait(seedSecret)
	if seed.Labels["heritage"] != "kube-aws-iam-controller" || string(seed.Data["role-arn"]) != ownRole || seed.Data["credentials.process"] == nil {
		t.Errorf("it is adopted as %v for %s", seed.Labels, seed.Data["role-arn"])
	}
	for range 2 {
		seed = w.waitOther(seed)
		held, err := secret.Read(seed)
		w.must(err)
		w.eventually("the metric of the renewed seed", func() bool {
			return w.metric("base_credentials_expiration_timestamp_seconds") >= float64(held.Expires.Unix())
		})
	}
	w.pod("late", role("reports"))
	w.wait("aws-iam-reports")
	if refused := w.assumed("*") - w.assumed(""); refused > 0 {
		t.Errorf("%d calls were refused", refused)
	}
}

// zalando-incubator/kube-aws-iam-controller has its users make an AWSIAMRole for the seed. It
// never decides over the seed, and does not own it: deleting it would delete the seed.
func TestSeed_NoAWSIAMRoleGovernsIt(t *testing.T) {
	w := newWorld(t)
	const name = "kube-aws-iam-controller-iam-role"
	resource := w.awsIAMRole(name, "controller")
	s := w.byHand(name, w.process(time.Hour))
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1.GroupVersion.String(), Kind: v1.Kind, Name: name, UID: resource.UID}}
	w.must(w.Create(t.Context(), s))
	w.start(w.fromSeed(name))
	got := w.wait(name)
	if secret.OfAWSIAMRole(got) || len(got.OwnerReferences) != 0 || string(got.Data["role-arn"]) != ownRole {
		t.Errorf("it is for %s, with labels %v and owners %v", got.Data["role-arn"], got.Labels, got.OwnerReferences)
	}
	w.condition(name, v1.ConditionReady, metav1.ConditionFalse, controllers.ReasonInvalidRole, "--seed-secret")
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
}

// Whoever starts the controller has decided that it has its role: no authorization mode can take it away.
func TestTheSeedNeedsNoRight(t *testing.T) {
	w := newWorld(t)
	w.replaceSeed(w.process(time.Hour))
	w.pod("controller-0", role("controller"))
	w.start(w.fromSeed(seedSecret), modes(policy.ModeRBAC))
	w.wait(seedSecret)
}

func TestSeed_DeletedIsWrittenAgainFromMemory(t *testing.T) {
	w := newWorld(t)
	w.replaceSeed(w.process(time.Hour))
	w.start(w.fromSeed(seedSecret))
	before := w.wait(seedSecret)
	calls := w.assumed("*")
	w.must(w.Delete(t.Context(), before))
	w.eventually("the seed again", func() bool { now := w.secret(seedSecret); return now != nil && now.UID != before.UID })
	if now := w.wait(seedSecret); accessKey(now) != accessKey(before) || now.Labels["heritage"] != secret.OwnerValue {
		t.Errorf("it has other credentials, or labels %v", now.Labels)
	}
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	if n := w.assumed("*") - calls; n != 1 {
		t.Errorf("%d calls of STS for the pod and the seed", n)
	}
}

func TestASeedThatCannotBeRenewedIsToldInTimeAndMended(t *testing.T) {
	w := newWorld(t)
	w.sts.Deny(ownRole)
	w.replaceSeed(w.process(10 * time.Second))
	health := freePort(t)
	w.start(w.fromSeed(seedSecret), func(o *controllers.Options) { o.HealthAddress = health })
	w.eventually("ready", func() bool { return ready(health) })
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")

	mend := "scripts/bootstrap.sh --namespace " + w.namespace + " --name " + seedSecret + " " + ownRole
	for _, object := range []string{seedSecret, "controller-0"} {
		w.event("Warning SeedNotRenewed "+object+":", "does not trust itself", mend)
	}
	expires := w.metric("base_credentials_expiration_timestamp_seconds")
	if at := time.Now().Add(10 * time.Second).Unix(); expires == 0 || expires > float64(at) {
		t.Errorf("the metric says %f, which is not before %d", expires, at)
	}
	for _, object := range []string{seedSecret, "controller-0"} {
		w.event("Warning SeedExpired "+object+":", "expired at", mend)
	}
	if ready(health) {
		t.Error("it says that it is ready, without credentials")
	}
	if !strings.Contains(written.String(), mend) {
		t.Error("the log does not say what mends it")
	}
	if w.secret(seedSecret) == nil {
		t.Error("the seed was removed")
	}

	w.sts.Allow(ownRole)
	w.replaceSeed(w.process(time.Hour))
	w.wait(seedSecret)
	w.pod("late", role("reports"))
	w.wait("aws-iam-reports")
	w.eventually("ready again", func() bool { return ready(health) })
}

// In the last minutes of its life a seed is dead for those that start now, and yet it is good enough to be renewed.
func TestASeedIsRenewedInTheLastMinute(t *testing.T) {
	w := newWorld(t)
	w.sts.Deny(ownRole)
	w.replaceSeed(w.process(time.Minute))
	w.start(w.fromSeed(seedSecret))
	w.eventually("an attempt", func() bool { return w.assumed("AccessDenied") > 0 })
	w.sts.Allow(ownRole)
	w.wait(seedSecret)
	if n := w.assumed("AccessDenied"); n > 5 {
		t.Errorf("%d attempts", n)
	}
}

// Who may create AWSIAMRoles beside the seed must not get any role by one that is called as the seed is.
func TestTheSeedIsForTheControllersOwnRoleOnly(t *testing.T) {
	w := newWorld(t)
	w.replaceSeed(w.process(time.Hour))
	w.start(w.fromSeed(seedSecret), modes(policy.ModeRBAC))
	before := w.wait(seedSecret)
	resource := &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: seedSecret}, Spec: v1.AWSIAMRoleSpec{RoleReference: "admin"}}
	w.must(w.Create(t.Context(), resource))
	w.event("Warning InvalidRole "+seedSecret+":", "--seed-secret", "no AWSIAMRole decides over it")
	if now := w.secret(seedSecret); string(now.Data["role-arn"]) != ownRole || accessKey(now) != accessKey(before) {
		t.Errorf("it is for %s", now.Data["role-arn"])
	}
	w.must(w.Delete(t.Context(), resource))
	w.pod("app", role("orders"))
	w.event("Warning RoleForbidden app:")
}

// Who may write Secrets beside the controller must not make it work for another account or role.
func TestSeed_OfAnotherRoleIsRefused(t *testing.T) {
	w := newWorld(t)
	w.replaceSeed(w.process(time.Hour))
	health := freePort(t)
	w.start(w.fromSeed(seedSecret), func(o *controllers.Options) { o.HealthAddress = health })
	w.wait(seedSecret)
	w.eventually("ready", func() bool { return ready(health) })

	keys, err := w.sts.AddSession("arn:aws:iam::210987654321:role/controller", "planted", time.Hour)
	w.must(err)
	text, err := json.Marshal(map[string]any{
		"Version": 1, "AccessKeyId": keys.AccessKeyID, "SecretAccessKey": keys.SecretAccessKey, "SessionToken": keys.SessionToken,
		"Expiration": w.now().Add(time.Hour).UTC().Format(time.RFC3339),
	})
	w.must(err)
	w.replaceSeed(string(text))
	w.event("Warning SeedExpired "+seedSecret+":", "210987654321")
	w.eventually("not ready", func() bool { return !ready(health) })
	w.pod("app", role("orders"))
	w.event("Warning GetCredentialsFailed app:", "210987654321")
	if n := len(w.sts.Calls()); w.assumed("*") > 1 {
		t.Errorf("%d of %d calls of AssumeRole", w.assumed("*"), n)
	}
	w.replaceSeed(w.process(time.Hour))
	w.wait("aws-iam-orders")
	w.eventually("ready again", func() bool { return ready(health) })
}

func TestASeedOfAnotherName(t *testing.T) {
	w := newWorld(t)
	w.must(w.Create(t.Context(), w.byHand("my-seed", w.process(time.Hour))))
	w.start(w.fromSeed("my-seed"))
	if s := w.wait("my-seed"); string(s.Data["role-arn"]) != ownRole {
		t.Errorf("it is for %s", s.Data["role-arn"])
	}
}

// The intermediate role assumes those of pods; the seed renews itself.
func TestASeedBeneathAnIntermediateRole(t *testing.T) {
	const hub = "arn:aws:iam::210987654321:role/hub"
	w := newWorld(t)
	hubARN, err := iamrole.ParseARN(hub)
	w.must(err)
	w.sts.Trust(ownRole, func(c ststest.Call) bool { return c.CallerRoleARN == ownRole })
	w.sts.Trust("arn:aws:iam::210987654321:role/orders", func(c ststest.Call) bool { return c.CallerRoleARN == hub })
	w.replaceSeed(w.process(time.Hour))
	w.start(w.fromSeed(seedSecret, func(o *credentials.Options) { o.Intermediate = credentials.Session{Role: hubARN, Name: "controller"} }))
	if s := w.wait(seedSecret); string(s.Data["role-arn"]) != ownRole {
		t.Errorf("it is for %s", s.Data["role-arn"])
	}
	w.pod("app", role("orders"))
	if s := w.wait("aws-iam-orders"); string(s.Data["role-arn"]) != "arn:aws:iam::210987654321:role/orders" {
		t.Errorf("a pod's is for %s", s.Data["role-arn"])
	}
}

func TestADamagedSeedIsRestored(t *testing.T) {
	w := newWorld(t)
	w.replaceSeed(w.process(time.Hour))
	w.start(w.fromSeed(seedSecret))
	s := w.wait(seedSecret)
	damaged := s.DeepCopy()
	delete(damaged.Data, "credentials.json")
	w.must(w.Update(t.Context(), damaged))
	w.waitOther(s)
}

// A Secret that another controller makes is not taken: the two would never agree.
func TestASeedThatAnotherControllerClaims(t *testing.T) {
	w := newWorld(t)
	s := w.byHand(seedSecret, w.process(10*time.Second))
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "bitnami.com/v1alpha1", Kind: "SealedSecret", Name: "seed", UID: "u-1", Controller: new(true)}}
	w.must(w.Create(t.Context(), s))
	w.start(w.fromSeed(seedSecret))
	w.event("Warning SeedNotRenewed "+seedSecret+":", "controlled by SealedSecret", "scripts/bootstrap.sh")
	if now := w.secret(seedSecret); now.Labels["heritage"] != "" {
		t.Error("it was taken")
	}
}

func TestASeedThatSTSRefusesIsToldAtOnce(t *testing.T) {
	w := newWorld(t)
	w.replaceSeed(w.process(time.Hour))
	health := freePort(t)
	w.start(w.fromSeed(seedSecret), func(o *controllers.Options) { o.HealthAddress = health })
	s := w.wait(seedSecret)
	w.eventually("ready", func() bool { return ready(health) })

	w.sts.Revoke(accessKey(s))
	w.must(w.Patch(t.Context(), s, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"iam.amazonaws.com/session-duration":"900"}}}`)))) // it is issued again, with what is revoked
	w.event("Warning SeedExpired "+seedSecret+":", "InvalidClientTokenId", "scripts/bootstrap.sh", ownRole)
	w.eventually("not ready", func() bool { return !ready(health) })
	w.replaceSeed(w.process(time.Hour))
	w.wait(seedSecret)
	w.eventually("ready again", func() bool { return ready(health) })
}

func TestABadSeedIsNamedAndMended(t *testing.T) {
	for says, c := range map[string]struct {
		seed    func(*world) *corev1.Secret
		because string
	}{
		"missing": {func(*world) *corev1.Secret { return nil }, "does not exist"},
		"no credentials.json": {func(w *world) *corev1.Secret {
			s := w.byHand(seedSecret, "")
			delete(s.Data, "credentials.json")
			return s
		}, "key credentials.json is not the JSON of a credential_process"},
		"not JSON": {func(w *world) *corev1.Secret { return w.byHand(seedSecret, "s3cr3t") }, "key credentials.json is not the JSON of a credential_process"},
		"incomplete": {func(w *world) *corev1.Secret {
			return w.byHand(seedSecret, `{"Version":1,"AccessKeyId":"ASIAEXAMPLE"}`)
		}, "key credentials.json is incomplete"},
		"no expiration": {func(w *world) *corev1.Secret {
			return w.byHand(seedSecret, `{"AccessKeyId":"a","SecretAccessKey":"b","SessionToken":"c"}`)
		}, "is not a time"},
		"expired": {func(w *world) *corev1.Secret { return w.byHand(seedSecret, w.process(-time.Minute)) }, "expired at"},
		"revoked": {func(w *world) *corev1.Secret {
			return w.byHand(seedSecret, `{"AccessKeyId":"ASIANOTOFTHISPARTITION","SecretAccessKey":"b","SessionToken":"c","Expiration":"2099-01-01T00:00:00Z"}`)
		}, "InvalidClientTokenId"},
	} {
		t.Run(says, func(t *testing.T) {
			t.Setenv("AWS_MAX_ATTEMPTS", "1")
			w := newWorld(t)
			if s := c.seed(w); s != nil {
				w.must(w.Create(t.Context(), s))
			}
			w.start(w.fromSeed(seedSecret))
			w.pod("app", role("orders"))
			w.event("Warning GetCredentialsFailed app:", w.namespace+"/"+seedSecret, c.because, "scripts/bootstrap.sh --namespace "+w.namespace)
			w.replaceSeed(w.process(time.Hour))
			w.wait("aws-iam-orders")
			w.wait(seedSecret)
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func ready(address string) bool {
	answer, err := http.Get("http://" + address + "/readyz") //nolint:noctx // of the test's own server
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
