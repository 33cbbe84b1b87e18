package app

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
)

// managerOptions returns options with a cache of the controller's own Secrets, the AWSIAMRoles, and
// the metadata of what the authorization modes depend on. Pods, of which there can be very many,
// have an index of their own.
func managerOptions(o *Options) manager.Options {
	namespaces := map[string]cache.Config{}
	for _, n := range o.Namespaces {
		namespaces[n] = cache.Config{}
	}
	byObject := map[client.Object]cache.ByObject{&corev1.Secret{}: {
		Label:                 labels.SelectorFromSet(labels.Set{secret.OwnerLabel: secret.OwnerValue}),
		UnsafeDisableDeepCopy: new(true),
		SyncPeriod:            new(o.Resync),
		Transform:             withoutCredentials(o.files()),
	}}
	for _, object := range authorization.WatchedObjects(o.AuthorizationModes) {
		byObject[object] = cache.ByObject{Transform: reduceMetadata}
	}
	return manager.Options{
		Logger: o.Log,
		Scheme: Scheme(),
		Cache: cache.Options{
			DefaultNamespaces:           namespaces,
			DefaultTransform:            reduceRole,
			ReaderFailOnMissingInformer: true,
			ByObject:                    byObject,
		},
		// A reconcile sees what the one before it wrote: otherwise it would issue twice.
		Client:                        client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: new(true)}},
		LeaderElection:                o.LeaderElect,
		LeaderElectionID:              leaseName(o.Namespaces),
		LeaderElectionNamespace:       leaseNamespace(),
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration),
		RenewDeadline:                 new(renewDeadline),
		Metrics:                       metricsserver.Options{BindAddress: "0"}, // see addMetrics
		HealthProbeBindAddress:        "0",                                     // see addProbes
	}
}

// withoutCredentials keeps credentials out of the cache: once written they are the API server's,
// and cannot be found in the controller's memory.
func withoutCredentials(f secret.Files) toolscache.TransformFunc {
	return func(obj any) (any, error) {
		if s, ok := obj.(*corev1.Secret); ok {
			secret.Reduce(s, f)
		}
		return obj, nil
	}
}

// reduceRole keeps of an AWSIAMRole what the controller uses: annotations and managed fields can
// have hundreds of kilobytes. It is the transform of all kinds that have no other, as to name the
// kind would take a cluster that knows it.
func reduceRole(obj any) (any, error) {
	if r, ok := obj.(*v1.AWSIAMRole); ok {
		request.ReduceAWSIAMRole(r)
		return r, nil
	}
	return cache.TransformStripManagedFields()(obj)
}

// reduceMetadata keeps of the metadata of an object what decisions depend on.
func reduceMetadata(obj any) (any, error) {
	if m, ok := obj.(*metav1.PartialObjectMetadata); ok {
		authorization.Reduce(m)
	}
	return obj, nil
}

// Scheme returns a scheme with Kubernetes' own kinds and AWSIAMRole.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1.AddToScheme(s))
	return s
}
