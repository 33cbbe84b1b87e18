package filteredwatch

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Scopes records which scopes, namespaces or "" for all, have been listed. It is safe for
// concurrent use.
type Scopes struct {
	lock sync.Mutex
	// unsynced are those whose first list is missing.
	unsynced sets.Set[string]
	synced   chan struct{}
}

// NewScopes returns Scopes of which none has been listed.
func NewScopes(scopes []string) *Scopes {
	return &Scopes{unsynced: sets.New(scopes...), synced: make(chan struct{})}
}

// Synced returns a channel that is closed once all scopes have been listed.
func (s *Scopes) Synced() <-chan struct{} { return s.synced }

// AwaitSync waits until all scopes of all have been listed, or the context is done.
func AwaitSync(ctx context.Context, all ...*Scopes) error {
	for _, s := range all {
		select {
		case <-s.synced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// HasSynced reports whether all scopes have been listed.
func (s *Scopes) HasSynced() bool {
	select {
	case <-s.synced:
		return true
	default:
		return false
	}
}

// MarkListed records that a scope has been listed.
func (s *Scopes) MarkListed(scope string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.unsynced.Delete(scope); s.unsynced.Len() == 0 && !s.HasSynced() {
		close(s.synced)
	}
}
