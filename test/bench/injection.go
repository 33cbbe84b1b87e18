package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/test/env"
)

const (
	injectLabel = "iam.amazonaws.com/inject"
	// samples is how often each kind of pod is created, races how often a ServiceAccount is created
	// just before its pod, and lateRaces how often some time before it.
	samples, races, lateRaces = 300, 1000, 200
	// accounts is how many ServiceAccounts a namespace has, and annotatedAccounts how many of them
	// are annotated.
	accounts, annotatedAccounts = 500, 5
)

// podKind is a kind of pod whose creation is measured.
type podKind struct {
	name      string
	namespace string
	// account is the ServiceAccount, of which the first ones are annotated.
	account string
	label   bool
	// role is the annotation, if the pod has one.
	role string
	// secret is what the pod gets by injection.
	secret string
	most   float64
}

// podKinds are in namespaces that createInjectionNamespaces creates.
var podKinds = []podKind{
	{name: "a pod that asks for nothing", namespace: "plain", account: "account-0", most: 0.2},
	{name: "a pod beside 5 annotated ServiceAccounts", namespace: "few", account: "account-9"},
	{name: "by label", namespace: "plain", account: "account-0", label: true, secret: "aws-iam.account-0", most: 2},
	{name: "by annotation", namespace: "none", account: "account-0", role: "arn:aws:iam::123456789012:role/team/Orders", secret: "aws-role.0arn-7aws-7iam-7-7123456789012-7role-6team-6-orders0", most: 2},
	{name: "by one of 5 annotated ServiceAccounts of 500", namespace: "few", account: "account-0", secret: "aws-iam.account-0", most: 2},
	{name: "by one of 500 annotated ServiceAccounts", namespace: "many", account: "account-0", secret: "aws-iam.account-0"},
}

func (k *podKind) pod(name string) *corev1.Pod {
	pod := podOfAccount(k.namespace, name, k.account)
	pod.Spec.Volumes, pod.Spec.Containers[0].VolumeMounts = nil, nil
	if k.label {
		pod.Labels = map[string]string{injectLabel: "true"}
	}
	if k.role != "" {
		pod.Annotations = map[string]string{request.RoleAnnotation: k.role}
	}
	return pod
}

// injectionCost measures how much longer creating a pod takes with the policies of
// config/injection. The time without policies is measured before and after, because a machine's
// speed varies.
func injectionCost(ctx context.Context, c *cluster) ([]figure, error) {
	if err := c.createInjectionNamespaces(ctx); err != nil {
		return nil, err
	}
	without, err := c.creationTimes(ctx, "before", false)
	if err != nil {
		return nil, err
	}
	if err := c.Create(ctx, "config/injection"); err != nil {
		return nil, err
	}
	if err := c.awaitInjection(ctx); err != nil {
		return nil, err
	}
	with, err := c.creationTimes(ctx, "with", true)
	if err != nil {
		return nil, err
	}
	if err := c.removeInjection(ctx); err != nil {
		return nil, err
	}
	after, err := c.creationTimes(ctx, "after", false)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for i := range podKinds {
		f := milliseconds(podKinds[i].name+": added, p50", max(0, quantile(with[i], 0.5)-quantile(append(without[i], after[i]...), 0.5)))
		if podKinds[i].most > 0 {
			f = f.atMost(podKinds[i].most)
		}
		figures = append(figures, f)
	}
	return append(figures, milliseconds("creating a pod without policies, p50", quantile(append(without[0], after[0]...), 0.5))), nil
}

