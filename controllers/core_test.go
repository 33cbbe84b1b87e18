package controllers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/podindex"
	"kube-aws-iam-controller/pkg/records"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
	"kube-aws-iam-controller/pkg/secretstore"
	"kube-aws-iam-controller/pkg/serviceaccounts"
)

type rec struct{ events []string }

func (r *rec) Eventf(_, _ runtime.Object, _, reason, _, note string, args ...any) {
	r.events = append(r.events, reason+": "+fmt.Sprintf(note, args...))
}

type fakeCluster struct {
	t        *testing.T
	clock    *clocktesting.FakePassiveClock
	store    client.WithWatch
	core     *Core
	pods     *podindex.Index
	accounts *serviceaccounts.Index
	// accountUIDs are the ServiceAccounts that the API server has, and accountErr is why it does
	// not answer.
	accountUIDs map[string]types.UID
	accountErr  error
	// podsOf are the pods that the API server lists of a ServiceAccount, and podsErr is why it does
	// not answer.
	podsOf   []corev1.Pod
	podsErr  error
	sts      int
	sessions []credentials.Session
	reviews  int
	may      func(authorization.Request) bool
	rec      *rec
	create   func() error
	life     time.Duration
}

func newFakeCluster(t *testing.T) *fakeCluster {
	t.Helper()
	l := &fakeCluster{t: t, clock: clocktesting.NewFakePassiveClock(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)), rec: &rec{}, may: func(authorization.Request) bool { return true }, life: time.Hour}
	l.store = fake.NewClientBuilder().WithScheme(testScheme()).WithStatusSubresource(&v1.AWSIAMRole{}).Build()
	files := secret.Files{MountPath: "/meta/aws-iam"}
	cached := interceptor.NewClient(l.store, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			err := c.Get(ctx, k, o, opts...)
			if s, ok := o.(*corev1.Secret); ok && err == nil {
				secret.Reduce(s, files)
				if s.Labels[secret.OwnerLabel] != secret.OwnerValue {
					*s = corev1.Secret{}
					return apierrors.NewNotFound(corev1.Resource("secrets"), k.Name)
				}
			}
			return err
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if l.create != nil {
				if err := l.create(); err != nil {
					return err
				}
			}
			return c.Create(ctx, o, opts...)
		},
	})
	base, err := role.ParseBase("arn:aws:iam::123456789012:role/")
	if err != nil {
		t.Fatal(err)
	}
	aws := credentials.Identity{
		Caller: func(context.Context) (credentials.Caller, error) {
			return credentials.Caller{ARN: "arn:aws:iam::123456789012:user/controller", Base: base}, nil
		},
		Assume: func(_ context.Context, s credentials.Session) (credentials.Credentials, error) {
			l.sts++
			l.sessions = append(l.sessions, s)
			now := l.clock.Now()
			return credentials.Credentials{AccessKeyID: fmt.Sprintf("ASIA%012d", l.sts), SecretAccessKey: credentials.Redact("s"), SessionToken: credentials.Redact("t"), Issued: now, Expires: now.Add(s.Duration)}, nil
		},
	}
	l.accounts = serviceaccounts.New([]string{""}, func(_ context.Context, account types.NamespacedName) (types.UID, error) {
		return l.accountUIDs[account.Name], l.accountErr
	})
	l.pods = podindex.New([]string{""}, "/meta/aws-iam", l.clock, podindex.Injection{Injects: l.accounts.Injects, Pods: l.listPodsOf})
	l.core = NewCore(&Dependencies{
		Settings: Settings{Sessions: credentials.SessionTemplate{ClusterName: "c", Duration: time.Hour}, RefreshLimit: 30 * time.Minute, UnusedGracePeriod: 5 * time.Minute},
		Client:   cached, Cached: cached, Live: l.store, Uncached: cached, Pods: l.pods, Accounts: l.accounts, ServesRoles: true, Files: files,
		AWS: credentials.Identities{
			Assumer: aws, SeedAssumer: aws, Base: func() role.Base { return base },
			IsOwnRole: func(context.Context, role.ARN) (bool, error) { return false, nil }, UsesKey: func(string) bool { return false },
		},
		Authorizer: func(_ context.Context, r authorization.Request) (authorization.Decision, error) {
			l.reviews++
			return authorization.Decision{Allowed: l.may(r), Reason: "x"}, nil
		},
		Metrics: metrics.New(prometheus.NewRegistry()), Clocks: renewal.Clocks{STS: l.clock.Now, Local: l.clock.Now, Trusted: func() bool { return true }},
		Events: events.NewRecorder(l.rec, l.clock),
	})
	filteredwatch.Replace[*corev1.Pod](l.pods, "", nil)
	filteredwatch.Replace[*metav1.PartialObjectMetadata](l.accounts, "", nil)
	l.pods.Subscribe(func(types.NamespacedName) {})
	return l
}

func testScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1.AddToScheme(s))
	return s
}

func (l *fakeCluster) step(d time.Duration) { l.clock.SetTime(l.clock.Now().Add(d)) }

func (l *fakeCluster) reconcile(name string) reconcile.Result {
	l.t.Helper()
	res, err := l.core.Reconcile(context.Background(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: name}})
	if err != nil {
		l.t.Fatal(err)
	}
	return res
}

func (l *fakeCluster) get(name string) *corev1.Secret {
	s := &corev1.Secret{}
	if err := l.store.Get(context.Background(), types.NamespacedName{Namespace: "ns", Name: name}, s); err != nil {
		return nil
	}
	return s
}

func (l *fakeCluster) listPodsOf(_ context.Context, _ types.NamespacedName, each func(*corev1.Pod)) error {
	for i := range l.podsOf {
		each(l.podsOf[i].DeepCopy())
	}
	return l.podsErr
}

func (l *fakeCluster) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *fakeCluster) pod(name, sa, secretName string) {
	l.pods.Put(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{
			ServiceAccountName: sa, Containers: []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/meta/aws-iam"}}}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secretName}}}},
		},
	})
}

func (l *fakeCluster) resource(name string) *v1.AWSIAMRole {
	r := &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name), Generation: 1}, Spec: v1.AWSIAMRoleSpec{RoleReference: "one"}}
	l.must(l.store.Create(context.Background(), r))
	return r
}

func (l *fakeCluster) change(name string, f func(*v1.AWSIAMRole)) {
	r := &v1.AWSIAMRole{}
	l.must(l.store.Get(context.Background(), types.NamespacedName{Namespace: "ns", Name: name}, r))
	f(r)
	l.must(l.store.Update(context.Background(), r))
}

// A namespace that is deleted: its Secret goes first, then one pod after the other.
func TestCore_TransientFailuresAreNotPaced(t *testing.T) {
	l := newFakeCluster(t)
	for i := range 100 {
		l.pod(fmt.Sprint("p", i), "a", "aws-iam-x")
	}
	gone := apierrors.NewForbidden(corev1.Resource("secrets"), "aws-iam-x", errors.New("because it is being terminated"))
	gone.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	l.create = func() error { return gone }
	for i := range 99 {
		l.step(100 * time.Millisecond)
		l.pods.Delete(types.NamespacedName{Namespace: "ns", Name: fmt.Sprint("p", i)})
		l.reconcile("aws-iam-x") // the pod's event
	}
	if l.sts > 10 {
		t.Errorf("%d STS calls in 10 s for one Secret", l.sts)
	}
}

// A refusal that nothing explains, and an unrelated change in the cluster a minute later.
func TestCore_LaterChangeConfirmsAtOnce(t *testing.T) {
	l := newFakeCluster(t)
	l.pod("p", "a", "aws-iam-x")
	l.reconcile("aws-iam-x")
	l.step(16 * time.Minute)                                  // it is due, so the right is asked for again
	l.may = func(authorization.Request) bool { return false } // an API server that lags
	l.reconcile("aws-iam-x")
	l.step(50 * time.Second)
	l.reconcile("aws-iam-x")
	if l.get("aws-iam-x") == nil {
		t.Fatal("deleted without a change")
	}
	l.core.r.reviewer.Changes.Observe("", l.clock.Now()) // any ClusterRole, of an operator's upgrade
	l.step(500 * time.Millisecond)
	l.reconcile("aws-iam-x")
	if l.get("aws-iam-x") == nil {
		t.Error("deleted 50 s after a refusal that no change before it explains, at the first look after an unrelated change")
	}
}

