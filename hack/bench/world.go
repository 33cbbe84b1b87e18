package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/hack/sandbox"
	"kube-aws-iam-controller/pkg/secret"
)

// stsLatency is about what AWS takes to answer AssumeRole within a Region.
const stsLatency = 30 * time.Millisecond

// world is a cluster of its own for one case, so that cases do not disturb each other.
type world struct {
	*sandbox.Sandbox
	binary     string
	kubeconfig string // the controller's
	audit      *audit
	direct     kubernetes.Interface
	secrets    *arrivals
	running    []*process
	started    int
}

// Whether the API server notes what the controller asks of it. That takes some of the machine.
const (
	unaudited = iota
	audited
)

// inWorld brings up a cluster, measures in it, and takes it down.
func inWorld(noting int, measure func(context.Context, *world) ([]figure, error)) func(context.Context, *bench) ([]figure, error) {
	return func(ctx context.Context, b *bench) (figures []figure, err error) {
		dir, err := os.MkdirTemp("", "case-")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		ctx, cancel := context.WithCancel(ctx)
		w, err := newWorld(ctx, b, dir, noting)
		defer func() {
			cancel() // an API server waits for its watches before it ends
			err = errors.Join(err, w.stop(b.verbose && err != nil))
		}()
		if err != nil {
			return nil, err
		}
		return measure(ctx, w)
	}
}

func newWorld(ctx context.Context, b *bench, dir string, noting int) (*world, error) {
	w := &world{binary: b.controller}
	var flags map[string]string
	var err error
	if noting == audited {
		if w.audit, flags, err = prepareAudit(dir); err != nil {
			return w, err
		}
	}
	if w.Sandbox, err = sandbox.Start(dir, flags); err != nil {
		return w, err
	}
	w.STS.SetLatency(stsLatency)
	if w.kubeconfig, err = w.Kubeconfig(serviceAccount, "system:serviceaccounts", "system:authenticated"); err != nil {
		return w, err
	}
	if err := w.Create(ctx, "config/rbac"); err != nil {
		return w, err
	}
	fast := rest.CopyConfig(w.Admin)
	fast.ContentType = runtime.ContentTypeProtobuf
	if w.direct, err = kubernetes.NewForConfig(fast); err != nil {
		return w, err
	}
	w.secrets, err = watchSecrets(ctx, w.direct)
	return w, err
}

func (w *world) stop(tell bool) error {
	var failures []error
	for _, p := range w.running {
		if tell {
			fmt.Fprintf(os.Stderr, "the end of %s:\n%s", p.Log, p.LogTail(40))
		}
		failures = append(failures, p.Stop())
	}
	if w.Sandbox != nil {
		failures = append(failures, w.Stop())
	}
	return errors.Join(failures...)
}

// start runs a controller as the manifests do, and waits until it is ready.
func (w *world) start(ctx context.Context, flags ...string) (p *process, toReady time.Duration, err error) {
	return w.startAt(ctx, w.kubeconfig, flags...)
}

func (w *world) startAt(ctx context.Context, kubeconfig string, flags ...string) (p *process, toReady time.Duration, err error) {
	address, err := freeAddress()
	if err != nil {
		return nil, 0, err
	}
	p = &process{address: address, began: time.Now()}
	flags = append([]string{"--leader-elect", "--metrics-bind-address=0", "--health-probe-bind-address=" + address}, flags...)
	if p.Controller, err = w.StartController(w.binary, fmt.Sprintf("controller-%d", w.started), kubeconfig, flags...); err != nil {
		return nil, 0, err
	}
	w.running = append(w.running, p)
	w.started++
	toReady, err = p.ready(ctx)
	return p, toReady, err
}

