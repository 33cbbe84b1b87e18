package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
)

// watcher prints the changes of pods, AWSIAMRoles and Secrets. Of the renewals it prints only those
// of the Secret that the SDK reads.
type watcher struct {
	began   time.Time
	mount   string
	changed chan struct{}

	lock      sync.Mutex
	pods      map[string]time.Time // when each was seen
	requested map[string]time.Time // when each Secret was first asked for
	secrets   map[string]*corev1.Secret
	exited    error // of the controller
}

// watch starts to print.
func (e *environment) watch(ctx context.Context) (*watcher, error) {
	w := &watcher{
		began: time.Now(), mount: e.mount, changed: make(chan struct{}, 1),
		pods: map[string]time.Time{}, requested: map[string]time.Time{}, secrets: map[string]*corev1.Secret{},
	}
	for _, namespace := range []string{shop, namespace} {
		for _, list := range []client.ObjectList{&corev1.PodList{}, &v1.AWSIAMRoleList{}, &corev1.SecretList{}} {
			events, err := e.Cluster.Watch(ctx, list, client.InNamespace(namespace))
			if err != nil {
				return nil, err
			}
			go w.follow(events)
		}
	}
	go func() {
		err := <-e.controller.Exited
		e.controller.Exited <- err
		w.update(func() { w.exited = fmt.Errorf("the controller has exited: %w", err) })
	}()
	return w, nil
}

func (w *watcher) follow(events watch.Interface) {
	for e := range events.ResultChan() {
		switch o := e.Object.(type) {
		case *corev1.Pod:
			w.update(func() { w.pod(e.Type, o) })
		case *v1.AWSIAMRole:
			w.update(func() { w.resource(e.Type, o) })
		case *corev1.Secret:
			w.update(func() { w.secret(e.Type, o) })
		}
	}
}

// update applies a change and wakes await.
func (w *watcher) update(change func()) {
	w.lock.Lock()
	change()
	w.lock.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watcher) print(format string, args ...any) {
	fmt.Printf("%6.2f s  %s\n", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
}

func (w *watcher) pod(change watch.EventType, p *corev1.Pod) {
	_, known := w.pods[p.Name]
	switch {
	case change == watch.Deleted:
		w.print("pod %-18s deleted", p.Name)
		delete(w.pods, p.Name)
	case !known:
		w.pods[p.Name] = time.Now()
		for _, d := range request.FromPod(p, w.mount) {
			w.print("pod %-18s waits for Secret %s", p.Name, d.Secret)
			if _, known := w.requested[d.Secret]; !known {
				w.requested[d.Secret] = time.Now()
			}
		}
	}
}

func (w *watcher) resource(change watch.EventType, r *v1.AWSIAMRole) {
	if change == watch.Added {
		w.print("AWSIAMRole %-11s asks for role %s", r.Name, r.Spec.RoleReference)
		w.requested[r.Name] = time.Now()
	}
}

func (w *watcher) secret(change watch.EventType, now *corev1.Secret) {
	before := w.secrets[now.Name]
	switch {
	case change == watch.Deleted:
		delete(w.secrets, now.Name)
		w.print("Secret %s deleted: no pod or AWSIAMRole asks for it", now.Name)
		return
	case before == nil:
		w.print("Secret %s written after %d ms: %s", now.Name, time.Since(w.requested[now.Name]).Milliseconds(), now.Data[keys.RoleARN])
	case now.Name == sdkSecret && before.Annotations[secret.AccessKeyIDAnnotation] != now.Annotations[secret.AccessKeyIDAnnotation]:
		w.print("Secret %s renewed: key %s, expires %s", now.Name, now.Annotations[secret.AccessKeyIDAnnotation], now.Data[keys.Expire])
	}
	w.secrets[now.Name] = now
}

// complete reports whether all pods were seen, and every Secret that is asked for exists.
func (w *watcher) complete(pods int) bool {
	for name := range w.requested {
		if w.secrets[name] == nil {
			return false
		}
	}
	return len(w.pods) == pods
}

// empty reports whether no pod and no Secret is left.
func (w *watcher) empty() bool { return len(w.pods) == 0 && len(w.secrets) == 0 }

// awaitSecrets waits until there is a Secret for every pod.
func (e *environment) awaitSecrets(ctx context.Context, w *watcher) error {
	var pods corev1.PodList
	if err := e.Cluster.List(ctx, &pods); err != nil {
		return err
	}
	return w.await(ctx, "there is a Secret for every pod", func(w *watcher) bool { return w.complete(len(pods.Items)) })
}

// await waits until reached returns true.
func (w *watcher) await(ctx context.Context, what string, reached func(*watcher) bool) error {
	expired := time.After(timeout)
	for {
		w.lock.Lock()
		done, exited := reached(w), w.exited
		w.lock.Unlock()
		switch {
		case done:
			return nil
		case exited != nil:
			return exited
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-expired:
			return fmt.Errorf("after %s, it is still not so that %s", timeout, what)
		}
	}
}
