package sandbox

import (
	"context"
	"fmt"
	"time"
)

const (
	// awaited is how long anything may take that is waited for.
	awaited = 2 * time.Minute
	glance  = 5 * time.Millisecond
)

// Await waits for a condition.
func Await(ctx context.Context, what string, holds func() (bool, error)) error {
	for deadline := time.Now().Add(awaited); ; {
		ok, err := holds()
		switch {
		case err != nil:
			return err
		case ok:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("not within %s: %s", awaited, what)
		}
		if err := Pause(ctx, glance); err != nil {
			return err
		}
	}
}

// Pause lets time pass.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
