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
	"kube-aws-iam-controller/pkg/demand"
	"kube-aws-iam-controller/pkg/secret"
)

// story watches pods and Secrets and prints what happens to them as it happens.
type story struct {
	began   time.Time
	mount   string
	changed chan struct{}

	lock    sync.Mutex
	pods    map[string]time.Time // when each was seen
	wanted  map[string]time.Time // when each Secret was first wanted
	secrets map[string]*corev1.Secret
	ended   error
}

// tell starts to print.
func (w *world) tell(ctx context.Context) (*story, error) {
	s := &story{
		began: time.Now(), mount: w.mount, changed: make(chan struct{}, 1),
		pods: map[string]time.Time{}, wanted: map[string]time.Time{}, secrets: map[string]*corev1.Secret{},
	}
	for _, list := range []client.ObjectList{&corev1.PodList{}, &v1.AWSIAMRoleList{}, &corev1.SecretList{}} {
		events, err := w.Cluster.Watch(ctx, list, client.InNamespace(namespace))
		if err != nil {
			return nil, err
		}
		go s.follow(events)
	}
	go func() {
		err := <-w.controller.Exited
		w.controller.Exited <- err
		s.update(func() { s.ended = fmt.Errorf("the controller has ended: %w", err) })
	}()
	return s, nil
}

func (s *story) follow(events watch.Interface) {
	for e := range events.ResultChan() {
		switch o := e.Object.(type) {
		case *corev1.Pod:
			s.update(func() { s.pod(e.Type, o) })
		case *v1.AWSIAMRole:
			s.update(func() { s.resource(e.Type, o) })
		case *corev1.Secret:
			s.update(func() { s.secret(e.Type, o) })
		}
	}
}

// update changes the story and wakes who waits for it.
func (s *story) update(change func()) {
	s.lock.Lock()
	change()
	s.lock.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *story) print(format string, args ...any) {
	fmt.Printf("%6.2f s  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *story) pod(change watch.EventType, p *corev1.Pod) {
	_, known := s.pods[p.Name]
	switch {
	case change == watch.Deleted:
		s.print("pod %-18s deleted", p.Name)
		delete(s.pods, p.Name)
	case !known:
		s.pods[p.Name] = time.Now()
		for _, d := range demand.FromPod(p, s.mount) {
			s.print("pod %-18s waits for Secret %s", p.Name, d.Secret)
			if _, wanted := s.wanted[d.Secret]; !wanted {
				s.wanted[d.Secret] = time.Now()
			}
		}
	}
}

func (s *story) resource(change watch.EventType, r *v1.AWSIAMRole) {
	if change == watch.Added {
		s.print("AWSIAMRole %-11s wants role %s", r.Name, r.Spec.RoleReference)
		s.wanted[r.Name] = time.Now()
	}
}

func (s *story) secret(change watch.EventType, now *corev1.Secret) {
	before := s.secrets[now.Name]
	switch {
	case change == watch.Deleted:
		delete(s.secrets, now.Name)
		s.print("Secret %s removed: nobody wants it", now.Name)
		return
	case before == nil:
		s.print("Secret %s written after %d ms: %s", now.Name, time.Since(s.wanted[now.Name]).Milliseconds(), describe(now))
	case before.Annotations[secret.AccessKeyIDAnnotation] != now.Annotations[secret.AccessKeyIDAnnotation]:
		s.print("Secret %s refreshed: %s", now.Name, describe(now))
	}
	s.secrets[now.Name] = now
}

func describe(s *corev1.Secret) string {
	return fmt.Sprintf("%s, key %s, expires %s", s.Data[secret.RoleARNKey], s.Annotations[secret.AccessKeyIDAnnotation], s.Data[secret.ExpireKey])
}

// complete tells whether every Secret that is wanted is there.
func (s *story) complete() bool {
	for name := range s.wanted {
		if s.secrets[name] == nil {
			return false
		}
	}
	return len(s.wanted) > 0
}

// empty tells whether nothing is left.
func (s *story) empty() bool { return len(s.pods) == 0 && len(s.secrets) == 0 }

// await waits until the story has come to a point.
func (s *story) await(ctx context.Context, what string, there func(*story) bool) error {
	timeout := time.After(patience)
	for {
		s.lock.Lock()
		done, ended := there(s), s.ended
		s.lock.Unlock()
		switch {
		case done:
			return nil
		case ended != nil:
			return ended
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return fmt.Errorf("not within %s: %s", patience, what)
		}
	}
}
