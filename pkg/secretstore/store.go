// Package secretstore reads and writes the controller's Secrets in the API server. It never touches
// a Secret of another writer, and each write and deletion is of the very Secret that was judged.
package secretstore

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret"
)

// Store reads and writes Secrets. It is safe for concurrent use.
type Store struct {
	// Cached reads the controller's own Secrets from a cache that has seen its own writes.
	Cached client.Client
	// Live reads what the cache does not have: metadata of Secrets of other writers, a Secret that
	// was just written, and a seed that is not adopted yet.
	Live client.Reader
	// Uncached is for dry runs. Cached would wait for the version of what was not written.
	Uncached client.Writer
	// Files are what pods find in a Secret besides credentials.
	Files secret.Files
	// ServesAWSIAMRoles is true if the cluster has AWSIAMRoles. Otherwise their Secrets are left
	// alone.
	ServesAWSIAMRoles bool
	// FieldOwner is the name of the controller in managed fields.
	FieldOwner client.FieldOwner
}

// Get returns the controller's own Secret of a name, or nil. written is the resourceVersion that
// was written last, if any: while the cache has none or an older one, Get asks the API server, and
// fresh is false.
func (s *Store) Get(ctx context.Context, name types.NamespacedName, written string) (found *corev1.Secret, fresh bool, err error) {
	found, fresh = &corev1.Secret{}, true
	err = s.Cached.Get(ctx, name, found)
	if isStale(found.ResourceVersion, written) {
		found, fresh = &corev1.Secret{}, false
		err = s.Live.Get(ctx, name, found)
		secret.Reduce(found, s.Files)
	}
	if err != nil {
		return nil, fresh, client.IgnoreNotFound(err)
	}
	if !secret.IsManaged(found) || (secret.BelongsToAWSIAMRole(found) && !s.ServesAWSIAMRoles) {
		return nil, fresh, nil
	}
	return found, fresh, nil
}

// isStale reports whether a cached version, or "" for none, is older than the one that was written.
// The cached client waits for its own writes, but with several namespaces not for long enough: each
// has a watch of its own, and the client takes what one of them has seen for seen by all. Source:
// EnableReadYourWritesConsistency in controller-runtime's CacheOptions.
func isStale(version, written string) bool {
	if written == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(version, written)
	return err != nil || order < 0
}

// Missing is why a seed that does not exist is not adopted.
const Missing = "it does not exist"

// GetAdoptable returns an unlabelled seed Secret if it holds credentials and no other controller
// owns it, or why it is not adopted.
func (s *Store) GetAdoptable(ctx context.Context, name types.NamespacedName) (seed *corev1.Secret, whyNot string, err error) {
	seed = &corev1.Secret{}
	if err := s.Live.Get(ctx, name, seed); err != nil {
		return nil, Missing, client.IgnoreNotFound(err)
	}
	if metav1.GetControllerOf(seed) != nil || secret.CopiedFrom(seed) != "" {
		return nil, secret.UnmanagedNote(seed), nil
	}
	if secret.Reduce(seed, s.Files); secret.ReadReduced(seed) == (credentials.Credentials{}) {
		return nil, "it holds no credentials", nil
	}
	return seed, "", nil
}

// ExplainUnmanaged asks the API server whether a Secret of another writer has a name, and returns
// what to do about it; "" if none has.
func (s *Store) ExplainUnmanaged(ctx context.Context, name types.NamespacedName) (note string, err error) {
	meta, err := s.getMetadata(ctx, name)
	switch {
	case err != nil:
		return "", client.IgnoreNotFound(err)
	case secret.BelongsToAWSIAMRole(meta) && !s.ServesAWSIAMRoles:
		return secret.UnservedNote(meta), nil
	case secret.IsManaged(meta):
		return "", nil
	default:
		return secret.UnmanagedNote(meta), nil
	}
}

// CheckFree returns a RefusedError if a Secret of another writer has a name.
func (s *Store) CheckFree(ctx context.Context, name types.NamespacedName) error {
	unmanaged, err := s.ExplainUnmanaged(ctx, name)
	if err != nil || unmanaged == "" {
		return err
	}
	return &RefusedError{v1.ReasonSecretNotManaged, ActionCreate, unmanaged}
}

// getMetadata asks the API server for the metadata of a Secret.
func (s *Store) getMetadata(ctx context.Context, name types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := s.Live.Get(ctx, name, meta)
	return meta, err
}