// createInjectionNamespaces creates the namespaces of podKinds with their ServiceAccounts, which
// have the label that the policies add.
func (c *cluster) createInjectionNamespaces(ctx context.Context) error {
	for name, annotated := range map[string]int{"plain": 0, "none": 0, "few": annotatedAccounts, "many": accounts} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if name != "plain" {
			namespace.Labels = map[string]string{injectLabel: "true"}
		}
		if err := c.Cluster.Create(ctx, namespace); err != nil {
			return err
		}
		for i := range accounts {
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: fmt.Sprintf("account-%d", i)}}
			if i < annotated {
				account.Annotations = map[string]string{request.RoleARNAnnotation: "arn:aws:iam::123456789012:role/orders"}
				account.Labels = map[string]string{"iam.amazonaws.com/role-annotated": "true"}
			}
			if _, err := c.direct.CoreV1().ServiceAccounts(name).Create(ctx, account, metav1.CreateOptions{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitInjection waits until pods of all kinds are injected.
func (c *cluster) awaitInjection(ctx context.Context) error {
	return env.Await(ctx, "pods are injected", func() (bool, error) {
		for i := range podKinds {
			pod, err := c.direct.CoreV1().Pods(podKinds[i].namespace).Create(ctx, podKinds[i].pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil || injectedSecret(pod) != podKinds[i].secret {
				return false, nil //nolint:nilerr // the policy that rejects can be known first
			}
		}
		return true, nil
	})
}

// removeInjection deletes the bindings of all policies, and waits until no pod is injected.
func (c *cluster) removeInjection(ctx context.Context) error {
	admission := c.direct.AdmissionregistrationV1()
	all := metav1.ListOptions{LabelSelector: "application=kube-aws-iam-controller"}
	if err := admission.ValidatingAdmissionPolicyBindings().DeleteCollection(ctx, metav1.DeleteOptions{}, all); err != nil {
		return err
	}
	if err := admission.MutatingAdmissionPolicyBindings().DeleteCollection(ctx, metav1.DeleteOptions{}, all); err != nil {
		return err
	}
	return env.Await(ctx, "pods are not injected", func() (bool, error) {
		for i := range podKinds {
			pod, err := c.direct.CoreV1().Pods(podKinds[i].namespace).Create(ctx, podKinds[i].pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil || injectedSecret(pod) != "" {
				return false, nil //nolint:nilerr // as in awaitInjection
			}
		}
		return true, nil
	})
}

// creationTimes creates pods of one kind after the other, and returns how long each took. Not in
// turns: a kind would share the others' collection of garbage.
func (c *cluster) creationTimes(ctx context.Context, prefix string, injected bool) ([][]time.Duration, error) {
	times := make([][]time.Duration, len(podKinds))
	for n := range samples * len(podKinds) {
		i := n / samples
		kind := &podKinds[i]
		pod := kind.pod(fmt.Sprintf("%s-%d", prefix, n))
		began := time.Now()
		stored, err := c.direct.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		times[i] = append(times[i], time.Since(began))
		if got := injectedSecret(stored); (got == kind.secret) != injected && kind.secret != "" {
			return nil, fmt.Errorf("%s: the pod has Secret %q", kind.name, got)
		}
	}
	return times, nil
}

// injectedSecret returns the Secret of volume aws-iam.
func injectedSecret(pod *corev1.Pod) string {
	i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "aws-iam" && v.Secret != nil })
	if i < 0 {
		return ""
	}
	return pod.Spec.Volumes[i].Secret.SecretName
}

// injectionRace counts the pods that are not injected because their ServiceAccount was created just
// before them, as kubectl apply does with both in one file.
func injectionRace(ctx context.Context, c *cluster) ([]figure, error) {
	if err := c.createInjectionNamespaces(ctx); err != nil {
		return nil, err
	}
	if err := c.Create(ctx, "config/injection"); err != nil {
		return nil, err
	}
	if err := c.awaitInjection(ctx); err != nil {
		return nil, err
	}
	var figures []figure
	for _, row := range []struct {
		name  string
		label bool
		times int
		pause time.Duration
	}{
		{"with the pod's label", true, races, 0}, {"by ServiceAccount", false, races, 0}, {"by ServiceAccount, 100 ms later", false, lateRaces, 100 * time.Millisecond},
	} {
		missed, rejected, err := c.race(ctx, row.label, row.times, row.pause)
		if err != nil {
			return nil, err
		}
		f := number(fmt.Sprintf("not injected of %d, %s", row.times, row.name), float64(missed))
		if row.label {
			f = f.atMost(0)
		}
		figures = append(figures, f, number("rejected, to be created again, "+row.name, float64(rejected)))
	}
	return figures, nil
}

// race creates ServiceAccounts, each followed by a pod. It returns how many pods were not injected,
// and how many were rejected because the ServiceAccount became known between the policy that
// injects and the one that rejects.
func (c *cluster) race(ctx context.Context, label bool, times int, pause time.Duration) (missed, rejected int, err error) {
	for i := range times {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: "few", Name: fmt.Sprintf("race-%t-%d-%d", label, pause.Milliseconds(), i),
			Annotations: map[string]string{request.RoleARNAnnotation: "arn:aws:iam::123456789012:role/orders"},
		}}
		kind := podKind{namespace: "few", account: account.Name, label: label}
		pod := kind.pod(account.Name)
		if _, err := c.direct.CoreV1().ServiceAccounts("few").Create(ctx, account, metav1.CreateOptions{}); err != nil {
			return missed, rejected, err
		}
		if err := env.Pause(ctx, pause); err != nil {
			return missed, rejected, err
		}
		stored, err := c.direct.CoreV1().Pods("few").Create(ctx, pod, metav1.CreateOptions{})
		switch {
		case apierrors.IsForbidden(err):
			rejected++
		case err != nil:
			return missed, rejected, err
		case injectedSecret(stored) != "aws-iam."+account.Name:
			missed++
		}
		if err := c.direct.CoreV1().ServiceAccounts("few").Delete(ctx, account.Name, metav1.DeleteOptions{}); err != nil {
			return missed, rejected, err
		}
	}
	return missed, rejected, nil
}
