package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"kube-aws-iam-controller/pkg/credentials"
)

// clockCheck notices when somebody sets the machine's clock while nobody asks STS for anything. What is due is looked at when a timer ends, which no such
// clock moves: by one that was set back it would then wait once more, for longer than it lives.
type clockCheck struct {
	credentials *credentials.Client
	every       time.Duration
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: who is to lead next shall know the time when it begins.
func (clockCheck) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it checks until the context is done.
func (c clockCheck) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, c.credentials.CheckClock, c.every)
	return nil
}