// The refusal of the role that is asked for stands for that of the role that is held.
func TestCore_HeldRoleIsTakenAtTheFirstRefusal(t *testing.T) {
	l := newFakeCluster(t)
	l.may = func(r authorization.Request) bool { return r.Role.Name() == "one" }
	l.resource("app")
	l.reconcile("app")
	l.change("app", func(r *v1.AWSIAMRole) { r.Spec.RoleReference, r.Generation = "two", 2 })
	for range 6 {
		l.reconcile("app")
		l.step(time.Minute + time.Second)
	}
	if l.get("app") == nil {
		t.Fatal("deleted too early")
	}
	l.may = func(authorization.Request) bool { return false } // for one second
	l.reconcile("app")
	if l.get("app") == nil {
		t.Error("a living Secret of role one, deleted at the very first refusal of role one")
	}
}

// An AWSIAMRole whose labels are changed by its owner.
func TestCore_ContestedByItsOwnUser(t *testing.T) {
	l := newFakeCluster(t)
	l.resource("app")
	l.reconcile("app")
	for i := range 4 {
		l.step(5 * time.Second)
		l.change("app", func(r *v1.AWSIAMRole) { r.Labels = map[string]string{"v": strconv.Itoa(i)} })
		l.reconcile("app")
	}
	for _, e := range l.rec.events {
		if strings.HasPrefix(e, v1.ReasonSecretContested) {
			t.Error(e)
		}
	}
}

// Edits of a Secret while its writes are paused.
func TestCore_ReviewsWhilePaused(t *testing.T) {
	l := newFakeCluster(t)
	for i := range 20 {
		l.pod(fmt.Sprint("p", i), fmt.Sprint("sa", i), "aws-iam-x")
	}
	l.reconcile("aws-iam-x")
	before := l.reviews
	for i := range 60 {
		l.step(50 * time.Millisecond)
		if s := l.get("aws-iam-x"); s != nil {
			s.Data[keys.Expire] = fmt.Append(nil, "x", i)
			l.must(l.store.Update(context.Background(), s))
		}
		l.reconcile("aws-iam-x")
	}
	t.Logf("%d reviews and %d STS calls for 60 edits in 3 s", l.reviews-before, l.sts)
	if l.reviews-before > 300 {
		t.Errorf("%d reviews", l.reviews-before)
	}
}

// A 12 h session whose annotations another tool strips: how long before its end is it renewed?
func TestCore_StrippedAnnotationsOfALongSession(t *testing.T) {
	l := newFakeCluster(t)
	r := l.resource("app")
	l.change(r.Name, func(r *v1.AWSIAMRole) { r.Spec.RoleSessionDuration = 43200 })
	l.reconcile("app")
	l.step(5 * time.Second)
	s := l.get("app")
	s.Annotations = nil
	l.must(l.store.Update(context.Background(), s))
	l.reconcile("app")
	_, expires, _ := secret.ReadLifetime(l.get("app"))
	res := l.reconcile("app")
	at := l.clock.Now().Add(res.RequeueAfter)
	t.Logf("sts %d, annotations %v, renewed %s before the end", l.sts, l.get("app").Annotations[secret.IssuedAtAnnotation], expires.Sub(at))
	if expires.Sub(at) < 6*time.Hour {
		t.Errorf("renewed only %s before the end of a session of 12 h", expires.Sub(at))
	}
}

// An AWSIAMRole of which nothing is known, over a pod's Secret whose right is known.
func TestCore_UndecidedAWSIAMRoleStopsPods(t *testing.T) {
	l := newFakeCluster(t)
	l.core.r.reviewer.Authorizer = func(_ context.Context, r authorization.Request) (authorization.Decision, error) {
		if r.Subject.ServiceAccount == "" {
			return authorization.Decision{}, errors.New("webhook is away")
		}
		return authorization.Decision{Allowed: true}, nil
	}
	l.pod("p", "a", "aws-iam-x")
	l.resource("aws-iam-x")
	l.reconcile("aws-iam-x")
	if l.get("aws-iam-x") == nil {
		t.Error("no Secret for an entitled pod")
	}
}

// One ServiceAccount of which nothing is known, and then a pod of another that may.
func TestCore_UndecidedOfAnotherDelaysPods(t *testing.T) {
	l := newFakeCluster(t)
	l.core.r.reviewer.Authorizer = func(_ context.Context, r authorization.Request) (authorization.Decision, error) {
		if r.Subject.ServiceAccount == "bad" {
			return authorization.Decision{}, errors.New("webhook is away")
		}
		return authorization.Decision{Allowed: true}, nil
	}
	l.pod("p", "bad", "aws-iam-x")
	for range 10 {
		res := l.reconcile("aws-iam-x")
		l.step(res.RequeueAfter)
	}
	l.reconcile("aws-iam-x")
	l.step(10 * time.Millisecond)
	l.pod("q", "good", "aws-iam-x")
	res := l.reconcile("aws-iam-x")
	if l.get("aws-iam-x") == nil {
		t.Errorf("no Secret for an entitled pod, next look in %s", res.RequeueAfter)
	}
}

