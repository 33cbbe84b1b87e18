package controllers

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// writes remembers of each Secret the version that was written last, until the cache has it. The cached client waits for that on its own, but with several
// namespaces not for long enough: each has a watch of its own, and the client takes what it sees by any of them for seen by all. Source:
// EnableReadYourWritesConsistency in controller-runtime's CacheOptions.
type writes struct {
	lock   sync.Mutex
	latest map[types.NamespacedName]string
}

func newWrites() *writes { return &writes{latest: map[types.NamespacedName]string{}} }

// note remembers a Secret as it was written.
func (w *writes) note(written *corev1.Secret) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.latest[client.ObjectKeyFromObject(written)] = written.ResourceVersion
}

// unseen tells whether a version of a Secret, or "" for none, is older than the one that was written last.
func (w *writes) unseen(s types.NamespacedName, version string) bool {
	w.lock.Lock()
	defer w.lock.Unlock()
	written, ok := w.latest[s]
	if !ok {
		return false
	}
	if order, err := resourceversion.CompareResourceVersion(version, written); err != nil || order < 0 {
		return true
	}
	delete(w.latest, s)
	return false
}

// forget drops what is remembered of a Secret that exists no longer: the cache may never have had what was written.
func (w *writes) forget(s types.NamespacedName) {
	w.lock.Lock()
	defer w.lock.Unlock()
	delete(w.latest, s)
}
