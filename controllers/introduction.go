package controllers

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"

	"kube-aws-iam-controller/pkg/credentials"
)

// introduction says in the log who the controller is for AWS, or what is missing for it to be anybody.
type introduction struct {
	credentials *credentials.Client
	wanted      time.Duration
	log         logr.Logger
	// after is closed when it is known what the seed is; nil if there is none.
	after <-chan struct{}
}

// introductionRetry is how often to try again, and so how often the log says what is missing.
const introductionRetry = time.Minute

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (introduction) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (i introduction) Start(ctx context.Context) error {
	if i.after != nil {
		select {
		case <-i.after:
		case <-ctx.Done():
			return nil
		}
	}
	_ = wait.PollUntilContextCancel(ctx, introductionRetry, true, func(ctx context.Context) (bool, error) {
		caller, err := i.credentials.Caller(ctx)
		if err != nil {
			i.log.Error(err, "no AWS identity")
			return false, nil
		}
		i.log.Info("AWS identity", "caller", caller.ARN, "baseRoleARN", caller.Base.String(), "region", i.credentials.Region())
		if longest := caller.Longest(i.wanted); longest < i.wanted {
			i.log.Error(nil, "sessions are shorter than --session-duration: AWS limits a role that is assumed by a role (role chaining) to one hour",
				"sessionDuration", longest.String(), "wanted", i.wanted.String())
		}
		return true, nil
	}) // the only error is that of a context that is done
	return nil
}
