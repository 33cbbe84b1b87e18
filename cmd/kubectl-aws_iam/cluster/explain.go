package cluster

import (
	"cmp"
	"context"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// Controller is where the controller is, and what of its settings the user knows better.
type Controller struct {
	// Namespace is the controller's; it is looked for if it is "".
	Namespace string
	// Base replaces the base role ARN, unless it is zero.
	Base role.Base
}

// explanation collects a Snapshot.
type explanation struct {
	*Cluster
	*diagnosis.Snapshot
}

func (c *Cluster) explanation(ctx context.Context, controller Controller, namespace string) *explanation {
	x := &explanation{c, &diagnosis.Snapshot{Namespace: namespace, Installation: c.Installation(ctx, controller.Namespace, namespace)}}
	if !controller.Base.IsZero() {
		x.Settings.Base = controller.Base
	}
	if x.Settings.Base.IsZero() {
		x.Settings.Base = c.baseOf(ctx, namespace)
	}
	return x
}

// baseOf finds out the base role ARN where no flag says it, from a Secret that is named after its
// role; zero if there is none.
func (c *Cluster) baseOf(ctx context.Context, namespace string) role.Base {
	found, err := c.metadataOf(Secrets, namespace).List(ctx, metav1.ListOptions{LabelSelector: secret.OwnerLabel + "=" + secret.OwnerValue})
	if err != nil {
		return role.Base{}
	}
	for i := range found.Items {
		s := &found.Items[i]
		name, named := strings.CutPrefix(s.Name, request.SecretPrefix)
		arn, under := strings.CutSuffix(s.Annotations[secret.RoleARNAnnotation], "/"+name)
		if base, err := role.ParseBase(arn); named && under && err == nil && secret.IsManaged(s) && !secret.BelongsToAWSIAMRole(s) {
			return base
		}
	}
	return role.Base{}
}

// ExplainPod reads what explains a pod. The error says why the pod cannot be read.
func (c *Cluster) ExplainPod(ctx context.Context, controller Controller, namespace, name string) (*diagnosis.Snapshot, error) {
	pod, err := c.Kubernetes.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	x := c.explanation(ctx, controller, namespace)
	x.Pod = pod
	account := read(c.metadataOf(ServiceAccounts, namespace).Get(ctx, request.ServiceAccountName(pod), metav1.GetOptions{}))
	events := c.events(ctx, pod, "Pod")
	for _, r := range requestsOf(pod, account.Value, x.Settings.MountPath) {
		a := diagnosis.Asked{Request: r, Subject: authorization.Subject{Namespace: namespace, ServiceAccount: request.ServiceAccountName(pod)}, Events: events}
		decider := r
		if a.Owner = x.ownerOf(ctx, r.Secret); a.Owner != nil {
			decider = request.FromAWSIAMRole(a.Owner)
		}
		if r.ServiceAccount() != "" {
			a.Account = account
			if asked, ok := accountRequest(account.Value); ok {
				decider = asked
				a.Request.Role, a.RoleErr = asked.Role, asked.Validate()
			}
		}
		a.Warnings = r.WarningsFor(decider, x.Settings.MountPath)
		x.add(ctx, a)
	}
	if len(x.Asked) == 0 {
		ns := read(c.metadataOf(Namespaces, "").Get(ctx, namespace, metav1.GetOptions{}))
		if x.Labels.Err = ns.Err; ns.Value != nil {
			x.Labels.Value = ns.Value.Labels
		}
	}
	if pod.Spec.NodeName != "" {
		x.Node = read(c.Kubernetes.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, pod.Spec.NodeName, metav1.GetOptions{}))
	}
	return x.Snapshot, nil
}

// requestsOf returns what a pod asks for that has not ended, with the Warnings that a running pod
// has, too.
func requestsOf(pod *corev1.Pod, account *metav1.PartialObjectMetadata, mountPath string) []request.Request {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	starting := pod.DeepCopy()
	starting.Status.Phase = corev1.PodPending
	if account != nil && account.Labels[request.RoleAnnotatedLabel] == "true" {
		request.MarkInjected(starting)
	}
	return request.FromPod(starting, mountPath)
}

// accountRequest returns what a ServiceAccount asks for, if it is known and asks for anything.
func accountRequest(account *metav1.PartialObjectMetadata) (r request.Request, ok bool) {
	if account == nil {
		return request.Request{}, false
	}
	return request.FromServiceAccount(account)
}

