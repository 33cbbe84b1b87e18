package env

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestAwaitWithin(t *testing.T) {
	failure := errors.New("failure")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	calls := 0
	for _, c := range []struct {
		name      string
		ctx       context.Context //nolint:containedctx // of the case
		timeout   time.Duration
		condition func() (bool, error)
		want      string
	}{
		{"true at once", t.Context(), time.Hour, func() (bool, error) { return true, nil }, ""},
		{"true at the third call", t.Context(), time.Hour, func() (bool, error) { calls++; return calls == 3, nil }, ""},
		{"error of the condition", t.Context(), time.Hour, func() (bool, error) { return false, failure }, "failure"},
		{"never true", t.Context(), 2 * time.Millisecond, func() (bool, error) { return false, nil }, "not within 2ms: the sky falls"},
		{"context ended", canceled, time.Hour, func() (bool, error) { return false, nil }, "context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := AwaitWithin(c.ctx, c.timeout, time.Millisecond, "the sky falls", c.condition)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}
