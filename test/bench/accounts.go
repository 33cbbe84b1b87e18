package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/test/env"
)

const (
	// silentAccounts is how many ServiceAccounts ask for nothing, and askingAccounts how many more
	// ask for a role and have no pod.
	silentAccounts, askingAccounts = 50_000, 5_000
	// silentMost is how much memory those that ask for nothing can cost, in MiB.
	silentMost = 8
)

// onePodByWebIdentity is onePodOfAccount with the web identity of each ServiceAccount.
func onePodByWebIdentity(ctx context.Context, c *cluster) ([]figure, error) {
	if err := c.Create(ctx, "config/components/web-identity-per-serviceaccount"); err != nil {
		return nil, err
	}
	if _, err := env.TrustAPIServer(ctx, c.Admin, c.STS); err != nil {
		return nil, err
	}
	return podsOfAccounts(ctx, c, "--service-account-identity=web-identity")
}

// onePodOfAccount is onePod with the Secrets of ServiceAccounts, each created just before its pod.
func onePodOfAccount(ctx context.Context, c *cluster) ([]figure, error) {
	return podsOfAccounts(ctx, c)
}

func podsOfAccounts(ctx context.Context, c *cluster, flags ...string) ([]figure, error) {
	_, names, err := c.serving(ctx, 1, flags...)
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for i := range 200 {
		account := askingAccount(names[0], i)
		if _, err := c.direct.CoreV1().ServiceAccounts(names[0]).Create(ctx, account, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		waits, err := c.wait(ctx, []*corev1.Pod{podOfAccount(names[0], fmt.Sprintf("pod-%d", i), account.Name)}, 1)
		if err != nil {
			return nil, err
		}
		all = append(all, waits...)
	}
	return []figure{
		milliseconds("pod created -> Secret written, p50", quantile(all, 0.5)).atMost(50),
		milliseconds("p99", quantile(all, 0.99)).atMost(90),
	}, nil
}

// manyAccounts measures the memory and the calls for ServiceAccounts, of which the most ask for
// nothing.
func manyAccounts(ctx context.Context, c *cluster) ([]figure, error) {
	p, _, err := c.serving(ctx, manyTeams)
	if err != nil {
		return nil, err
	}
	if err := c.end(p); err != nil {
		return nil, err
	}
	empty, _, err := c.restartAmongAccounts(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.load(ctx, silentAccounts, func(i int) (string, runtime.Object) { return inEtcd(silentAccount(i)) }); err != nil {
		return nil, err
	}
	full, asked, err := c.restartAmongAccounts(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.load(ctx, askingAccounts, func(i int) (string, runtime.Object) {
		return inEtcd(askingAccount(fmt.Sprintf("team-%03d", i%manyTeams), i))
	}); err != nil {
		return nil, err
	}
	more, _, err := c.restartAmongAccounts(ctx)
	return []figure{
		mebibytes("resident memory", full),
		mebibytes("resident memory without them", empty),
		mebibytes("more than without them", max(0, full-empty)).atMost(silentMost),
		figure{Name: "for each", Value: round(float64(max(0, full-empty)) / silentAccounts), Unit: "bytes"}.atMost(100),
		{Name: "for each of 5,000 more with a role", Value: round(float64(max(0, more-full)) / askingAccounts), Unit: "bytes"},
		number("API calls for them besides one watch", float64(asked.total()-asked.total(" serviceaccounts"))).atMost(0),
	}, err
}

// restartAmongAccounts starts a controller, and returns its resident memory and its calls when it
// is idle. It stops the controller.
func (c *cluster) restartAmongAccounts(ctx context.Context) (resident int64, asked calls, err error) {
	if _, err := c.audit.since(); err != nil {
		return 0, nil, err
	}
	p, _, err := c.start(ctx)
	if err != nil {
		return 0, nil, err
	}
	if asked, err = c.quiet(ctx); err != nil {
		return 0, nil, err
	}
	if resident, _, err = p.resident(ctx); err != nil {
		return 0, nil, err
	}
	return resident, asked, c.end(p)
}

// inEtcd returns a ServiceAccount and its key in etcd.
func inEtcd(account *corev1.ServiceAccount) (string, runtime.Object) {
	return "/registry/serviceaccounts/" + account.Namespace + "/" + account.Name, account
}

// silentAccount returns a ServiceAccount that asks for nothing, as a chart creates it: 1.3 KB as
// JSON.
func silentAccount(i int) *corev1.ServiceAccount {
	created := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, i%86400, 0, time.UTC))
	return &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: fmt.Sprintf("team-%03d", i%100), Name: fmt.Sprintf("app-%06d", i), CreationTimestamp: created,
			UID: types.UID(fmt.Sprintf("2a4c9a52-1d3e-4b8a-9c41-%012d", i)),
			Labels: map[string]string{
				"app.kubernetes.io/name": "app", "app.kubernetes.io/instance": fmt.Sprintf("app-%06d", i), "app.kubernetes.io/version": "4.17.2",
				"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "app-1.2.3",
			},
			Annotations:   map[string]string{"meta.helm.sh/release-name": "app", "meta.helm.sh/release-namespace": "team", "checksum/config": strings.Repeat("9f86d081", 8)},
			ManagedFields: managedFields(created)[1:],
		},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
	}
}

// askingAccount returns a ServiceAccount that asks for a role as CloudFormation names it.
func askingAccount(namespace string, i int) *corev1.ServiceAccount {
	account := silentAccount(i)
	account.Namespace, account.Name, account.UID = namespace, fmt.Sprintf("asks-%d", i), types.UID(fmt.Sprintf("5f7c9a52-1d3e-4b8a-9c41-%012d", i))
	account.ManagedFields = nil
	account.Annotations[request.RoleAnnotation] = fmt.Sprintf("arn:aws:iam::123456789012:role/stacks/Stack-OrdersRole-%d", i)
	return account
}

// podOfAccount returns a pod that mounts the Secret of its ServiceAccount.
func podOfAccount(namespace, name, account string) *corev1.Pod {
	pod := podWithRoles(namespace, name, "")
	pod.Spec.ServiceAccountName = account
	pod.Spec.Volumes[0].Secret.SecretName = request.ServiceAccountPrefix + account
	return pod
}
