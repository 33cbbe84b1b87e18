package app

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"

	"kube-aws-iam-controller/pkg/credentials"
)

// identityLogger logs the controller's AWS identity once it is known, and until then what is
// missing.
type identityLogger struct {
	credentials *credentials.Client
	wanted      time.Duration
	// optional is true if ServiceAccounts get their roles without this identity.
	optional bool
	log      logr.Logger
	// after is closed once it is known whether the seed exists; nil without a seed.
	after <-chan struct{}
}

// identityRetry is how often to try again, and to log what is missing.
const identityRetry = time.Minute

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (identityLogger) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (i identityLogger) Start(ctx context.Context) error {
	if i.after != nil {
		select {
		case <-i.after:
		case <-ctx.Done():
			return nil
		}
	}
	reported := false
	_ = wait.PollUntilContextCancel(ctx, identityRetry, true, func(ctx context.Context) (bool, error) {
		caller, err := i.credentials.Caller(ctx)
		if err != nil {
			if ctx.Err() == nil && (!reported || !i.optional) { // otherwise the controller ends
				i.logMissing(err)
			}
			reported = true
			return false, nil
		}
		if i.optional { // then no other call finds out which role the base is, which is never issued
			_, _ = i.credentials.BaseClient().Caller(ctx)
		}
		i.log.Info("AWS identity", "caller", caller.ARN, "baseRoleARN", caller.Base.String(), "region", i.credentials.Region())
		if longest := caller.MaxDuration(i.wanted); longest < i.wanted {
			i.log.Error(nil, "sessions are shorter than --session-duration: AWS limits a role that is assumed by a role (role chaining) to one hour",
				"sessionDuration", longest.String(), "wanted", i.wanted.String())
		}
		return true, nil
	}) // the only error is that of a context that is done
	return nil
}

// logMissing logs that the controller has no identity.
func (i identityLogger) logMissing(err error) {
	if i.optional && credentials.KindOf(err) == credentials.Absent {
		i.log.Info("no AWS identity of the controller's own, as is needed for AWSIAMRoles and for Secrets aws-iam-<role> only", "reason", err.Error())
		return
	}
	i.log.Error(err, "no AWS identity")
}
