package simulation

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "kube-aws-iam-controller/api/v1"
)

// client writes to the API server, and reads from the instance's cache once that has seen the
// instance's own writes.
func (inst *instance) client() client.Client {
	sim := inst.sim
	return interceptor.NewClient(sim.api.store, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, name client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
			if err := inst.awaitOwnWrites(name, obj); err != nil {
				return err
			}
			return inst.cache.get(name, obj)
		},
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			return inst.cache.listInto(list, o...)
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, o ...client.CreateOption) error {
			if options := (&client.CreateOptions{}).ApplyOptions(o); len(options.DryRun) > 0 {
				return inst.dryRun(ctx, c, obj, true)
			}
			return inst.write("create", obj, nil, func() error { return c.Create(ctx, obj, o...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, o ...client.UpdateOption) error {
			if options := (&client.UpdateOptions{}).ApplyOptions(o); len(options.DryRun) > 0 {
				return inst.dryRun(ctx, c, obj, false)
			}
			return inst.write("update", obj, nil, func() error { return c.Update(ctx, obj, o...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, o ...client.DeleteOption) error {
			options := (&client.DeleteOptions{}).ApplyOptions(o)
			return inst.write("delete", obj, options, func() error { return c.Delete(ctx, obj, o...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, o ...client.SubResourceUpdateOption) error {
			return inst.write("status", obj, nil, func() error { return c.SubResource(sub).Update(ctx, obj, o...) })
		},
	})
}

// dryRun checks a write without making it: whether the object exists, or does not, as the write
// requires.
func (inst *instance) dryRun(ctx context.Context, c client.Reader, obj client.Object, creates bool) error {
	name := client.ObjectKeyFromObject(obj)
	return inst.call("dry run", name, true, func() error {
		err := c.Get(ctx, name, &corev1.Secret{})
		switch {
		case !creates:
			return err
		case err == nil:
			return apierrors.NewAlreadyExists(secretResource, name.Name)
		default:
			return client.IgnoreNotFound(err)
		}
	})
}

// cached reads from the cache without waiting.
func (inst *instance) cached() client.Reader {
	return interceptor.NewClient(inst.sim.api.store, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, name client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
			return inst.cache.get(name, obj)
		},
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			return inst.cache.listInto(list, o...)
		},
	})
}

// live reads from the API server.
func (inst *instance) live() client.Reader {
	return interceptor.NewClient(inst.sim.api.store, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, name client.ObjectKey, obj client.Object, o ...client.GetOption) error {
			return inst.call("get", name, false, func() error { return c.Get(ctx, name, obj, o...) })
		},
	})
}

// get reads from the cache. Like an informer without deep copies, it shares what objects point to.
func (c *cache) get(name key, obj client.Object) error {
	switch o := obj.(type) {
	case *corev1.Secret:
		if s, ok := c.secrets[name]; ok {
			*o = *s
			return nil
		}
	case *v1.AWSIAMRole:
		if r, ok := c.roles[name]; ok {
			r.DeepCopyInto(o)
			return nil
		}
	default:
		panic(fmt.Sprintf("the cache has no %T", obj))
	}
	return apierrors.NewNotFound(secretResource, name.Name)
}

// listInto lists the cached objects.
func (c *cache) listInto(list client.ObjectList, o ...client.ListOption) error {
	options := (&client.ListOptions{}).ApplyOptions(o)
	matches := func(name key, of map[string]string) bool {
		return (options.Namespace == "" || options.Namespace == name.Namespace) &&
			(options.LabelSelector == nil || options.LabelSelector.Matches(labels.Set(of)))
	}
	switch l := list.(type) {
	case *corev1.SecretList:
		for _, name := range sorted(c.secrets) {
			if s := c.secrets[name]; matches(name, s.Labels) {
				l.Items = append(l.Items, *s)
			}
		}
	case *v1.AWSIAMRoleList:
		for _, name := range sorted(c.roles) {
			if r := c.roles[name]; matches(name, r.Labels) {
				l.Items = append(l.Items, *r)
			}
		}
	default:
		panic(fmt.Sprintf("the cache has no %T", list))
	}
	return nil
}

// cacheSyncTimeout is how long a reconcile waits for the cache. Source: the controller's
// ReconciliationTimeout.
const cacheSyncTimeout = time.Minute

// awaitOwnWrites waits until the cache has what the instance wrote.
func (inst *instance) awaitOwnWrites(name key, obj client.Object) error {
	if _, ok := obj.(*corev1.Secret); !ok {
		return nil
	}
	caughtUp := func() bool {
		if version, ok := inst.ownWrites[name]; ok && inst.cache.seen[watchSecrets] < version {
			return false
		}
		uid, ok := inst.deleted[name]
		known := inst.cache.secrets[name]
		return !ok || known == nil || known.UID != uid
	}
	for began := inst.sim.now; !caughtUp(); {
		if !inst.sim.wait(10*time.Millisecond) || inst.sim.now-began > cacheSyncTimeout {
			return fmt.Errorf("failed to wait for cache to catch up: %w", context.DeadlineExceeded)
		}
	}
	delete(inst.ownWrites, name)
	delete(inst.deleted, name)
	return nil
}

// call makes a request to the API server, which takes effect after half of its duration.
func (inst *instance) call(verb string, name key, writes bool, apply func() error) error {
	sim := inst.sim
	what := fmt.Sprintf("%s %s", verb, name)
	if !sim.wait(sim.faults.apiLatency(what) / 2) {
		return context.Canceled
	}
	err := sim.faults.apiError(what, writes)
	if err == nil {
		err = apply()
	}
	if !sim.wait(sim.faults.apiLatency(what) / 2) {
		return context.Canceled
	}
	if err == nil && writes {
		err = sim.faults.lostAnswer(what)
	}
	if writes {
		sim.trace.add("%d %s: %v", inst.number, what, err)
	}
	return err
}

// write makes a request that changes an object. It is checked when it takes effect.
func (inst *instance) write(verb string, obj client.Object, options *client.DeleteOptions, apply func() error) error {
	name := client.ObjectKeyFromObject(obj)
	s, isSecret := obj.(*corev1.Secret)
	return inst.call(verb, name, true, func() error {
		before := inst.sim.api.secrets[name]
		given := obj.GetResourceVersion()
		if err := apply(); err != nil || !isSecret {
			return err
		}
		if verb == "delete" {
			inst.deleted[name] = before.UID
			delete(inst.ownWrites, name)
		} else {
			inst.ownWrites[name] = parseVersion(s.ResourceVersion)
			delete(inst.deleted, name)
		}
		if t := inst.sim.current; t != nil {
			t.wrote = true
			inst.sim.checkWrite(t, verb, name, before, inst.sim.api.secrets[name], given, options)
		}
		return nil
	})
}