// issued-at edited: the Secret counts as intact and outlives its usable time.
func TestCore_IssuedAtIsBelieved(t *testing.T) {
	l := newFakeCluster(t)
	l.pod("p", "a", "aws-iam-x")
	l.reconcile("aws-iam-x")
	s := l.get("aws-iam-x")
	_, expires, _ := secret.ReadLifetime(s)
	s.Annotations[secret.IssuedAtAnnotation] = expires.Add(-time.Second).Format(time.RFC3339)
	l.must(l.store.Update(context.Background(), s))
	res := l.reconcile("aws-iam-x")
	c, _ := secret.Read(s)
	t.Logf("sts %d next %s usable until %s, expires %s, now %s", l.sts, l.clock.Now().Add(res.RequeueAfter), c.UsableUntil(), expires, l.clock.Now())
	if l.clock.Now().Add(res.RequeueAfter).After(c.UsableUntil()) {
		t.Error("not looked at before it is dead")
	}
}

// ServiceAccounts whose pods come and go.
func TestCore_DecisionsAboutGoneServiceAccountsAreDropped(t *testing.T) {
	l := newFakeCluster(t)
	l.pod("p", "a", "aws-iam-x")
	l.reconcile("aws-iam-x")
	for i := range 500 {
		l.pod("q", fmt.Sprint("sa", i), "aws-iam-x")
		l.reconcile("aws-iam-x")
		l.pods.Delete(types.NamespacedName{Namespace: "ns", Name: "q"})
		l.reconcile("aws-iam-x")
	}
	if n := l.core.Sizes()["decisions"]; n > 10 {
		t.Errorf("%d decisions about one Secret that one pod asks for", n)
	}
}

func TestCore_RefusedPodsOfManyServiceAccounts(t *testing.T) {
	l := newFakeCluster(t)
	l.may = func(authorization.Request) bool { return false }
	for i := range 200 {
		l.pod(fmt.Sprint("p", i), fmt.Sprint("sa", i), "aws-iam-x")
		l.reconcile("aws-iam-x")
	}
	if l.reviews > 1000 {
		t.Errorf("%d access reviews for 200 pods", l.reviews)
	}
}

func TestCore_StatusWritesWhileUndecided(t *testing.T) {
	l := newFakeCluster(t)
	n := 0
	l.core.r.reviewer.Authorizer = func(context.Context, authorization.Request) (authorization.Decision, error) {
		n++
		return authorization.Decision{}, fmt.Errorf("read tcp 10.0.0.1:%d->10.0.0.2:443: connection reset", 30000+n)
	}
	l.resource("app")
	var versions []string
	for range 20 {
		res := l.reconcile("app")
		r := &v1.AWSIAMRole{}
		l.must(l.store.Get(context.Background(), types.NamespacedName{Namespace: "ns", Name: "app"}, r))
		versions = append(versions, r.ResourceVersion)
		l.step(res.RequeueAfter)
	}
	if first, last := versions[0], versions[len(versions)-1]; first != last {
		t.Errorf("the status was written again and again, up to version %s", last)
	}
}

// Two refusals, six minutes apart, between which nothing was known.
func TestCore_UndecidedInBetweenCountsAsRepeated(t *testing.T) {
	l := newFakeCluster(t)
	l.pod("p", "a", "aws-iam-x")
	l.reconcile("aws-iam-x")
	l.step(16 * time.Minute) // it is due, so the right is asked for again
	l.may = func(authorization.Request) bool { return false }
	l.reconcile("aws-iam-x") // the API server starts
	l.step(11 * time.Second)
	known := l.core.r.reviewer.Authorizer
	l.core.r.reviewer.Authorizer = func(context.Context, authorization.Request) (authorization.Decision, error) {
		return authorization.Decision{}, errors.New("away")
	}
	for range 7 {
		l.reconcile("aws-iam-x")
		l.step(time.Minute)
	}
	l.step(2 * time.Minute)
	l.core.r.reviewer.Authorizer = known // and starts again
	l.reconcile("aws-iam-x")
	if l.get("aws-iam-x") == nil {
		t.Error("deleted after two refusals, with seven minutes of not knowing between them")
	}
}

