// Package fairrate limits the rate of calls that several namespaces make, so that one with many calls does
// not delay the others.
package fairrate

import (
	"container/list"
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limiter hands out tokens to namespaces in turn. While tokens are left, or only one namespace waits, it is
// a plain rate.Limiter. It is safe for concurrent use. Use New.
type Limiter struct {
	tokens *rate.Limiter

	lock sync.Mutex
	// first is the queue of the callers without a namespace, and turns has those of namespaces, each with at
	// least one waiter, the next one to serve in front.
	first *queue
	turns *list.List
	// of finds a namespace's queue in turns.
	of map[string]*list.Element
	// armed reports whether serve is to run when the next token is there.
	armed bool
}

// queue has the waiters of one namespace, in the order in which they came.
type queue struct {
	namespace string
	waiters   *list.List
}

// waiter is closed when it gets its token.
type waiter chan struct{}

// New returns a Limiter of so many tokens a second. At most burst of them are saved up.
func New(perSecond float64, burst int) *Limiter {
	return &Limiter{
		tokens: rate.NewLimiter(rate.Limit(perSecond), burst),
		first:  &queue{waiters: list.New()},
		turns:  list.New(),
		of:     map[string]*list.Element{},
	}
}

// Wait blocks until the namespace gets a token. Each one goes to the namespace that has waited longest for
// its turn, and within it to the caller that came first. Callers without a namespace ("") come before all
// others: they are for the controller's own needs. When the context is done first, Wait returns its error,
// and the place goes to the next caller.
func (l *Limiter) Wait(ctx context.Context, namespace string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	granted, leave := l.enter(namespace)
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
		if leave() {
			return ctx.Err()
		}
		return nil // the token was granted at the same time
	}
}

// enter adds a waiter. leave takes it out again; it returns false if the waiter has got its token.
func (l *Limiter) enter(namespace string) (granted waiter, leave func() (left bool)) {
	l.lock.Lock()
	defer l.lock.Unlock()
	granted = make(waiter)
	q := l.queueOf(namespace)
	place := q.waiters.PushBack(granted)
	if !l.armed { // else all tokens are used up
		l.serveLocked()
	}
	return granted, func() bool {
		l.lock.Lock()
		defer l.lock.Unlock()
		select {
		case <-granted:
			return false
		default:
			q.waiters.Remove(place)
			l.dropIfEmpty(q)
			return true
		}
	}
}

// queueOf returns the queue of a namespace, which is the last one to be served if it is new.
func (l *Limiter) queueOf(namespace string) *queue {
	if namespace == "" {
		return l.first
	}
	element, ok := l.of[namespace]
	if !ok {
		element = l.turns.PushBack(&queue{namespace: namespace, waiters: list.New()})
		l.of[namespace] = element
	}
	return element.Value.(*queue) //nolint:forcetypeassert // nothing else is in it
}

func (l *Limiter) serve() {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.serveLocked()
}

// serveLocked hands out the tokens that are there, and comes back when there is another one if that is not
// enough.
func (l *Limiter) serveLocked() {
	l.armed = false
	for q := l.next(); q != nil; q = l.next() {
		if !l.tokens.Allow() {
			l.armed = true
			time.AfterFunc(l.untilToken(), l.serve)
			return
		}
		l.grant(q)
	}
}

// next returns the queue whose turn it is, nil if there are no waiters.
func (l *Limiter) next() *queue {
	if l.first.waiters.Len() > 0 {
		return l.first
	}
	if front := l.turns.Front(); front != nil {
		return front.Value.(*queue) //nolint:forcetypeassert // nothing else is in it
	}
	return nil
}

// grant serves the first waiter of a queue, and puts the queue behind the others.
func (l *Limiter) grant(q *queue) {
	close(q.waiters.Remove(q.waiters.Front()).(waiter)) //nolint:forcetypeassert // nothing else is in it
	if q == l.first {
		return
	}
	l.turns.MoveToBack(l.of[q.namespace])
	l.dropIfEmpty(q)
}

// dropIfEmpty forgets a namespace without waiters.
func (l *Limiter) dropIfEmpty(q *queue) {
	if q != l.first && q.waiters.Len() == 0 {
		l.turns.Remove(l.of[q.namespace])
		delete(l.of, q.namespace)
	}
}

// untilToken returns how long it takes until there is a token.
func (l *Limiter) untilToken() time.Duration {
	next := l.tokens.Reserve()
	defer next.Cancel() // only its time matters: who gets the token is decided when it is there
	return next.Delay()
}
