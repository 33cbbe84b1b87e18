package env

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	awaitTimeout  = 2 * time.Minute
	awaitInterval = 5 * time.Millisecond
)

// Await polls a condition every few milliseconds for up to two minutes. See AwaitWithin.
func Await(ctx context.Context, what string, condition func() (bool, error)) error {
	return AwaitWithin(ctx, awaitTimeout, awaitInterval, what, condition)
}

// AwaitWithin calls condition at once, and then every interval, until it returns true or an error.
// The error after the timeout says what did not come true.
func AwaitWithin(ctx context.Context, timeout, interval time.Duration, what string, condition func() (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, interval, timeout, true, func(context.Context) (bool, error) { return condition() })
	if wait.Interrupted(err) && ctx.Err() == nil {
		return fmt.Errorf("not within %s: %s", timeout, what)
	}
	return err
}

// Pause waits for d, or until ctx ends, which is an error.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
