package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/test/env"
)

const (
	// newcomers is how many pods of another namespace come during a load, perSecond of them.
	newcomers          = 20
	newcomersPerSecond = 4
	// loads is how often that is measured: the median counts.
	loads = 5
	// fairWait is how long the slowest of the newcomers can wait for its Secret.
	fairWait = 300
)

// newcomerFigures are what new pods of a namespace waited for while another one had the
// controller busy.
type newcomerFigures struct{ slowest, plainSlowest, plainMedian []time.Duration }

// measure creates pods of a namespace, each of which requests a Secret of its own, over some
// seconds. In the same seconds a plain client creates and reads Secrets in the namespace default.
func (f *newcomerFigures) measure(ctx context.Context, c *cluster, namespace, prefix string) error {
	var pods []*corev1.Pod
	for i := range newcomers {
		name := fmt.Sprintf("%s-%d", prefix, i)
		pods = append(pods, podWithRoles(namespace, name, name))
	}
	var waits, plain []time.Duration
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		waits, err = c.wait(ctx, pods, newcomersPerSecond)
		return err
	})
	group.Go(func() (err error) {
		plain, err = c.plainSecrets(ctx, prefix)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	f.slowest = append(f.slowest, slices.Max(waits))
	f.plainSlowest = append(f.plainSlowest, slices.Max(plain))
	f.plainMedian = append(f.plainMedian, quantile(plain, 0.5))
	return nil
}

// plainSecrets returns how long a plain client takes to create and read a Secret, each time.
func (c *cluster) plainSecrets(ctx context.Context, prefix string) (all []time.Duration, err error) {
	secrets := c.direct.CoreV1().Secrets(metav1.NamespaceDefault)
	limit := rate.NewLimiter(newcomersPerSecond, 1)
	for i := range newcomers {
		if err := limit.Wait(ctx); err != nil {
			return nil, err
		}
		began := time.Now()
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("plain-%s-%d", prefix, i)}}
		if _, err := secrets.Create(ctx, s, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		if _, err := secrets.Get(ctx, s.Name, metav1.GetOptions{}); err != nil {
			return nil, err
		}
		all = append(all, time.Since(began))
	}
	return all, nil
}

func (f *newcomerFigures) figures() []figure {
	return []figure{
		milliseconds("slowest of 20 new pods of another", quantile(f.slowest, 0.5)).atMost(fairWait),
		milliseconds("plain client's create and read, slowest", quantile(f.plainSlowest, 0.5)),
		milliseconds("plain client's create and read, p50", quantile(f.plainMedian, 0.5)),
	}
}

// deleteCollection is how long new pods of a namespace wait while another one has all its Secrets
// deleted, which the controller then issues again. Each Secret is deleted twice at most: more
// often, the controller makes pauses.
func deleteCollection(ctx context.Context, c *cluster) ([]figure, error) {
	const twice = 2
	_, names, err := c.serving(ctx, 1+(loads+twice-1)/twice)
	if err != nil {
		return nil, err
	}
	for _, namespace := range names[1:] {
		if _, _, err := c.burstOf(ctx, manySecrets, []string{namespace}); err != nil {
			return nil, err
		}
	}
	var f newcomerFigures
	var issued []time.Duration
	for i := range loads {
		namespace := names[1+i/twice]
		began := time.Now()
		group, during := errgroup.WithContext(ctx)
		group.Go(func() error {
			ours := metav1.ListOptions{LabelSelector: labels.Set{secret.OwnerLabel: secret.OwnerValue}.String()}
			return c.direct.CoreV1().Secrets(namespace).DeleteCollection(during, metav1.DeleteOptions{}, ours)
		})
		group.Go(func() error { return f.measure(during, c, names[0], fmt.Sprintf("deletion-%d", i)) })
		if err := group.Wait(); err != nil {
			return nil, err
		}
		if err := c.secrets.again(ctx, burstSecrets(namespace), began); err != nil {
			return nil, err
		}
		issued = append(issued, time.Since(began))
	}
	return append(f.figures(), seconds("until all are issued again", quantile(issued, 0.5))), nil
}

