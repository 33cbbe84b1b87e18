package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/demand"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// seedWatch keeps the controller's own credentials those of one Secret, the seed: from the moment that it is there, and again whenever somebody, who
// may be the controller itself, puts others in it. It runs on every replica.
type seedWatch struct {
	client kubernetes.Interface
	name   types.NamespacedName
	plant  func(credentials.Seed)
	base   func() role.Base
	log    logr.Logger
	clock  clock.PassiveClock

	lock    sync.Mutex
	planted planted
	// known is closed as soon as it is known what there is.
	known chan struct{}
	// changed is told of each change, once somebody listens.
	changed []func()
}

// planted is the seed as it is.
type planted struct {
	credentials.Seed
	// since is when it was read.
	since time.Time
	// secret is what events are about; it has no UID if there is none, and is nil before that is known.
	secret *corev1.Secret
}

func newSeedWatch(client kubernetes.Interface, o *Options) *seedWatch {
	return &seedWatch{
		client: client, name: o.Seed, plant: o.Credentials.Plant, base: o.Credentials.Base, log: o.Log, clock: o.Clock,
		known:   make(chan struct{}),
		planted: planted{Seed: credentials.Seed{Name: "Secret " + o.Seed.String(), Lacking: "has not been read yet"}},
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (w *seedWatch) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it watches until the context is done.
func (w *seedWatch) Start(ctx context.Context) error {
	informer := informers.NewFilteredSecretInformer(w.client, w.name.Namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, w.name.Name).String()
	})
	known, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    w.take,
		UpdateFunc: func(_, now any) { w.take(now) },
		DeleteFunc: func(any) { w.take(nil) },
	})
	if err != nil {
		return err
	}
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), known.HasSynced) && len(informer.GetStore().ListKeys()) == 0 {
			w.take(nil)
		}
	}()
	informer.RunWithContext(ctx)
	return nil
}

// take plants what the Secret holds, or notes why it is of no use; nil stands for no Secret.
func (w *seedWatch) take(obj any) {
	found, _ := obj.(*corev1.Secret)
	next := planted{Seed: w.read(found), since: w.clock.Now(), secret: secretReference(w.name)}
	if found != nil {
		next.secret.UID = found.UID
	}
	w.lock.Lock()
	if w.planted.secret == nil {
		defer close(w.known)
	}
	news := next.Credentials != w.planted.Credentials || next.Lacking != w.planted.Lacking
	w.planted = next
	listeners := w.changed
	w.lock.Unlock()
	if news {
		w.plant(next.Seed)
		w.log.Info("seed read", "secret", w.name.String(), "accessKeyID", next.Credentials.AccessKeyID, "expires", next.Credentials.Expires, "lacking", next.Lacking)
	}
	for _, changed := range listeners { // the label may have gone even where the credentials are the same
		changed()
	}
}

// read is the seed in a Secret.
func (w *seedWatch) read(s *corev1.Secret) credentials.Seed {
	seed := credentials.Seed{Name: "Secret " + w.name.String(), Remedy: func() string { return w.remedy(s) }}
	if s == nil {
		seed.Lacking = "does not exist"
		return seed
	}
	c, err := secret.Read(s)
	if err != nil {
		seed.Lacking = "is of no use: " + err.Error()
		return seed
	}
	seed.Credentials = c
	return seed
}

// remedy is the one command that puts a new seed in place.
func (w *seedWatch) remedy(s *corev1.Secret) string {
	arn := ""
	if s != nil {
		arn = string(s.Data[secret.RoleARNKey])
	}
	if name, ok := strings.CutPrefix(w.name.Name, demand.SecretPrefix); ok {
		if own, err := w.base().Resolve(name); err == nil && arn == "" {
			arn = own.String()
		}
	}
	if _, err := role.ParseARN(arn); err != nil {
		arn = "<ARN of the controller's role>"
	}
	return fmt.Sprintf("Put a new seed in place: scripts/bootstrap.sh --namespace %s --name %s %s", w.name.Namespace, w.name.Name, arn)
}

// now is the seed as it is.
func (w *seedWatch) now() planted {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.planted
}

