package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
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
		client: client, name: o.Seed, plant: o.Credentials.Plant, base: o.Credentials.Own().Base, log: o.Log, clock: o.Credentials.Clock(),
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
		AddFunc:    func(now any) { w.take(now, true) },
		UpdateFunc: func(_, now any) { w.take(now, true) },
		DeleteFunc: func(any) { w.take(nil, true) },
	})
	if err != nil {
		return err
	}
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), known.HasSynced) {
			w.take(nil, false)
		}
	}()
	informer.RunWithContext(ctx)
	return nil
}

// take plants what the Secret holds, or notes why it is of no use; nil stands for no Secret. Unless it is news, it counts only if nothing is known yet.
func (w *seedWatch) take(obj any, isNews bool) {
	found, _ := obj.(*corev1.Secret)
	next := w.read(found)
	w.lock.Lock()
	was := w.planted
	if !isNews && was.secret != nil {
		w.lock.Unlock()
		return
	}
	if next.Lacking != "" && (found == nil || secret.Owned(found)) && was.Usable(next.since) == nil {
		next.Seed = was.Seed // the controller's own Secret was deleted or damaged: it is written again from memory
	}
	changes := w.replace(next)
	listeners := w.changed
	w.lock.Unlock()
	if changes && next.Lacking == "" {
		w.log.Info("seed taken", "secret", w.name.String(), "accessKeyID", next.Credentials.AccessKeyID, "expires", next.Credentials.Expires.Format(time.RFC3339))
	}
	if was.secret == nil {
		close(w.known)
	}
	for _, changed := range listeners { // the label may have gone even where the credentials are the same
		changed()
	}
}

// replace plants what is other than before, in the order in which it comes, and tells whether it was. The lock is held.
func (w *seedWatch) replace(next planted) (changes bool) {
	was := w.planted
	changes = next.Credentials != was.Credentials || next.Lacking != was.Lacking
	if changes {
		w.plant(next.Seed)
	} else {
		next.since = was.since
	}
	w.planted = next
	return changes
}

// read is the seed in a Secret.
func (w *seedWatch) read(s *corev1.Secret) planted {
	p := planted{since: w.clock.Now(), secret: secretReference(w.name), Seed: credentials.Seed{Name: "Secret " + w.name.String()}}
	if s == nil {
		p.Lacking, p.Remedy = "does not exist", func() string { return w.remedy("") }
		return p
	}
	p.secret.UID = s.UID
	arn := cmp.Or(string(s.Data[secret.RoleARNKey]), s.Annotations[secret.RoleARNAnnotation])
	p.Remedy = func() string { return w.remedy(arn) }
	var err error
	if p.Credentials, err = secret.Read(s); err != nil {
		p.Lacking = "is of no use: " + err.Error()
	}
	return p
}

// plainARN is an ARN that a shell takes as it is. Who may write the Secret could else have who pastes the remedy run anything.
var plainARN = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]+$`)

// remedy is the one command that puts a new seed in place, for the role whose ARN is in the Secret, or else the one that the Secret is called by.
func (w *seedWatch) remedy(arn string) string {
	if name, ok := strings.CutPrefix(w.name.Name, demand.SecretPrefix); ok && arn == "" {
		if own, err := w.base().Resolve(name); err == nil {
			arn = own.String()
		}
	}
	if _, err := role.ParseARN(arn); err != nil || !plainARN.MatchString(arn) {
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

// inMemory reports whether the controller has good credentials that were in the seed.
func (w *seedWatch) inMemory(now time.Time) bool {
	seed := w.now()
	return seed.secret != nil && seed.Usable(now) == nil
}

// readNow notes that the seed that there is was read now: what was noted when it was read may be by a clock that has been corrected since.
func (w *seedWatch) readNow() {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.planted.since = w.clock.Now()
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
	s.listen(func() { enqueue(q, s.name, priorityOwn) })
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

// addTo adds the watch to a manager, with its guard.
func (w *seedWatch) addTo(m manager.Manager, o *Options, r *reconciler) error {
	r.guard = &seedGuard{seed: w, ask: o.Credentials.Own().Caller, events: r.events, self: o.Self, changed: make(chan struct{}, 1)}
	return errors.Join(m.Add(w), m.Add(manager.RunnableFunc(r.guard.run)))
}

// ready is the probe: a controller whose seed is of no use is not ready.
func (g *seedGuard) ready(*http.Request) error {
	if t := g.trouble.Load(); t != nil && t.refused {
		return errors.New(t.note)
	}
	return g.seed.now().Usable(g.seed.clock.Now())
}