// burstSecrets are those that burstOf has made in one namespace.
func burstSecrets(namespace string) []types.NamespacedName {
	names := make([]types.NamespacedName, manySecrets)
	for i := range names {
		names[i] = types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("%sburst-%d", request.SecretPrefix, i)}
	}
	return names
}

// again waits until all Secrets have been seen to be created since a time.
func (a *arrivals) again(ctx context.Context, secrets []types.NamespacedName, since time.Time) error {
	return env.Await(ctx, fmt.Sprintf("%d Secrets are written again", len(secrets)), func() (bool, error) {
		a.lock.Lock()
		defer a.lock.Unlock()
		return !slices.ContainsFunc(secrets, func(s types.NamespacedName) bool { return a.at[s].Before(since) }), nil
	})
}

// bindingStorm is how long it takes until a withdrawn right shows while another namespace changes
// its RoleBindings.
func bindingStorm(ctx context.Context, c *cluster) ([]figure, error) {
	const (
		perSecond, lasts = 50, time.Minute
		secrets          = 1000
	)
	withdrawn := []time.Duration{5 * time.Second, 15 * time.Second, 25 * time.Second} // after the begin
	_, names, err := c.serving(ctx, 2+len(withdrawn))
	if err != nil {
		return nil, err
	}
	if _, _, err := c.burstOf(ctx, secrets, names[1:2]); err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for _, namespace := range names[2:] {
		pods = append(pods, podWithRoles(namespace, "app", "app"))
	}
	if _, err := c.wait(ctx, pods, unlimited); err != nil {
		return nil, err
	}
	if _, err := c.audit.since(); err != nil {
		return nil, err
	}

	var changes int
	took := make([]time.Duration, len(withdrawn))
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		changes, err = c.changeBindings(ctx, names[1], perSecond, lasts)
		return err
	})
	for i, after := range withdrawn {
		group.Go(func() (err error) {
			if err := env.Pause(ctx, after); err != nil {
				return err
			}
			took[i], err = c.withdraw(ctx, names[2+i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	lasted := time.Since(began).Seconds()
	asked, err := c.audit.since()
	return []figure{
		seconds("right withdrawn elsewhere -> no Secret", slices.Max(took)).atMost(30),
		number("RoleBindings changed a second", round(float64(changes)/lasted)),
		number("SubjectAccessReviews a second", round(float64(asked[reviews])/lasted)),
	}, err
}

// changeBindings creates RoleBindings of a namespace and deletes them again, and returns how many
// changes that were.
func (c *cluster) changeBindings(ctx context.Context, namespace string, perSecond int, lasts time.Duration) (int, error) {
	const changesOfEach = 2
	var bindings int
	api := c.direct.RbacV1().RoleBindings(namespace)
	limit := rate.NewLimiter(rate.Limit(perSecond)/changesOfEach, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(creators)
	for end := time.Now().Add(lasts); time.Now().Before(end) && limit.Wait(ctx) == nil; bindings++ {
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("storm-%d", bindings)},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "assume"},
		}
		group.Go(func() error {
			if _, err := api.Create(ctx, binding, metav1.CreateOptions{}); err != nil {
				return err
			}
			return api.Delete(ctx, binding.Name, metav1.DeleteOptions{})
		})
	}
	err := group.Wait()
	return bindings * changesOfEach, err
}

// withdraw takes the right of a namespace and returns how long it took until its Secret was gone.
func (c *cluster) withdraw(ctx context.Context, namespace string) (time.Duration, error) {
	if err := c.direct.RbacV1().RoleBindings(namespace).Delete(ctx, "assume", metav1.DeleteOptions{}); err != nil {
		return 0, err
	}
	began := time.Now()
	err := env.Await(ctx, "the Secret is gone", func() (bool, error) {
		_, err := c.direct.CoreV1().Secrets(namespace).Get(ctx, request.SecretPrefix+"app", metav1.GetOptions{})
		if err == nil || !apierrors.IsNotFound(err) {
			return false, errors.Join(err, env.Pause(ctx, 100*time.Millisecond))
		}
		return true, nil
	})
	return time.Since(began), err
}
