//go:build e2e && linux

package e2e

import (
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/test/env"

	"sigs.k8s.io/controller-runtime/pkg/client"
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
		p := &e.Programs[i]
		if !p.asks.injected() {
			continue
		}
		role := rolePrefix + p.name
		if err := env.Await(e.ctx, "the API server injects the pod of "+p.name, func() (bool, error) {
			pod := p.pod(role, p.secret(role), e.STS.URL)
			// Until all policies are in force, one can reject what another did not inject.
			err := e.client.Create(e.ctx, pod, client.DryRunAll)
			return err == nil && p.checkInjected(pod, p.secret(role)) == nil, nil
		}); err != nil {
			return err
		}
	}
	return nil
}
