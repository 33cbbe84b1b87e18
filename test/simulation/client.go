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

// client is what the instance writes with, and reads from its cache, which waits until that has
// seen the instance's own writes.
func (inst *instance) client() client.Client {
	w := inst.w
	return interceptor.NewClient(w.api.store, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, name client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
			if err := inst.awaitOwnWrites(name, obj); err != nil {
				return err
			}
			return inst.cache.get(name, obj)
		},
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			return inst.cache.fill(list, o...)
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

// dryRun is a write that the API server only checks: whether the object is there, or not, as the
// write needs it.
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

// cached is what reads from the cache and waits for nothing.
func (inst *instance) cached() client.Reader {
	return interceptor.NewClient(inst.w.api.store, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, name client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
			return inst.cache.get(name, obj)
		},
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			return inst.cache.fill(list, o...)
		},
	})
}

// live is what asks the API server itself.
func (inst *instance) live() client.Reader {
	return interceptor.NewClient(inst.w.api.store, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, name client.ObjectKey, obj client.Object, o ...client.GetOption) error {
			return inst.call("get", name, false, func() error { return c.Get(ctx, name, obj, o...) })
		},
	})
}

// get reads from the cache. As an informer that makes no copies, it shares what objects point to.
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

// fill lists what is in the cache.
func (c *cache) fill(list client.ObjectList, o ...client.ListOption) error {
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

// patience is how long a reconcile waits for the cache. Source: the controller's
// ReconciliationTimeout.
const patience = time.Minute

// awaitOwnWrites waits until the cache has what the instance wrote.
func (inst *instance) awaitOwnWrites(name key, obj client.Object) error {
	if _, ok := obj.(*corev1.Secret); !ok {
		return nil
	}
	caughtUp := func() bool {
		if version, ok := inst.ours[name]; ok && inst.cache.seen[watchSecrets] < version {
			return false
		}
		uid, ok := inst.deleted[name]
		known := inst.cache.secrets[name]
		return !ok || known == nil || known.UID != uid
	}
	for began := inst.w.now; !caughtUp(); {
		if !inst.w.wait(10*time.Millisecond) || inst.w.now-began > patience {
			return fmt.Errorf("failed to wait for cache to catch up: %w", context.DeadlineExceeded)
		}
	}
	delete(inst.ours, name)
	delete(inst.deleted, name)
	return nil
}

// call is one request to the API server, which takes effect in the middle of the time that it
// takes.
func (inst *instance) call(verb string, name key, writes bool, apply func() error) error {
	w := inst.w
	what := fmt.Sprintf("%s %s", verb, name)
	if !w.wait(w.faults.apiLatency(what) / 2) {
		return context.Canceled
	}
	err := w.faults.apiError(what, writes)
	if err == nil {
		err = apply()
	}
	if !w.wait(w.faults.apiLatency(what) / 2) {
		return context.Canceled
	}
	if err == nil && writes {
		err = w.faults.lostAnswer(what)
	}
	if writes {
		w.trace.add("%d %s: %v", inst.number, what, err)
	}
	return err
}

// write is a request that changes something. It is checked in the moment in which it takes effect.
func (inst *instance) write(verb string, obj client.Object, options *client.DeleteOptions, apply func() error) error {
	name := client.ObjectKeyFromObject(obj)
	s, isSecret := obj.(*corev1.Secret)
	return inst.call(verb, name, true, func() error {
		before := inst.w.api.secrets[name]
		given := obj.GetResourceVersion()
		if err := apply(); err != nil || !isSecret {
			return err
		}
		if verb == "delete" {
			inst.deleted[name] = before.UID
			delete(inst.ours, name)
		} else {
			inst.ours[name] = parseVersion(s.ResourceVersion)
			delete(inst.deleted, name)
		}
		if t := inst.w.current; t != nil {
			t.wrote = true
			inst.w.judgeWrite(t, verb, name, before, inst.w.api.secrets[name], given, options)
		}
		return nil
	})
}