// A namespace whose quota has no room for Secrets.
func TestCore_STSCallsForWhatCannotBeWritten(t *testing.T) {
	l := newFakeCluster(t)
	l.resource("app")
	l.create = func() error {
		return apierrors.NewForbidden(corev1.Resource("secrets"), "app", errors.New("exceeded quota: secrets=0"))
	}
	end := l.clock.Now().Add(time.Hour)
	for l.clock.Now().Before(end) {
		l.step(l.reconcile("app").RequeueAfter)
	}
	if l.sts > 10 {
		t.Errorf("%d STS calls in an hour for one Secret that cannot be written", l.sts)
	}
}

// The annotation of a Secret that is being deleted and has a finalizer is edited.
func TestCore_FinalizedSecretIsDeletedAgainAndAgain(t *testing.T) {
	l := newFakeCluster(t)
	l.pod("p", "a", "aws-iam-x")
	l.reconcile("aws-iam-x")
	s := l.get("aws-iam-x")
	s.Finalizers = []string{"example.org/x"}
	l.must(l.store.Update(context.Background(), s))
	l.step(time.Minute)
	l.may = func(authorization.Request) bool { return false }
	l.core.r.reviewer.Changes.Observe("ns", l.clock.Now())
	l.reconcile("aws-iam-x")
	l.step(11 * time.Second)
	l.reconcile("aws-iam-x") // deleted
	if l.get("aws-iam-x").DeletionTimestamp == nil {
		t.Fatal("not deleted")
	}
	for range 9 {
		l.step(10 * time.Millisecond)
		l.reconcile("aws-iam-x") // an edit's event
	}
	left := 0
	for l.core.r.reviewer.Removals.Take(types.NamespacedName{Namespace: "other", Name: strconv.Itoa(left)}, l.clock.Now()) {
		left++
	}
	if left < 8 {
		t.Errorf("of the 10 deletions of the whole cluster, %d are left after those of one Secret", left)
	}
}

// A warning that the limit drops is emitted later.
func TestCore_DroppedWarningsAreNeverTold(t *testing.T) {
	l := newFakeCluster(t)
	l.may = func(authorization.Request) bool { return false }
	for i := range 600 {
		l.pod(fmt.Sprint("p", i), "a", "aws-iam-x")
	}
	for range 10 {
		l.step(l.reconcile("aws-iam-x").RequeueAfter)
	}
	n := 0
	for _, e := range l.rec.events {
		if strings.HasPrefix(e, v1.ReasonRoleForbidden) {
			n++
		}
	}
	if n < 600 {
		t.Errorf("%d of 600 pods have their event within ten minutes", n)
	}
}

// All that was looked at within ten seconds of a change of the cluster is looked at again at one
// instant.
func TestCore_RechecksAreNotSpread(t *testing.T) {
	l := newFakeCluster(t)
	for i := range 200 {
		l.pod(fmt.Sprint("p", i), "a", fmt.Sprint("aws-iam-x", i))
		l.reconcile(fmt.Sprint("aws-iam-x", i))
	}
	l.step(time.Minute)
	start := l.clock.Now()
	l.core.r.reviewer.Changes.Observe("", start)
	same := 0
	for i := range 200 {
		l.clock.SetTime(start.Add(500*time.Millisecond + time.Duration(i)*75*time.Millisecond)) // spread over 15 s
		res := l.reconcile(fmt.Sprint("aws-iam-x", i))
		if at := l.clock.Now().Add(res.RequeueAfter); at.Sub(start.Add(10*time.Second)).Abs() < 50*time.Millisecond {
			same++
		}
	}
	if same > 20 {
		t.Errorf("%d of 200 are looked at again at the same instant", same)
	}
}

func TestCore_DryRunUndecided(t *testing.T) {
	l := newFakeCluster(t)
	l.core.r.reviewer.DryRun = true
	l.core.r.reviewer.Authorizer = func(context.Context, authorization.Request) (authorization.Decision, error) {
		return authorization.Decision{}, errors.New("it is not known")
	}
	l.resource("app")
	l.reconcile("app")
	for _, e := range l.rec.events {
		if strings.HasPrefix(e, v1.ReasonRoleForbidden) {
			t.Error(e)
		}
	}
}

