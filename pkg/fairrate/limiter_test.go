package fairrate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-aws-iam-controller/pkg/fairrate"
)

// callers wait for a limiter in many goroutines; served records who gets tokens in which order.
type callers struct {
	limiter *fairrate.Limiter
	served  chan string
}

func newCallers(perSecond float64, burst int) *callers {
	return &callers{limiter: fairrate.New(perSecond, burst), served: make(chan string, 1000)}
}

// call starts n callers of a namespace, one after the other.
func (c *callers) call(t *testing.T, ctx context.Context, namespace string, n int) { //nolint:revive // t comes first in tests
	t.Helper()
	for range n {
		go func() {
			if err := c.limiter.Wait(ctx, namespace); err == nil {
				c.served <- namespace
			}
		}()
		synctest.Wait()
	}
}

// order returns who was served since its last call.
func (c *callers) order() string {
	synctest.Wait()
	var all []string
	for len(c.served) > 0 {
		all = append(all, <-c.served)
	}
	return strings.Join(all, "")
}

// everySecond returns who was served in each of the next n seconds.
func (c *callers) everySecond(n int) string {
	var all []string
	for range n {
		time.Sleep(time.Second)
		all = append(all, c.order())
	}
	return strings.Join(all, " ")
}

func TestLimiter_Order(t *testing.T) {
	for _, row := range []struct {
		name string
		call func(t *testing.T, c *callers)
		want string
	}{
		{"one namespace gets all", func(t *testing.T, c *callers) {
			t.Helper()
			c.call(t, t.Context(), "a", 4)
		}, "a a a a "},
		{"namespaces take turns", func(t *testing.T, c *callers) {
			t.Helper()
			c.call(t, t.Context(), "a", 3)
			c.call(t, t.Context(), "b", 1)
			c.call(t, t.Context(), "c", 2)
		}, "a b c a c a"},
		{"a namespace that comes back does not come before one that waits", func(t *testing.T, c *callers) {
			t.Helper()
			c.call(t, t.Context(), "a", 2)
			c.call(t, t.Context(), "b", 2)
			time.Sleep(time.Second)
			c.call(t, t.Context(), "a", 1)
		}, "b a b a "},
		{"the controller's own come first", func(t *testing.T, c *callers) {
			t.Helper()
			c.call(t, t.Context(), "a", 2)
			c.call(t, t.Context(), "b", 1)
			c.call(t, t.Context(), "", 2)
		}, "  a b a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCallers(1, 1)
				c.call(t, t.Context(), "x", 1)
				if got := c.order(); got != "x" {
					t.Fatalf("the first token went to %q", got)
				}
				row.call(t, c)
				before := c.order()
				if got := c.everySecond(len(strings.Split(row.want, " "))); got != row.want {
					t.Errorf("served %q after %q, want %q", got, before, row.want)
				}
			})
		})
	}
}

// A namespace alone is not slower than with a plain rate.Limiter: the burst at once, then the rate.
func TestLimiter_SingleNamespaceGetsRateAndBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallers(10, 5)
		c.call(t, t.Context(), "a", 26)
		if got := len(c.order()); got != 5 {
			t.Errorf("%d were served at once, want the burst of 5", got)
		}
		time.Sleep(time.Second)
		if got := len(c.order()); got != 10 {
			t.Errorf("%d were served in the next second, want 10", got)
		}
		time.Sleep(time.Minute)
		if got := len(c.order()); got != 11 {
			t.Errorf("%d were served later, want the other 11", got)
		}
		c.call(t, t.Context(), "a", 6)
		if got := len(c.order()); got != 5 {
			t.Errorf("%d were served at once after a pause, want the burst of 5", got)
		}
		time.Sleep(time.Second)
	})
}

func TestLimiter_CancelledCallerGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallers(1, 1)
		c.call(t, t.Context(), "x", 1)
		impatient, cancel := context.WithCancel(t.Context())
		c.call(t, impatient, "c", 1)
		c.call(t, impatient, "a", 2)
		c.call(t, impatient, "", 1)
		c.call(t, t.Context(), "b", 1)
		c.call(t, t.Context(), "a", 1)
		cancel()
		if got := c.order(); got != "x" {
			t.Errorf("%q were served", got)
		}
		// The place of namespace a stays while another of its callers waits.
		if got := c.everySecond(3); got != "a b " {
			t.Errorf("served %q", got)
		}
		// No token was lost to those that left.
		c.call(t, t.Context(), "a", 1)
		if got := c.order(); got != "a" {
			t.Errorf("served %q", got)
		}
	})
}

func TestLimiter_DoneContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := fairrate.New(1, 1)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Wait(done, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("Wait returned %v", err)
		}
		if err := l.Wait(t.Context(), "a"); err != nil { // the token is still there
			t.Error(err)
		}
		deadline, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := l.Wait(deadline, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait returned %v", err)
		}
	})
}

// A token that comes when the context ends is either used or given to the next caller.
func TestLimiter_TokenAtTheDeadline(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			c := newCallers(1, 1)
			c.call(t, t.Context(), "x", 1)
			deadline, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			c.call(t, deadline, "a", 1)
			c.call(t, t.Context(), "b", 1)
			time.Sleep(time.Second)
			if got := c.order(); got != "xa" && got != "xb" {
				t.Errorf("served %q", got)
			}
			time.Sleep(time.Second)
		})
	}
}

// With any load, no namespace is served twice while another one waits, and the rate is exhausted.
func TestLimiter_MaxMin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallers(100, 1)
		c.call(t, t.Context(), "x", 1)
		c.order()
		waiting := map[string]int{"a": 40, "b": 25, "c": 10, "d": 1}
		for _, namespace := range []string{"a", "b", "c", "d"} {
			c.call(t, t.Context(), namespace, waiting[namespace])
		}
		since := map[string][]string{} // namespace -> who was served since it was served
		for range 76 {
			time.Sleep(10 * time.Millisecond)
			served := c.order()
			if len(served) != 1 {
				t.Fatalf("%q were served within the time of one token", served)
			}
			for namespace := range waiting {
				if namespace != served && waiting[namespace] > 0 && slices.Contains(since[namespace], served) {
					t.Fatalf("%s was served twice while %s waited", served, namespace)
				}
				since[namespace] = append(since[namespace], served)
			}
			since[served] = nil
			waiting[served]--
		}
	})
}
