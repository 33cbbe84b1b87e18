// Package seed keeps the controller's own AWS credentials those of one Secret, the seed, and warns
// while it is not renewed. It is for clusters where nothing else gives the controller an identity.
package seed

import (
	"cmp"
	"context"
	"fmt"
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

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
)

// Watch makes the credentials in the seed those that the controller works with, as soon as it
// exists and at each change, whether by the controller itself or by an operator. It runs on every
// replica.
type Watch struct {
	client kubernetes.Interface
	name   types.NamespacedName
	use    func(credentials.Seed)
	base   func() role.Base
	log    logr.Logger
	clock  clock.PassiveClock

	lock  sync.Mutex
	state state
	// known is closed once it is known whether the Secret exists.
	known chan struct{}
	// changed has the subscribers.
	changed []func()
}

// state is the seed as it was read last.
type state struct {
	credentials.Seed
	// readAt is when it was read.
	readAt time.Time
	// secret is what events are about. It has no UID if the Secret does not exist, and is nil
	// before that is known.
	secret *corev1.Secret
}

// NewWatch returns a Watch of a Secret. use gets the seed at each change; base returns where roles
// lie that are asked for by name; the clock is STS's.
func NewWatch(client kubernetes.Interface, name types.NamespacedName, use func(credentials.Seed), base func() role.Base, c clock.PassiveClock, log logr.Logger) *Watch {
	return &Watch{
		client: client, name: name, use: use, base: base, log: log, clock: c,
		known: make(chan struct{}),
		state: state{Seed: credentials.Seed{Name: "Secret " + name.String(), Problem: "has not been read yet"}},
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (w *Watch) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it watches until the context is done.
func (w *Watch) Start(ctx context.Context) error {
	informer := informers.NewFilteredSecretInformer(w.client, w.name.Namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, w.name.Name).String()
	})
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(now any) { w.observe(now, false) },
		UpdateFunc: func(_, now any) { w.observe(now, false) },
		DeleteFunc: func(any) { w.observe(nil, false) },
	})
	if err != nil {
		return err
	}
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			w.observe(nil, true)
		}
	}()
	informer.RunWithContext(ctx)
	return nil
}

// observe uses what the Secret holds, or notes why it is of no use; nil stands for no Secret. With
// onlyFirst it does nothing if there was an observation before.
func (w *Watch) observe(obj any, onlyFirst bool) {
	found, _ := obj.(*corev1.Secret)
	next := w.read(found)
	w.lock.Lock()
	previous := w.state
	if onlyFirst && previous.secret != nil {
		w.lock.Unlock()
		return
	}
	if next.Problem != "" && (found == nil || secret.IsManaged(found)) && previous.Check(next.readAt) == nil {
		next.Seed = previous.Seed // the controller's own Secret was deleted or damaged: it is restored from memory
	}
	changes := w.replace(next)
	subscribers := w.changed
	w.lock.Unlock()
	if changes && next.Problem == "" {
		w.log.Info("seed taken", "secret", w.name.String(), "accessKeyID", next.Credentials.AccessKeyID, "expires", next.Credentials.Expires.Format(time.RFC3339))
	}
	if previous.secret == nil {
		close(w.known)
	}
	for _, changed := range subscribers { // the label can be gone even where the credentials are the same
		changed()
	}
}

// replace makes next the state, uses it if it differs, and reports whether it does. The lock is
// held, so that changes are used in order.
func (w *Watch) replace(next state) (changes bool) {
	previous := w.state
	changes = next.Credentials != previous.Credentials || next.Problem != previous.Problem
	if changes {
		w.use(next.Seed)
	} else {
		next.readAt = previous.readAt
	}
	w.state = next
	return changes
}

// read returns the seed in a Secret.
func (w *Watch) read(s *corev1.Secret) state {
	next := state{
		readAt: w.clock.Now(),
		secret: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: w.name.Name}},
		Seed:   credentials.Seed{Name: "Secret " + w.name.String()},
	}
	if s == nil {
		next.Problem, next.Remedy = "does not exist", func() string { return w.remedy("") }
		return next
	}
	next.secret.UID = s.UID
	arn := cmp.Or(string(s.Data[keys.RoleARN]), s.Annotations[secret.RoleARNAnnotation])
	next.Remedy = func() string { return w.remedy(arn) }
	var err error
	if next.Credentials, err = secret.Read(s); err != nil {
		next.Problem = "is of no use: " + err.Error()
	}
	return next
}

// plainARN matches an ARN that needs no quotes in a shell. Otherwise a tenant who can write the
// Secret could make an operator who pastes the remedy run any command.
var plainARN = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]+$`)

// remedy returns the command that puts a new seed in place, for the role whose ARN is in the
// Secret or, without one, for the role that the Secret is named after.
func (w *Watch) remedy(arn string) string {
	if name, ok := strings.CutPrefix(w.name.Name, request.SecretPrefix); ok && arn == "" {
		if own, err := w.base().Resolve(name); err == nil {
			arn = own.String()
		}
	}
	if _, err := role.ParseARN(arn); err != nil || !plainARN.MatchString(arn) {
		arn = "<ARN of the controller's role>"
	}
	return fmt.Sprintf("Put a new seed in place: scripts/bootstrap.sh --namespace %s --name %s %s", w.name.Namespace, w.name.Name, arn)
}

// current returns the seed as it is.
func (w *Watch) current() state {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.state
}

// Credentials returns the controller's own credentials that are or were in the Secret. ok is false
// if there are none that are good at a time by STS's clock.
func (w *Watch) Credentials(now time.Time) (c credentials.Credentials, ok bool) {
	seed := w.current()
	return seed.Credentials, seed.secret != nil && seed.Check(now) == nil
}

// resetReadAt notes that the seed was read now: the clock can have been corrected since it was.
func (w *Watch) resetReadAt() {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.state.readAt = w.clock.Now()
}

// Subscribe calls a function now and after each change.
func (w *Watch) Subscribe(changed func()) {
	w.lock.Lock()
	w.changed = append(w.changed, changed)
	w.lock.Unlock()
	changed()
}

// Known returns a channel that is closed once it is known whether the Secret exists.
func (w *Watch) Known() <-chan struct{} { return w.known }