// serving creates the namespaces of teams and starts a controller, and waits until it leads and serves.
func (w *world) serving(ctx context.Context, teams int, flags ...string) (*process, []string, error) {
	names, err := w.teams(ctx, teams)
	if err != nil {
		return nil, nil, err
	}
	p, _, err := w.start(ctx, flags...)
	if err != nil {
		return nil, nil, err
	}
	_, err = w.wait(ctx, []*corev1.Pod{wanting(names[0], "warm", "warm")}, 1)
	return p, names, err
}

// end stops a controller that was started.
func (w *world) end(p *process) error {
	w.forget(p)
	return p.Stop()
}

// forget leaves a controller to end by itself.
func (w *world) forget(p *process) {
	w.running = slices.DeleteFunc(w.running, func(running *process) bool { return running == p })
}

// teams are the namespaces that are created: in each, the ServiceAccounts may have every role.
func (w *world) teams(ctx context.Context, n int) ([]string, error) {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("team-%03d", i)
		meta := metav1.ObjectMeta{Namespace: names[i], Name: "assume"}
		for _, o := range []client.Object{
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: names[i]}},
			&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{"zalando.org"}, Resources: []string{"awsiamroles"}, Verbs: []string{"assume"}},
			}},
			&rbacv1.RoleBinding{
				ObjectMeta: meta,
				Subjects:   []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:" + names[i]}},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			},
		} {
			if err := w.Cluster.Create(ctx, o); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

// created is when the first pod was created that wants a Secret.
type created map[types.NamespacedName]time.Time

// creators is how many pods are created at the same time.
const creators = 24

// create creates pods, at most so many a second, and returns for each Secret when the first pod that wants it had been created.
func (w *world) create(ctx context.Context, pods []*corev1.Pod, perSecond float64) (created, error) {
	var lock sync.Mutex
	wanted := created{}
	limit := rate.NewLimiter(rate.Limit(perSecond), 1)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(creators)
	for _, pod := range pods {
		if err := limit.Wait(ctx); err != nil {
			break
		}
		group.Go(func() error {
			if _, err := w.direct.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
				return err
			}
			now := time.Now()
			lock.Lock()
			defer lock.Unlock()
			for _, secret := range secretsOf(pod) {
				if first, ok := wanted[secret]; !ok || now.Before(first) {
					wanted[secret] = now
				}
			}
			return nil
		})
	}
	return wanted, group.Wait()
}

// arrivals notes when each Secret was first seen by a watch, and how it is renewed.
type arrivals struct {
	lock     sync.Mutex
	at       map[types.NamespacedName]time.Time
	renewals map[types.NamespacedName]renewal
}

func watchSecrets(ctx context.Context, direct kubernetes.Interface) (*arrivals, error) {
	a := &arrivals{at: map[types.NamespacedName]time.Time{}, renewals: map[types.NamespacedName]renewal{}}
	// An informer, as the API server closes watches that lag; of whole Secrets, as it encodes them for the controller anyway.
	informer := informers.NewFilteredSecretInformer(direct, "", 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.LabelSelector = labels.Set{secret.OwnerLabel: secret.OwnerValue}.String()
	})
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: a.note, UpdateFunc: a.noteRenewal}); err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	cache.WaitForCacheSync(ctx.Done(), informer.HasSynced)
	return a, ctx.Err()
}

func (a *arrivals) note(obj any) {
	if o, ok := obj.(metav1.Object); ok {
		a.lock.Lock()
		defer a.lock.Unlock()
		a.at[types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}] = time.Now()
	}
}

// waits are how long each wanted Secret took, once all are there.
func (a *arrivals) waits(ctx context.Context, wanted created) ([]time.Duration, error) {
	var waits []time.Duration
	err := sandbox.Await(ctx, fmt.Sprintf("%d Secrets are written", len(wanted)), func() (bool, error) {
		a.lock.Lock()
		defer a.lock.Unlock()
		waits = waits[:0]
		for secret, since := range wanted {
			seen, ok := a.at[secret]
			if !ok {
				return false, nil
			}
			waits = append(waits, max(0, seen.Sub(since)))
		}
		return true, nil
	})
	return waits, err
}
