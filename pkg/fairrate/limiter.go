// Package fairrate limits the rate of calls that several namespaces make, so that one with many
// calls does not delay the others.
package fairrate

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limiter hands out tokens to namespaces in turn. While tokens are left, or only one namespace
// waits, it behaves like a rate.Limiter. It is safe for concurrent use. Use New.
type Limiter struct {
	tokens *rate.Limiter

	mu sync.Mutex
	// own holds the callers without a namespace.
	own *queue
	// turns holds the namespaces that wait, the next one to serve first.
	turns []*queue
	// armed reports whether serve is scheduled for the next token.
	armed bool
}

// queue holds the waiting callers of one namespace in order of arrival.
type queue struct {
	namespace string
	callers   []caller
}

// caller is closed when it gets its token.
type caller chan struct{}

// New returns a Limiter of perSecond tokens a second. It saves up to burst of them.
func New(perSecond float64, burst int) *Limiter {
	return &Limiter{tokens: rate.NewLimiter(rate.Limit(perSecond), burst), own: &queue{}}
}

// Wait blocks until the namespace gets a token. Each token goes to the namespace that has waited
// longest for its turn, and within it to the caller that came first. Callers without a namespace
// ("") come before all others: they are for the controller's own needs. If the context is done
// first, Wait returns its error, and the place goes to the next caller.
func (l *Limiter) Wait(ctx context.Context, namespace string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q, c := l.enter(namespace)
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		if l.leave(q, c) {
			return ctx.Err()
		}
		return nil // the token came at the same moment
	}
}

// enter adds a caller, and serves it at once if there is a token.
func (l *Limiter) enter(namespace string) (*queue, caller) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q, c := l.queueOf(namespace), make(caller)
	q.callers = append(q.callers, c)
	if !l.armed { // otherwise all tokens are used up
		l.serveLocked()
	}
	return q, c
}

// leave removes a caller. It reports false if the caller has got a token.
func (l *Limiter) leave(q *queue, c caller) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	place := slices.Index(q.callers, c)
	if place < 0 {
		return false
	}
	q.callers = slices.Delete(q.callers, place, place+1)
	if q != l.own && len(q.callers) == 0 {
		l.turns = slices.DeleteFunc(l.turns, func(other *queue) bool { return other == q })
	}
	return true
}

// queueOf returns the queue of a namespace. A new one is the last to be served.
func (l *Limiter) queueOf(namespace string) *queue {
	if namespace == "" {
		return l.own
	}
	for _, q := range l.turns {
		if q.namespace == namespace {
			return q
		}
	}
	q := &queue{namespace: namespace}
	l.turns = append(l.turns, q)
	return q
}

func (l *Limiter) serve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serveLocked()
}

// serveLocked hands out the available tokens. If callers are left, it schedules serve for the next
// token.
func (l *Limiter) serveLocked() {
	l.armed = false
	for len(l.own.callers) > 0 || len(l.turns) > 0 {
		if !l.tokens.Allow() {
			l.armed = true
			time.AfterFunc(l.untilToken(), l.serve)
			return
		}
		l.grant()
	}
}

// grant gives a token to the next caller, and moves its namespace behind the others.
func (l *Limiter) grant() {
	q := l.own
	if len(q.callers) == 0 {
		q = l.turns[0]
		l.turns = l.turns[1:]
		if len(q.callers) > 1 {
			l.turns = append(l.turns, q)
		}
	}
	close(q.callers[0])
	q.callers = q.callers[1:]
}

// untilToken returns the delay until the next token.
func (l *Limiter) untilToken() time.Duration {
	next := l.tokens.Reserve()
	defer next.Cancel() // only the delay counts: the token is handed out when it is due
	return next.Delay()
}
