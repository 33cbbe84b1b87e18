package credentials

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/smithy-go"
)

var throttling = &smithy.GenericAPIError{Code: "Throttling", Message: "Rate exceeded"}

func TestRetryer_HasNoQuota(t *testing.T) {
	r := newRetryer(func() time.Duration { return 0 })
	for range 10_000 {
		if _, err := r.GetRetryToken(t.Context(), errors.New("no answer")); err != nil {
			t.Fatal(err)
		}
	}
	if r.MaxAttempts() != maxAttempts {
		t.Errorf("a call is attempted %d times", r.MaxAttempts())
	}
}

func TestRetryer_SlowsDownWhileSTSThrottles(t *testing.T) {
	var now time.Duration
	r := newRetryer(func() time.Duration { return now })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	attempt := func(result error) error {
		release, err := r.GetAttemptToken(over) // an attempt that has to wait fails
		if err != nil {
			return err
		}
		return release(result)
	}
	for range 1000 {
		if err := attempt(nil); err != nil {
			t.Fatalf("limited before STS throttles: %v", err)
		}
	}
	for range 3 { // and again after it was forgotten
		if err := attempt(throttling); err != nil {
			t.Fatal(err)
		}
		limited := false
		for range 10_000 {
			limited = limited || attempt(nil) != nil
		}
		if !limited {
			t.Error("not limited after STS throttled")
		}
		now += throttlingMemory
		limited = false
		for range 10_000 {
			limited = limited || attempt(nil) != nil
		}
		if !limited {
			t.Error("not limited for as long as throttling is remembered")
		}
		now++
		for range 10_000 {
			if err := attempt(nil); err != nil {
				t.Fatalf("still limited, though STS has not throttled for a while: %v", err)
			}
		}
	}
}

// Continued throttling keeps the limit, however long it lasts.
func TestRetryer_RemembersTheLastThrottling(t *testing.T) {
	var now time.Duration
	r := newRetryer(func() time.Duration { return now })
	for range 10 {
		limit := r.current()
		r.recordThrottling()
		now += throttlingMemory
		if r.current() != limit {
			t.Fatal("the limit was dropped")
		}
	}
}
