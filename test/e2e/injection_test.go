//go:build e2e && linux

package e2e

import (
	"errors"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/test/env"
)

// awaitInjection waits until the API server injects pods that ask in any way, if it is to. Its
// policies are in force some time after they were created. The ServiceAccounts came before the
// policies, and so get the label by the command of docs/injection.md.
func (e *testEnv) awaitInjection() error {
	if e.Injection == "" {
		return nil
	}
	if err := e.kubectl(e.ctx, "label", "serviceaccounts", "--namespace="+namespace, "--all", "--overwrite",
		request.RoleAnnotatedLabel+"=true"); err != nil {
		return err
	}
	for i := range e.Programs {
		if p := &e.Programs[i]; p.asks.injected() {
			if err := e.awaitInjected(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitInjected waits until the API server would inject a pod of a program. Until all policies are
// in force, one can reject what another did not inject.
func (e *testEnv) awaitInjected(p *program) error {
	role := rolePrefix + p.name
	var last error
	err := env.Await(e.ctx, "the API server injects the pod of "+p.name, func() (bool, error) {
		pod := p.pod(role, p.secret(role), e.STS.URL)
		if last = e.client.Create(e.ctx, pod, client.DryRunAll); last == nil {
			last = p.checkInjected(pod, p.secret(role))
		}
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}