// TryWrite tries Write in a dry run, and returns its error.
func (s *Store) TryWrite(ctx context.Context, judged, rendered *corev1.Secret) error {
	if judged == nil {
		return s.explain(ctx, ActionCreate, rendered, s.Uncached.Create(ctx, rendered, s.FieldOwner, client.DryRunAll))
	}
	written := secret.Replace(judged.ObjectMeta, rendered)
	return s.explain(ctx, ActionUpdate, judged, s.Uncached.Update(ctx, written, s.FieldOwner, client.DryRunAll))
}

// Write creates a Secret, or replaces what is in the one that was judged if that is not nil. It
// returns the resourceVersion that was written.
func (s *Store) Write(ctx context.Context, judged, rendered *corev1.Secret) (version string, err error) {
	if judged == nil {
		err = s.Cached.Create(ctx, rendered, s.FieldOwner)
		return rendered.ResourceVersion, s.explain(ctx, ActionCreate, rendered, err)
	}
	written, err := s.overwrite(ctx, judged, rendered)
	if err != nil {
		return "", s.explain(ctx, ActionUpdate, judged, err)
	}
	return written.ResourceVersion, nil
}

// Repair writes the Secret that was judged again with the credentials that it holds. It reads them
// from the API server, as the cache does not have them; issued is as in secret.Repairable. It
// returns the resourceVersion that was written, and who changed the Secret, if that is known.
func (s *Store) Repair(ctx context.Context, judged *corev1.Secret, t secret.Target, issued string) (c credentials.Credentials, version, writer string, err error) {
	live := &corev1.Secret{}
	if err := s.Live.Get(ctx, client.ObjectKeyFromObject(judged), live); err != nil {
		return c, "", "", errors.New("the Secret was deleted meanwhile, or cannot be read")
	}
	c, err = secret.Read(live)
	if err != nil || live.UID != judged.UID || c.AccessKeyID != secret.ReadReduced(judged).AccessKeyID || !secret.IsManaged(live) {
		return c, "", "", errChanged
	}
	if _, has := live.Annotations[secret.IssuedAtAnnotation]; !has {
		c.Issued = c.Expires.Add(-t.Session.Duration)
	}
	writer = s.writerOf(live)
	if secret.Reduce(live, s.Files); !secret.Repairable(live, t, issued) {
		return c, "", "", errChanged
	}
	version, err = s.Write(ctx, live, secret.Render(t, c, live))
	return c, version, writer, err
}

// writeAttempts is how often a write is tried if other writers come first.
const writeAttempts = 5

// overwrite replaces what is in the Secret that was judged. On a conflict, and where the cache
// lacks labels or annotations of other writers, it reads the metadata, and retries while the UID
// matches and the Secret is still managed.
func (s *Store) overwrite(ctx context.Context, judged, rendered *corev1.Secret) (written *corev1.Secret, err error) {
	meta := judged.ObjectMeta
	if secret.IsTruncated(judged) {
		if meta, err = s.getManagedMetadata(ctx, judged); err != nil {
			return nil, err
		}
	}
	for range writeAttempts {
		written = secret.Replace(meta, rendered)
		if err = s.Cached.Update(ctx, written, s.FieldOwner); !apierrors.IsConflict(err) {
			break
		}
		var readErr error
		if meta, readErr = s.getManagedMetadata(ctx, judged); readErr != nil {
			break
		}
	}
	return written, err
}

// getManagedMetadata asks the API server for the metadata of the very Secret that was judged, while
// it is managed; otherwise it returns a conflict.
func (s *Store) getManagedMetadata(ctx context.Context, judged *corev1.Secret) (metav1.ObjectMeta, error) {
	now, err := s.getMetadata(ctx, client.ObjectKeyFromObject(judged))
	if err == nil && (now.UID != judged.UID || !secret.IsManaged(now)) {
		err = apierrors.NewConflict(corev1.Resource("secrets"), judged.Name, errors.New("it was replaced, or is not managed any longer"))
	}
	return now.ObjectMeta, err
}

// Delete deletes the very Secret that was judged, in the version that was judged. A Secret that
// does not exist is no error.
func (s *Store) Delete(ctx context.Context, judged *corev1.Secret) error {
	err := s.Cached.Delete(ctx, judged, client.Preconditions{UID: &judged.UID, ResourceVersion: &judged.ResourceVersion})
	return s.explain(ctx, ActionDelete, judged, client.IgnoreNotFound(err))
}
