package controllers

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// eventLimits bounds the events of each namespace, and those of success in all. The recorder
// drops events while its queue of 1,000 is full, so without this one namespace could keep
// others from getting theirs. Source: maxQueuedEvents in client-go's tools/events.
type eventLimits struct {
	lock sync.Mutex
	// success bounds the events of what went well: when thousands of pods come at once, the API
	// server has better to do.
	success *rate.Limiter
	// ofNamespace are the limits of a namespace's events, of success and of warnings.
	ofNamespace map[string]*namespaceEvents
}

type namespaceEvents struct{ success, warnings *rate.Limiter }

// How many events there are a second, and at once: of success in all namespaces and in one, and
// of warnings in one.
const (
	successEvents, successBurst                   = 10, 100
	namespaceSuccessEvents, namespaceSuccessBurst = 5, 50
	warningEvents, warningBurst                   = 50, 500
)

// manyEventLimits is from how many namespaces on those are forgotten that had no event lately.
const manyEventLimits = 1000

func newEventLimits() *eventLimits {
	return &eventLimits{success: rate.NewLimiter(successEvents, successBurst), ofNamespace: map[string]*namespaceEvents{}}
}

// allowSuccess reports whether a namespace may have an event of what went well.
func (l *eventLimits) allowSuccess(namespace string, now time.Time) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.of(namespace, now).success.AllowN(now, 1) && l.success.AllowN(now, 1)
}

// allowWarning reports whether a namespace may have an event of what went wrong.
func (l *eventLimits) allowWarning(namespace string, now time.Time) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.of(namespace, now).warnings.AllowN(now, 1)
}

// of returns the limits of a namespace. The lock is held.
func (l *eventLimits) of(namespace string, now time.Time) *namespaceEvents {
	if known, ok := l.ofNamespace[namespace]; ok {
		return known
	}
	if len(l.ofNamespace) >= manyEventLimits {
		maps.DeleteFunc(l.ofNamespace, func(_ string, n *namespaceEvents) bool {
			return n.success.TokensAt(now) >= namespaceSuccessBurst && n.warnings.TokensAt(now) >= warningBurst
		})
	}
	limits := &namespaceEvents{
		success:  rate.NewLimiter(namespaceSuccessEvents, namespaceSuccessBurst),
		warnings: rate.NewLimiter(warningEvents, warningBurst),
	}
	l.ofNamespace[namespace] = limits
	return limits
}
