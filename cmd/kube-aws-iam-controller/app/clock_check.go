package app

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"kube-aws-iam-controller/pkg/credentials"
)

// clockCheck notices that the machine's clock was set while STS is not asked for anything. A Secret
// is reconciled when a timer ends, which such a change does not move: by a clock that was set back
// it would then wait once more, for longer than its credentials live.
type clockCheck struct {
	credentials *credentials.Client
	every       time.Duration
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a standby knows the time when it
// begins to lead.
func (clockCheck) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it checks until the context is done.
func (c clockCheck) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, c.credentials.CheckClock, c.every)
	return nil
}
