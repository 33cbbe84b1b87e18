package credentials

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// retryer retries a call of STS, and slows down all calls while STS throttles. It differs from the
// SDK's adaptive mode in two ways:
//
// It has no retry quota. In adaptive mode only a successful retry refills the quota: once an outage
// has used it up, no failure is retried any more. Retries are bounded by maxAttempts, and beyond
// that by the work queue, which backs off for each Secret.
//
// It forgets throttling that has passed. Adaptive mode stays limited to twice the rate of its last
// calls, so that after a quiet minute a burst begins with one call in two seconds.
type retryer struct {
	*retry.Standard
	elapsed func() time.Duration // monotonic

	lock      sync.Mutex
	limit     *retry.AdaptiveMode
	throttled bool          // whether STS has throttled under limit
	last      time.Duration // when STS throttled last
}

var _ aws.RetryerV2 = (*retryer)(nil)

// throttlingMemory is how long calls are limited after STS throttled last. While more calls are
// waiting than STS accepts, the limit is probed, and exceeded, more often than that.
const throttlingMemory = 5 * time.Second

func newRetryer(elapsed func() time.Duration) *retryer {
	return &retryer{
		Standard: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff, o.RateLimiter = maxAttempts, maxBackoff, ratelimit.None
		}),
		elapsed: elapsed,
		limit:   retry.NewAdaptiveMode(),
	}
}

// GetAttemptToken waits until the next attempt can be made, and returns the function that takes its
// result.
func (r *retryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	release, err := r.current().GetAttemptToken(ctx)
	if err != nil {
		return nil, err
	}
	return func(err error) error {
		if retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool() {
			r.recordThrottling()
		}
		return release(err)
	}, nil
}

// current returns the limit for the next attempt: a new one, without a limit, if STS has not
// throttled for throttlingMemory.
func (r *retryer) current() *retry.AdaptiveMode {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.throttled && r.elapsed()-r.last > throttlingMemory {
		r.limit, r.throttled = retry.NewAdaptiveMode(), false
	}
	return r.limit
}

func (r *retryer) recordThrottling() {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.throttled, r.last = true, r.elapsed()
}
