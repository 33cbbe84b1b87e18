package controllers

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/secret"
)

// contestedWrites is how many writes of one Secret, that follow each other without a rest, show
// that another writer changes it back.
const contestedWrites = freeWrites

// writerOf returns who wrote a Secret last beside this controller, as its managed fields say: the
// name that it gave itself. An object without them says nothing.
func writerOf(s metav1.Object) string {
	var last *metav1.ManagedFieldsEntry
	for i := range s.GetManagedFields() {
		if entry := &s.GetManagedFields()[i]; last == nil || isLater(entry, last) {
			last = entry
		}
	}
	switch {
	case last == nil:
		return ""
	case last.Manager == Name:
		return "another instance of " + Name
	default:
		return last.Manager
	}
}

// isLater reports whether one write was later than another, or at the same time by another writer
// than this controller: their times are whole seconds.
func isLater(entry, than *metav1.ManagedFieldsEntry) bool {
	switch {
	case entry.Time == nil || than.Time == nil:
		return than.Time == nil
	case entry.Time.Equal(than.Time):
		return than.Manager == Name
	default:
		return than.Time.Before(entry.Time)
	}
}

// contested reports whether a write was one of many that follow each other because another writer
// changes the Secret back, and by whom that is done. writes is how many they were with this one.
func (g *gathered) contested(writes int, d decision, o outcome) (by string, is bool) {
	if writes < contestedWrites || !g.changedBack(d, writes) {
		return g.known.contestedBy, g.known.contestedBy != ""
	}
	switch {
	case d.reason == reasonNew:
		return deletedBy, true
	case o.writer != "":
		return o.writer, true
	default:
		return "another writer", true
	}
}

// targetDigest returns a number that stands for what a Secret is to be for.
func targetDigest(t *secret.Target) uint64 {
	sum := fnv.New64a()
	_, _ = fmt.Fprintf(sum, "%s %s %s %v", t.Session.Role, t.Session.Name, t.Session.Duration, t.Labels) // never fails
	if t.Owner != nil {
		_, _ = fmt.Fprint(sum, t.Owner.UID)
	}
	return sum.Sum64()
}

// changedBack reports whether a write was necessary because another writer had changed or deleted
// what was written before.
func (g *gathered) changedBack(d decision, writes int) bool {
	if g.known.target != targetDigest(&g.target) {
		return false // its own users changed what it is to be
	}
	switch d.reason {
	case reasonRestored, reasonRepaired:
		return true
	case reasonRefresh: // of credentials that are not those that were issued last
		return g.known.accessKeyID != "" && g.held.credentials.AccessKeyID != g.known.accessKeyID
	default: // a pod and its Secret may be deleted together, some times
		return !g.known.removed && writes > contestedWrites
	}
}

// isContested reports whether another writer changed a Secret back lately.
func (k *record) isContested(now time.Time) bool {
	return k.contestedBy != "" && k.restedBy().After(now)
}

// restedBy returns when it was long ago that the Secret was written, if it is not written until
// then.
func (k *record) restedBy() time.Time {
	if k.repairs.restedBy().After(k.issues.restedBy()) {
		return k.repairs.restedBy()
	}
	return k.issues.restedBy()
}

// deletedBy stands for a writer that deletes a Secret: nothing in the next one says who it was.
const deletedBy = "unknown, as it deletes the Secret"

// contestedNote says that a Secret is changed back, and what to do.
func contestedNote(s types.NamespacedName, by string) string {
	if by == deletedBy {
		return fmt.Sprintf("Secret %q is deleted again and again, and written again with growing pauses. Have what deletes it leave it alone: "+
			"the API server's audit log says who it is", s.Name)
	}
	if !strings.HasPrefix(by, "another ") { // a name that the writer gave itself
		by = strconv.Quote(by)
	}
	return fmt.Sprintf("Secret %q is changed again and again by %s, and written again with growing pauses. Have that writer leave it alone: see who writes it by "+
		"kubectl get secret --namespace %s %s --show-managed-fields --output jsonpath='{.metadata.managedFields[*].manager}'", s.Name, by, s.Namespace, s.Name)
}
