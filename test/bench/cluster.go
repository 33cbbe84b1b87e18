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

	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/test/env"
)

// stsLatency is about what AWS takes to answer AssumeRole within a Region.
const stsLatency = 30 * time.Millisecond

// cluster is the cluster of one case. Each case has its own, so that cases do not disturb each
// other.
type cluster struct {
	*env.Sandbox
	binary     string
	kubeconfig string // the controller's
	audit      *audit
	direct     kubernetes.Interface
	secrets    *arrivals
	running    []*process
	started    int
}

// Whether the API server logs the controller's calls, which takes some CPU.
const (
	unaudited = iota
	audited
)

// inCluster starts a cluster, measures in it, and stops it.
func inCluster(noting int, measure func(context.Context, *cluster) ([]figure, error)) func(context.Context, *bench) ([]figure, error) {
	return func(ctx context.Context, b *bench) (figures []figure, err error) {
		dir, err := os.MkdirTemp("", "case-")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		ctx, cancel := context.WithCancel(ctx)
		c, err := newCluster(ctx, b, dir, noting)
		defer func() {
			cancel() // an API server waits for its watches before it ends
			err = errors.Join(err, c.stop(b.verbose && err != nil))
		}()
		if err != nil {
			return nil, err
		}
		return measure(ctx, c)
	}
}

func newCluster(ctx context.Context, b *bench, dir string, noting int) (*cluster, error) {
	c := &cluster{binary: b.controller}
	var flags map[string]string
	var err error
	if noting == audited {
		if c.audit, flags, err = prepareAudit(dir); err != nil {
			return c, err
		}
	}
	if c.Sandbox, err = env.Start(dir, flags); err != nil {
		return c, err
	}
	c.STS.SetLatency(stsLatency)
	if c.kubeconfig, err = c.Kubeconfig(serviceAccount, "system:serviceaccounts", "system:authenticated"); err != nil {
		return c, err
	}
	if err := c.Create(ctx, "config/rbac"); err != nil {
		return c, err
	}
	fast := rest.CopyConfig(c.Admin)
	fast.ContentType = runtime.ContentTypeProtobuf
	if c.direct, err = kubernetes.NewForConfig(fast); err != nil {
		return c, err
	}
	c.secrets, err = watchSecrets(ctx, c.direct)
	return c, err
}

func (c *cluster) stop(logs bool) error {
	var failures []error
	for _, p := range c.running {
		if logs {
			fmt.Fprintf(os.Stderr, "the end of %s:\n%s", p.Log, p.LogTail(40))
		}
		failures = append(failures, p.Stop())
	}
	if c.Sandbox != nil {
		failures = append(failures, c.Stop())
	}
	return errors.Join(failures...)
}

// start runs a controller as the manifests do, and waits until it is ready.
func (c *cluster) start(ctx context.Context, flags ...string) (p *process, toReady time.Duration, err error) {
	return c.startAt(ctx, c.kubeconfig, flags...)
}

func (c *cluster) startAt(ctx context.Context, kubeconfig string, flags ...string) (p *process, toReady time.Duration, err error) {
	address, err := env.FreeAddress()
	if err != nil {
		return nil, 0, err
	}
	p = &process{address: address, began: time.Now()}
	flags = append([]string{"--leader-elect", "--metrics-bind-address=0", "--health-probe-bind-address=" + address}, flags...)
	if p.Controller, err = c.StartController(c.binary, fmt.Sprintf("controller-%d", c.started), kubeconfig, flags...); err != nil {
		return nil, 0, err
	}
	c.running = append(c.running, p)
	c.started++
	toReady, err = p.ready(ctx)
	return p, toReady, err
}

// serving creates the namespaces of teams and starts a controller, and waits until it leads and
// serves.
func (c *cluster) serving(ctx context.Context, teams int, flags ...string) (*process, []string, error) {
	names, err := c.teams(ctx, teams)
	if err != nil {
		return nil, nil, err
	}
	p, _, err := c.start(ctx, flags...)
	if err != nil {
		return nil, nil, err
	}
	_, err = c.wait(ctx, []*corev1.Pod{podWithRoles(names[0], "warm", "warm")}, 1)
	return p, names, err
}

// end stops a controller that was started.
func (c *cluster) end(p *process) error {
	c.forget(p)
	return p.Stop()
}

// forget removes a controller that exits by itself from those that stop stops.
func (c *cluster) forget(p *process) {
	c.running = slices.DeleteFunc(c.running, func(running *process) bool { return running == p })
}

// teams creates namespaces, in each of which all ServiceAccounts have the right to every role.
func (c *cluster) teams(ctx context.Context, n int) ([]string, error) {
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
			if err := c.Cluster.Create(ctx, o); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

// created holds for each Secret when the first pod that asks for it was created.
type created map[types.NamespacedName]time.Time

// creators is how many pods are created at the same time.
const creators = 24

// create creates pods, at most so many a second, and returns for each Secret when the first pod
// that asks for it was created.
func (c *cluster) create(ctx context.Context, pods []*corev1.Pod, perSecond float64) (created, error) {
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
			if _, err := c.direct.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
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

// arrivals records when a watch first saw each Secret, and its renewals.
type arrivals struct {
	lock     sync.Mutex
	at       map[types.NamespacedName]time.Time
	renewals map[types.NamespacedName]renewalCount
}

func watchSecrets(ctx context.Context, direct kubernetes.Interface) (*arrivals, error) {
	a := &arrivals{at: map[types.NamespacedName]time.Time{}, renewals: map[types.NamespacedName]renewalCount{}}
	// An informer, as the API server closes watches that lag; of whole Secrets, as it encodes them
	// for the controller anyway.
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

// waits returns how long each Secret took, once all exist.
func (a *arrivals) waits(ctx context.Context, wanted created) ([]time.Duration, error) {
	var waits []time.Duration
	err := env.Await(ctx, fmt.Sprintf("%d Secrets are written", len(wanted)), func() (bool, error) {
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
