package cluster

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/access"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/migration"
	"kube-aws-iam-controller/pkg/authorization"
)

// Workloads reads what has pods in a namespace, or in all if it is "", and what gives these roles.
func (c *Cluster) Workloads(ctx context.Context, controller Controller, namespace string) (*migration.Snapshot, error) {
	s := &migration.Snapshot{Settings: c.explanation(ctx, controller, namespace).Settings}
	if err := c.readWorkloads(ctx, namespace, s); err != nil {
		return nil, err
	}
	var err error
	if s.Accounts, err = list(ctx, listOf(c.metadataOf(ServiceAccounts, namespace).List), metav1.ListOptions{}, always[*metav1.PartialObjectMetadata]); err != nil {
		return nil, err
	}
	if s.AWSIAMRoles, err = list(ctx, listOf(c.AWSIAMRoles(namespace).List), metav1.ListOptions{}, always[*v1.AWSIAMRole]); err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	o := metav1.ListOptions{}
	if namespace != "" {
		o.FieldSelector = "metadata.name=" + namespace
	}
	s.Namespaces, err = list(ctx, listOf(c.metadataOf(Namespaces, "").List), o, always[*metav1.PartialObjectMetadata])
	if apierrors.IsForbidden(err) && namespace != "" { // then all its labels are taken to be missing
		return s, nil
	}
	return s, err
}

func (c *Cluster) readWorkloads(ctx context.Context, namespace string, s *migration.Snapshot) error {
	apps, batch := c.Kubernetes.AppsV1(), c.Kubernetes.BatchV1()
	add := func(kind string, o metav1.Object, template corev1.PodTemplateSpec) bool {
		s.Workloads = append(s.Workloads, migration.Workload{Namespace: o.GetNamespace(), Kind: kind, Name: o.GetName(), Template: template})
		return false
	}
	for _, read := range []func() error{
		func() error {
			return each(ctx, listOf(apps.Deployments(namespace).List), func(d *appsv1.Deployment) bool { return add("Deployment", d, d.Spec.Template) })
		},
		func() error {
			return each(ctx, listOf(apps.StatefulSets(namespace).List), func(d *appsv1.StatefulSet) bool { return add("StatefulSet", d, d.Spec.Template) })
		},
		func() error {
			return each(ctx, listOf(apps.DaemonSets(namespace).List), func(d *appsv1.DaemonSet) bool { return add("DaemonSet", d, d.Spec.Template) })
		},
		func() error {
			return each(ctx, listOf(batch.CronJobs(namespace).List), func(d *batchv1.CronJob) bool { return add("CronJob", d, d.Spec.JobTemplate.Spec.Template) })
		},
		func() error {
			return each(ctx, listOf(batch.Jobs(namespace).List), func(d *batchv1.Job) bool {
				return d.Status.CompletionTime == nil && metav1.GetControllerOf(d) == nil && add("Job", d, d.Spec.Template)
			})
		},
		func() error {
			return each(ctx, listOf(c.Kubernetes.CoreV1().Pods(namespace).List), func(p *corev1.Pod) bool {
				return isBare(p) && add("Pod", p, corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels, Annotations: p.Annotations}, Spec: p.Spec})
			})
		},
	} {
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

// each calls a function for each object of a list, page by page, and keeps none of them.
func each[T runtime.Object](ctx context.Context, read pager.ListPageFunc, do func(T) bool) error {
	_, err := list(ctx, read, metav1.ListOptions{}, do)
	return err
}

// isBare reports whether a pod is of none of the other kinds. One that a ReplicaSet of a Deployment
// has made has a label with the hash of its template.
func isBare(p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return true
	}
	switch owner.Kind {
	case "StatefulSet", "DaemonSet", "Job":
		return false
	case "ReplicaSet":
		return p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == ""
	}
	return true
}

// AddRights adds the rights that are missing to uses.
func (c *Cluster) AddRights(ctx context.Context, s *migration.Snapshot, uses []migration.Use) {
	type question struct {
		subject authorization.Subject
		of      string
	}
	known := map[question]access.Right{}
	for i := range uses {
		u := &uses[i]
		if u.Secret == "" || u.Tool == migration.IRSA && s.Settings.WebIdentity {
			continue
		}
		q := question{authorization.Subject{Namespace: u.Namespace, ServiceAccount: u.Account}, u.Role}
		right, ok := known[q]
		if !ok {
			x := &explanation{c, &diagnosis.Snapshot{Namespace: u.Namespace, Installation: diagnosis.Installation{Settings: s.Settings}}}
			var err error
			if s.ByAWSIAMRole(u) {
				right = x.use(ctx, q.subject, u.Secret)
			} else if right, err = x.assume(ctx, q.subject, u.Role); err != nil {
				continue // use.Problems has the same error
			}
			known[q] = right
		}
		if !right.Allowed {
			u.Rights = append(u.Rights, right)
		}
	}
}
