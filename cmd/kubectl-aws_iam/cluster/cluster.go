// Package cluster reads what the plugin needs from the API server, with the rights of its user. Of
// Secrets it reads metadata only: the plugin never has a key or a token in its memory.
package cluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"

	v1 "kube-aws-iam-controller/api/v1"
)

// Cluster is the API server of the context that the user chose.
type Cluster struct {
	Kubernetes kubernetes.Interface
	Metadata   metadata.Interface
	// resources is the client of the API group of AWSIAMRoles.
	resources rest.Interface
	clock     serverClock
}

// New returns the Cluster of a client configuration. It asks the API server nothing.
func New(config *rest.Config) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // the API server itself is fair
	var c Cluster
	var err error
	config.Wrap(c.clock.observe)
	if c.Kubernetes, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.Metadata, err = metadata.NewForConfig(config); err != nil {
		return nil, err
	}
	config.GroupVersion, config.APIPath = &v1.GroupVersion, "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.resources, err = rest.RESTClientFor(config)
	return &c, err
}

// scheme has the types of AWSIAMRoles, and those that calls about them take and return.
var scheme = newScheme()

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(v1.AddToScheme(s))
	return s
}

// AWSIAMRoles returns the client of the AWSIAMRoles of a namespace; of all if it is "".
func (c *Cluster) AWSIAMRoles(namespace string) *gentype.ClientWithList[*v1.AWSIAMRole, *v1.AWSIAMRoleList] {
	return gentype.NewClientWithList(v1.Resource, c.resources, runtime.NewParameterCodec(scheme), namespace,
		func() *v1.AWSIAMRole { return &v1.AWSIAMRole{} }, func() *v1.AWSIAMRoleList { return &v1.AWSIAMRoleList{} })
}

// Now returns the time by the clock of the API server.
func (c *Cluster) Now() time.Time { return time.Now().Add(time.Duration(c.clock.ahead.Load())) }

// serverClock compares the clock of the API server with the machine's, by the Date of its answers.
type serverClock struct {
	// ahead is by how many nanoseconds it is ahead of the machine's.
	ahead atomic.Int64
}

// dateResolution is the resolution of a Date, and some time for the answer to arrive.
const dateResolution = 2 * time.Second

func (s *serverClock) observe(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		answer, err := next.RoundTrip(request)
		if err != nil {
			return nil, err
		}
		if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
			ahead := time.Until(date)
			if ahead.Abs() < dateResolution {
				ahead = 0
			}
			s.ahead.Store(int64(ahead))
		}
		return answer, nil
	})
}

// roundTripper is a function that is a http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// Kind is a kind of objects of which the plugin reads metadata.
type Kind = schema.GroupVersionResource

// The kinds of objects that the plugin reads.
var (
	Namespaces      = corev1.SchemeGroupVersion.WithResource("namespaces")
	Pods            = corev1.SchemeGroupVersion.WithResource("pods")
	Secrets         = corev1.SchemeGroupVersion.WithResource("secrets")
	ServiceAccounts = corev1.SchemeGroupVersion.WithResource("serviceaccounts")
	AWSIAMRoles     = v1.GroupVersion.WithResource(v1.Resource)
)

// metadataOf returns the metadata of the objects of a kind; of all namespaces if it is "".
func (c *Cluster) metadataOf(kind Kind, namespace string) metadata.ResourceInterface {
	if kind == Namespaces {
		namespace = metav1.NamespaceAll
	}
	return c.Metadata.Resource(kind).Namespace(namespace)
}

// Names returns the sorted names of the objects of a kind in a namespace.
func (c *Cluster) Names(ctx context.Context, kind Kind, namespace string) ([]string, error) {
	found, err := list(ctx, listOf(c.metadataOf(kind, namespace).List), metav1.ListOptions{}, always[*metav1.PartialObjectMetadata])
	names := make([]string, len(found))
	for i, o := range found {
		names[i] = o.Name
	}
	slices.Sort(names)
	return names, err
}

// listOf returns a function that lists objects as one that returns any list.
func listOf[L runtime.Object](list func(context.Context, metav1.ListOptions) (L, error)) pager.ListPageFunc {
	return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return list(ctx, o) }
}

// list returns the objects of a list that keep says to keep, and has reduced. It reads the list
// page by page, so that its memory follows what is kept.
func list[T runtime.Object](ctx context.Context, read pager.ListPageFunc, o metav1.ListOptions, keep func(T) bool) ([]T, error) {
	var kept []T
	err := pager.New(read).EachListItem(ctx, o, func(object runtime.Object) error {
		typed, ok := object.(T)
		if !ok {
			return fmt.Errorf("the API server listed a %T", object)
		}
		if keep(typed) {
			kept = append(kept, typed)
		}
		return nil
	})
	return kept, err
}
