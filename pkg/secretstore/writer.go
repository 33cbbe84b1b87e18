package secretstore

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// LastWriter returns who wrote a Secret last beside this controller, by its managed fields; "" if
// that is not known.
func (s *Store) LastWriter(ctx context.Context, name types.NamespacedName) string {
	meta, err := s.getMetadata(ctx, name)
	if err != nil {
		return ""
	}
	return s.writerOf(meta)
}

// writerOf returns who wrote an object last beside this controller, by its managed fields: the name
// that the writer gave itself. It is "" for an object without them.
func (s *Store) writerOf(o metav1.Object) string {
	own := string(s.FieldOwner)
	var last *metav1.ManagedFieldsEntry
	for i := range o.GetManagedFields() {
		if entry := &o.GetManagedFields()[i]; last == nil || isLater(entry, last, own) {
			last = entry
		}
	}
	switch {
	case last == nil:
		return ""
	case last.Manager == own:
		return "another instance of " + own
	default:
		return last.Manager
	}
}

// isLater reports whether one write was later than another, or at the same time by another writer
// than this controller: their times are whole seconds.
func isLater(entry, than *metav1.ManagedFieldsEntry, own string) bool {
	switch {
	case entry.Time == nil || than.Time == nil:
		return than.Time == nil
	case entry.Time.Equal(than.Time):
		return than.Manager == own
	default:
		return than.Time.Before(entry.Time)
	}
}