// ExplainServiceAccount reads what explains a ServiceAccount. The error says why it cannot be read.
func (c *Cluster) ExplainServiceAccount(ctx context.Context, controller Controller, namespace, name string) (*diagnosis.Snapshot, error) {
	account, err := c.metadataOf(ServiceAccounts, namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	x := c.explanation(ctx, controller, namespace)
	x.Account = account
	if r, ok := request.FromServiceAccount(account); ok {
		a := diagnosis.Asked{Request: r, Subject: authorization.Subject{Namespace: namespace, ServiceAccount: name}}
		var s usage.Snapshot
		a.Pods.Err = c.readPods(ctx, namespace, &s)
		for _, u := range usage.Of(&s, time.Time{}) {
			if u.Secret == r.Secret {
				a.Pods.Value = u.Pods
			}
		}
		if len(a.Pods.Value) > 0 {
			if pod, err := c.metadataOf(Pods, namespace).Get(ctx, a.Pods.Value[0], metav1.GetOptions{}); err == nil {
				a.Events = c.events(ctx, pod, "Pod")
			}
		}
		x.add(ctx, a)
	}
	return x.Snapshot, nil
}

// ExplainAWSIAMRole reads what explains an AWSIAMRole. The error says why it cannot be read.
func (c *Cluster) ExplainAWSIAMRole(ctx context.Context, controller Controller, namespace, name string) (*diagnosis.Snapshot, error) {
	r, err := c.AWSIAMRoles(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	x := c.explanation(ctx, controller, namespace)
	x.AWSIAMRole = r
	x.add(ctx, diagnosis.Asked{
		Request: request.FromAWSIAMRole(r), Owner: r, Subject: authorization.Subject{Namespace: namespace}, Events: c.events(ctx, r, v1.Kind),
	})
	return x.Snapshot, nil
}

// ownerOf returns the AWSIAMRole of a name, or nil.
func (x *explanation) ownerOf(ctx context.Context, name string) *v1.AWSIAMRole {
	r, err := x.AWSIAMRoles(x.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return r
}

// add adds what is asked for, with the role, the right to it and the Secret.
func (x *explanation) add(ctx context.Context, a diagnosis.Asked) {
	if a.RoleErr == nil && a.Request.Role != "" && a.Validate() == nil {
		base := x.Settings.Base
		if base.IsZero() && !strings.HasPrefix(a.Request.Role, "arn:") {
			base = anyBase
		}
		arn, err := base.Resolve(a.Request.Role)
		if a.RoleErr = err; err == nil {
			a.Decision = read(x.authorizer()(ctx, authorization.Request{Subject: a.Subject, Role: arn, Base: base}))
		}
		if base != anyBase {
			a.Role = arn
		}
	}
	a.Secret = read(x.metadataOf(Secrets, x.Namespace).Get(ctx, a.Request.Secret, metav1.GetOptions{}))
	x.Asked = append(x.Asked, a)
}

// anyBase stands for a base role ARN that is not known: the right to a role by its name is the same
// under all of them.
var anyBase, _ = role.ParseBase("arn:aws:iam::000000000000:role/")

// authorizer returns what the controller asks, with the rights of the plugin's user.
func (x *explanation) authorizer() authorization.Authorizer {
	annotations := func(ctx context.Context, namespace string) (map[string]string, error) {
		ns, err := x.metadataOf(Namespaces, "").Get(ctx, namespace, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return ns.Annotations, nil
	}
	return authorization.New(x.Settings.Modes, localReviews{x.Kubernetes.AuthorizationV1().LocalSubjectAccessReviews(x.Namespace)}, annotations)
}

var _ authorizationclient.SubjectAccessReviewInterface = localReviews{}

// localReviews asks with LocalSubjectAccessReviews, for which the right to one namespace is enough,
// such as that of the ClusterRole admin.
type localReviews struct {
	authorizationclient.LocalSubjectAccessReviewInterface
}

// Create implements SubjectAccessReviewInterface.
func (l localReviews) Create(ctx context.Context, review *authorizationv1.SubjectAccessReview, o metav1.CreateOptions) (*authorizationv1.SubjectAccessReview, error) {
	answer, err := l.LocalSubjectAccessReviewInterface.Create(ctx, &authorizationv1.LocalSubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{Namespace: review.Spec.ResourceAttributes.Namespace}, Spec: review.Spec,
	}, o)
	if err != nil {
		return nil, err
	}
	return &authorizationv1.SubjectAccessReview{Spec: answer.Spec, Status: answer.Status}, nil
}

// events returns the controller's events about an object.
func (c *Cluster) events(ctx context.Context, o metav1.Object, kind string) diagnosis.Read[[]diagnosis.Event] {
	selector := fields.Set{"involvedObject.kind": kind, "involvedObject.name": o.GetName(), "involvedObject.uid": string(o.GetUID())}.AsSelector()
	found, err := list(ctx, listOf(c.Kubernetes.CoreV1().Events(o.GetNamespace()).List), metav1.ListOptions{FieldSelector: selector.String()},
		func(e *corev1.Event) bool { return cmp.Or(e.ReportingController, e.Source.Component) == settings.Name })
	events := make([]diagnosis.Event, len(found))
	for i, e := range found {
		events[i] = diagnosis.Event{Warning: e.Type == corev1.EventTypeWarning, Reason: e.Reason, Note: e.Message, Action: e.Action, At: lastSeen(e)}
		if e.Related != nil {
			events[i].Secret = e.Related.Name
		}
	}
	return read(events, err)
}

// lastSeen returns when an event happened last.
func lastSeen(e *corev1.Event) time.Time {
	at := e.EventTime.Time
	for _, later := range []time.Time{e.LastTimestamp.Time, e.FirstTimestamp.Time} {
		if later.After(at) {
			at = later
		}
	}
	if e.Series != nil && e.Series.LastObservedTime.After(at) {
		at = e.Series.LastObservedTime.Time
	}
	return at
}
