package events

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits bounds the events of each namespace, and those of success in total. client-go's recorder
// drops events while its queue of 1,000 is full, so without limits one namespace could keep others
// from getting theirs. Source: maxQueuedEvents in client-go's tools/events.
type limits struct {
	lock sync.Mutex
	// success bounds the events of success, so that thousands of new pods at once leave the API
	// server time for their Secrets.
	success *rate.Limiter
	// byNamespace has the limits of each namespace that had an event lately.
	byNamespace map[string]*namespaceLimits
}

type namespaceLimits struct{ success, warnings *rate.Limiter }

// Events per second, and at once.
const (
	successRate, successBurst                   = 10, 100
	namespaceSuccessRate, namespaceSuccessBurst = 5, 50
	warningRate, warningBurst                   = 50, 500
)

// maxIdleNamespaces is the number of namespaces above which those without recent events are
// dropped.
const maxIdleNamespaces = 1000

func newLimits() *limits {
	return &limits{success: rate.NewLimiter(successRate, successBurst), byNamespace: map[string]*namespaceLimits{}}
}

// allowSuccess reports whether a namespace can have an event of success now, and counts it.
func (l *limits) allowSuccess(namespace string, now time.Time) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.of(namespace, now).success.AllowN(now, 1) && l.success.AllowN(now, 1)
}

// allowWarning reports whether a namespace can have a warning now, and counts it.
func (l *limits) allowWarning(namespace string, now time.Time) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.of(namespace, now).warnings.AllowN(now, 1)
}

// of returns the limits of a namespace. The lock is held.
func (l *limits) of(namespace string, now time.Time) *namespaceLimits {
	if known, ok := l.byNamespace[namespace]; ok {
		return known
	}
	if len(l.byNamespace) >= maxIdleNamespaces {
		maps.DeleteFunc(l.byNamespace, func(_ string, n *namespaceLimits) bool {
			return n.success.TokensAt(now) >= namespaceSuccessBurst && n.warnings.TokensAt(now) >= warningBurst
		})
	}
	limits := &namespaceLimits{
		success:  rate.NewLimiter(namespaceSuccessRate, namespaceSuccessBurst),
		warnings: rate.NewLimiter(warningRate, warningBurst),
	}
	l.byNamespace[namespace] = limits
	return limits
}
