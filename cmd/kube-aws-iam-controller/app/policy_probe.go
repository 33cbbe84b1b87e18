package app

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/webidentity"
)

// The admission policies of config/admission/secrets that confine the controller.
const (
	policySecretWrites = controllers.Name + "-secret-writes"
	policySecretLabel  = controllers.Name + "-secret-label"
)

// policyProbe finds out, once a replica leads, whether the admission policies that confine the
// controller are in force: it tries to do what they refuse, in dry runs that store nothing.
// Nothing else depends on the result; who operates the controller reads it in the log and in a
// metric.
type policyProbe struct {
	secrets corev1client.SecretsGetter
	// namespaces are where to try, until one of them gives a result.
	namespaces []string
	set        func(policy string, inForce bool)
	// retry is how often to try while there is no result, and while nothing is refused: policies
	// that were applied along with the controller take the API server some seconds.
	retry wait.Backoff
	log   logr.Logger
}

// probeRetry lasts for a quarter of a minute.
var probeRetry = wait.Backoff{Duration: time.Second, Factor: 2, Steps: 5}

// addPolicyProbe adds the probe to a manager, and that of tokens if it is not nil.
func addPolicyProbe(m manager.Manager, o *Options, secrets corev1client.SecretsGetter, tokens *webidentity.Policy) error {
	set, unset, err := o.Metrics.RegisterPolicies()
	if err != nil {
		return err
	}
	if err := addTokenProbe(m, o, tokens, set, unset); err != nil {
		return err
	}
	return m.Add(&policyProbe{secrets: secrets, namespaces: o.probeNamespaces(), set: set, retry: probeRetry, log: o.Log})
}

// probeNamespaces are the controller's own namespace if it is known, and one that it serves:
// where its rights are limited to some namespaces, its own may not be among them.
func (o *Options) probeNamespaces() (namespaces []string) {
	if o.Self != nil && o.Self.Namespace != "" {
		namespaces = append(namespaces, o.Self.Namespace)
	}
	if len(o.Namespaces) > 0 {
		namespaces = append(namespaces, o.scopes()[0])
	}
	if len(namespaces) == 0 {
		return []string{metav1.NamespaceSystem, metav1.NamespaceDefault}
	}
	return namespaces
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*policyProbe) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable. It is done once there are results.
func (p *policyProbe) Start(ctx context.Context) error {
	managed := map[string]string{secret.OwnerLabel: secret.OwnerValue}
	var probes sync.WaitGroup
	probes.Go(func() { p.find(ctx, policySecretWrites, corev1.SecretTypeOpaque, nil) })
	probes.Go(func() { p.find(ctx, policySecretLabel, controllers.Name+"/probe", managed) })
	probes.Wait()
	return nil
}

// find finds out whether a policy is in force that refuses a Secret of this type with these
// labels.
func (p *policyProbe) find(ctx context.Context, policy string, secretType corev1.SecretType, labels map[string]string) {
	var inForce bool
	var unknown error
	_ = wait.ExponentialBackoffWithContext(ctx, p.retry, func(ctx context.Context) (bool, error) {
		inForce, unknown = p.try(ctx, policy, secretType, labels)
		return inForce, nil
	}) // its errors are that the attempts or the context are over: the last result stands
	log := p.log.WithValues("policy", policy)
	switch {
	case ctx.Err() != nil:
		return
	case unknown != nil:
		log.Error(unknown, "it is not known whether the admission policy is in force")
		return
	case inForce:
		log.Info("admission policy is in force")
	default:
		log.Error(nil, "admission policy is not in force for this controller, which can write Secrets that are not its own: apply config/admission/secrets")
	}
	p.set(policy, inForce)
}

// try attempts a dry run in each namespace, until one gives a result.
func (p *policyProbe) try(ctx context.Context, policy string, secretType corev1.SecretType, labels map[string]string) (inForce bool, err error) {
	for _, namespace := range p.namespaces {
		if inForce, err = p.tryIn(ctx, namespace, policy, secretType, labels); err == nil {
			break
		}
	}
	return inForce, err
}

// tryIn attempts a dry run in a namespace. The error says why there is no result: a refusal by
// anything but the policy, such as a lack of rights, gives none.
func (p *policyProbe) tryIn(ctx context.Context, namespace, policy string, secretType corev1.SecretType, labels map[string]string) (inForce bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err = p.secrets.Secrets(namespace).Create(ctx, &corev1.Secret{
		Type:       secretType,
		ObjectMeta: metav1.ObjectMeta{GenerateName: controllers.Name + "-probe-", Labels: labels},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	switch {
	case err == nil:
		return false, nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+policy+"' "):
		return true, nil
	}
	return false, fmt.Errorf("cannot try it in namespace %s: %w", namespace, err)
}