// The seed is deleted while its renewal fails.
func TestCore_SeedIsNotRestoredWhileRenewalFails(t *testing.T) {
	s := good(ownSeed, missing, failedUntil(time.Minute))
	s.seedInMemory = true
	if d := decide(&s); d.action != actionRepair {
		t.Errorf("%s until %s", d.action, d.requeueAt.Sub(s.now))
	}
}

// What looks like nothing: every decision that does nothing says when to look again, and not at
// once.
func TestCore_NoSpin(t *testing.T) {
	now := good().now
	times := []time.Duration{-time.Hour, -time.Second, 0, time.Second, time.Hour}
	n := 0
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	pick := func() time.Time {
		if rng.IntN(3) == 0 {
			return time.Time{}
		}
		return now.Add(times[rng.IntN(len(times))])
	}
	future := func() time.Time { return now.Add(time.Duration(1+rng.IntN(100)) * time.Second) }
	flip := func() bool { return rng.IntN(2) == 0 }
	for range 300000 {
		s := good()
		s.wanted, s.seed, s.clockTrusted, s.confirmed, s.seedInMemory = flip(), rng.IntN(5) == 0, flip(), flip(), flip()
		s.unusedSince = now.Add(times[rng.IntN(len(times))])
		if rng.IntN(3) == 0 {
			s.current = nil
		} else {
			s.current = currentSince(now.Add(-time.Duration(rng.IntN(70)) * time.Minute))
			s.current.intact, s.current.repairable, s.current.inUse, s.current.allowed = flip(), flip(), flip(), flip()
			if rng.IntN(5) == 0 {
				s.current.credentials = credentials.Credentials{}
			}
			if rng.IntN(5) == 0 {
				s.current.role = "other"
			}
			if rng.IntN(6) == 0 {
				s.unfit, s.unfitReason = errors.New("own"), v1.ReasonInvalidRole
			}
		}
		if rng.IntN(6) == 0 {
			s.invalid = errors.New("i")
		}
		if rng.IntN(6) == 0 {
			s.unready = errors.New("u")
		}
		s.access.Allowed = flip()
		s.reviewAt = future()
		if rng.IntN(4) == 0 {
			s.undecided = errors.New("x")
		}
		s.deleteAt, s.issueAt, s.repairAt = pick(), pick(), pick()
		if flip() {
			s.failure = &records.Failure{RetryAt: now.Add(times[rng.IntN(4)])}
			if flip() {
				s.failure.Reason = v1.ReasonGetCredentialsFailed
			}
			if rng.IntN(4) == 0 {
				s.failure.Reason, s.failure.Action = v1.ReasonUpdateSecretFailed, secretstore.ActionDelete
			}
		}
		d := decide(&s)
		if (d.action == actionNone || d.action == actionReject) && !d.requeueAt.IsZero() && !d.requeueAt.After(now) {
			n++
			if n < 6 {
				t.Errorf("%s %s at %s: failure %+v held %+v seed %t wanted %t invalid %v unready %v undecided %v allowed %t", d.action, d.reason, d.requeueAt.Sub(now), s.failure, s.current, s.seed, s.wanted, s.invalid, s.unready, s.undecided, s.access.Allowed)
			}
		}
		if (d.action == actionNone || d.action == actionReject) && d.requeueAt.IsZero() && (s.wanted || s.current != nil) {
			n++
			if n < 6 {
				t.Errorf("%s %s at no time: %+v", d.action, d.reason, s)
			}
		}
	}
	t.Log(n)
}

// An AWSIAMRole that its user deletes and makes again, with Kubernetes' garbage collector.
func TestCore_RecreatedAWSIAMRoleIsNoContest(t *testing.T) {
	l := newFakeCluster(t)
	for i := range 5 {
		r := l.resource("app")
		r.UID = types.UID(fmt.Sprint("u", i))
		l.reconcile("app")
		l.step(5 * time.Second)
		l.must(l.store.Delete(context.Background(), r))
		if s := l.get("app"); s != nil {
			l.must(l.store.Delete(context.Background(), s)) // the garbage collector is first
		}
		l.reconcile("app")
		l.step(5 * time.Second)
	}
	for _, e := range l.rec.events {
		if strings.HasPrefix(e, v1.ReasonSecretContested) {
			t.Error(e)
		}
	}
}