// listen calls a function now and after each change.
func (w *seedWatch) listen(changed func()) {
	w.lock.Lock()
	w.changed = append(w.changed, changed)
	w.lock.Unlock()
	changed()
}

// seedSource lets the Secret be looked at now, and after each change: it is wanted as long as the controller runs.
type seedSource struct{ *seedWatch }

// Start implements source.Source.
func (s seedSource) Start(_ context.Context, q queue) error {
	s.listen(func() { enqueue(q, s.name, priorityUrgent) })
	return nil
}

// WaitForSync implements source.SyncingSource: without a seed nothing can be done, and nobody is told before that is known.
func (s seedSource) WaitForSync(ctx context.Context) error {
	select {
	case <-s.known:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// addTo adds the watch to a manager, with its guard and a probe: a controller whose seed is of no use is not ready.
func (w *seedWatch) addTo(m manager.Manager, o *Options, r *reconciler) error {
	if w == nil {
		return nil
	}
	guard := &seedGuard{seed: w, events: r.events, self: o.Self, why: func() *failure { return r.failures.get(w.name) }}
	return errors.Join(m.Add(w), m.Add(leading{guard.run}), m.AddReadyzCheck("seed", func(*http.Request) error {
		return w.now().Usable(w.clock.Now())
	}))
}

// leading runs on the leader only.
type leading struct {
	run func(context.Context)
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (leading) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable.
func (l leading) Start(ctx context.Context) error {
	l.run(ctx)
	return nil
}

// What events about the seed say.
const (
	ReasonSeedNotRenewed = "SeedNotRenewed"
	ReasonSeedExpired    = "SeedExpired"
)

// seedGuard warns as long as the seed is not renewed when it should have been: nothing else would tell before it is too late.
type seedGuard struct {
	seed   *seedWatch
	events announcer
	// self is the controller's own pod, if it is one.
	self *corev1.Pod
	// why is how the last attempt to renew the seed went wrong, if it did.
	why func() *failure
}

// warningsInALife bounds how often a warning is repeated: every five minutes in the life of an hour, which is the longest that a seed can have.
const warningsInALife = 12

// run watches over the seed until the context is done.
func (g *seedGuard) run(ctx context.Context) {
	changed := make(chan struct{}, 1)
	g.seed.listen(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	for {
		seed := g.seed.now()
		w := warn(seed, g.seed.clock.Now(), g.why())
		if w.reason != "" && seed.secret != nil {
			g.seed.log.Error(nil, w.note, "reason", w.reason)
			g.events.warned(seed.secret, g.self, w.reason, w.action, w.note)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(w.again):
		}
	}
}

// warning is what is to be told about a seed now, if anything, and after which time to look again.
type warning struct {
	reason, action, note string
	again                time.Duration
}

// warn is pure. Between a quarter and half of its life a seed is renewed; a little later something must be wrong. One that was read later than that is
// given a tenth of what it had left.
func warn(s planted, now time.Time, f *failure) warning {
	expires, life := s.Credentials.Expires, s.Credentials.Expires.Sub(s.Credentials.Issued)
	late := s.Credentials.Issued.Add(life/2 + life/60)
	if read := s.since.Add(expires.Sub(s.since) / 10); read.After(late) {
		late = read
	}
	again := max(time.Second, life/warningsInALife)
	switch err := s.Usable(now); {
	case s.Lacking != "":
		return warning{ReasonSeedExpired, "Renew", err.Error(), seedMissingAgain}
	case err != nil:
		return warning{ReasonSeedExpired, "Renew", err.Error(), again}
	case now.Before(late):
		return warning{again: late.Sub(now)}
	}
	action, why := "Renew", "no attempt was made yet"
	if f != nil {
		action, why = f.action, f.note // the action keeps events apart that have another cause
	}
	return warning{ReasonSeedNotRenewed, action, fmt.Sprintf("the controller's own AWS credentials, in %s, expire at %s and were not renewed at half of their life: %s. If this lasts "+
		"until then, no role can be assumed any more. %s", s.Name, expires.Format(time.RFC3339), why, s.Remedy()), min(again, expires.Sub(now))}
}

// seedMissingAgain is how often it is told that there is no seed.
const seedMissingAgain = 5 * time.Minute