// An AWSIAMRole whose new role is refused keeps the one that its Secret holds; then a pod comes
// that may have neither.
func TestCore_UnentitledPodHasASecretDeletedAtItsFirstLook(t *testing.T) {
	l := newFakeCluster(t)
	l.may = func(r authorization.Request) bool { return r.Role.Name() == "one" && r.Subject.ServiceAccount == "" }
	l.resource("aws-iam-app")
	l.reconcile("aws-iam-app")
	l.change("aws-iam-app", func(r *v1.AWSIAMRole) { r.Spec.RoleReference, r.Generation = "two", 2 })
	for range 6 {
		l.reconcile("aws-iam-app")
		l.step(time.Minute + time.Second)
	}
	if l.get("aws-iam-app") == nil {
		t.Fatal("deleted too early")
	}
	l.pod("p", "other", "aws-iam-app")
	l.reconcile("aws-iam-app")
	if l.get("aws-iam-app") == nil {
		t.Error("deleted at the first look at the pod")
	}
}

// Whoever may write Secrets replaces the Secret between STS's answer and the write.
func TestCore_ReplacedWhileWritten(t *testing.T) {
	l := newFakeCluster(t)
	l.pod("p", "a", "aws-iam-x")
	l.create = func() error { return apierrors.NewAlreadyExists(corev1.Resource("secrets"), "aws-iam-x") } // made by a loop of create and delete
	for range 60 {
		l.step(100 * time.Millisecond)
		l.reconcile("aws-iam-x") // the event of a labeled Secret that is deleted
	}
	if l.sts > 10 {
		t.Errorf("%d STS calls in 6 s for one Secret", l.sts)
	}
}

// A status that another policy refuses for good.
func TestCore_RefusedStatusIsTriedEverySecond(t *testing.T) {
	l := newFakeCluster(t)
	l.resource("app")
	before, ok := l.core.r.secrets.Cached.(client.WithWatch)
	if !ok {
		t.Fatalf("the client is a %T", l.core.r.secrets.Cached)
	}
	l.core.r.secrets.Cached = interceptor.NewClient(before, interceptor.Funcs{
		SubResourceUpdate: func(context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption) error {
			return apierrors.NewForbidden(corev1.Resource("awsiamroles"), "app", errors.New("policy"))
		},
	})
	n := 0
	for end := l.clock.Now().Add(10 * time.Minute); l.clock.Now().Before(end); n++ {
		l.step(l.reconcile("app").RequeueAfter)
	}
	if n > 60 {
		t.Errorf("%d reconciles in ten minutes", n)
	}
}

// The Secret that the controller works with, that no pod asks for, at the first reconcile after a
// start: which key it works with is known as soon as it asked STS, and IsOwnRole asks.
func TestCore_SecretInUseAtTheStart(t *testing.T) {
	l := newFakeCluster(t)
	l.pod("p", "a", "aws-iam-x")
	l.reconcile("aws-iam-x")
	key := l.get("aws-iam-x").Annotations[secret.AccessKeyIDAnnotation]
	l.pods.Delete(types.NamespacedName{Namespace: "ns", Name: "p"})
	asked := false
	l.core.r.aws.IsOwnRole = func(context.Context, role.ARN) (bool, error) { asked = true; return true, nil }
	l.core.r.aws.UsesKey = func(id string) bool { return asked && id == key }
	l.reconcile("aws-iam-x")
	if l.get("aws-iam-x") == nil {
		t.Error("the Secret that the controller works with is deleted")
	}
}

// A Secret that could not be updated, as it is immutable, is issued again at once when it is gone.
func TestReconcile_GoneImmutableSecretIsIssuedAtOnce(t *testing.T) {
	l := newFakeCluster(t)
	l.pod("p", "a", "aws-iam-x")
	l.reconcile("aws-iam-x")
	s := l.get("aws-iam-x")
	s.Immutable = new(true)
	l.must(l.store.Update(t.Context(), s))
	l.step(20 * time.Minute)
	for range 10 { // pauses grow to a minute
		l.reconcile("aws-iam-x")
		l.step(time.Minute)
	}
	if l.rec.count(v1.ReasonUpdateSecretFailed) == 0 || l.sts != 1 {
		t.Fatalf("%d sessions, the events %v", l.sts, l.rec.events)
	}
	l.reconcile("aws-iam-x")
	l.must(l.store.Delete(t.Context(), s))
	l.reconcile("aws-iam-x")
	if l.get("aws-iam-x") == nil {
		t.Error("it is not issued")
	}
}
