// Package migration finds out by which tool workloads have their AWS roles today, and what they
// need to have them by this controller, as docs/migration.md describes. It is pure: it does no I/O.
package migration

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/access"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/request"
)

// Tool is what gives a workload its role.
type Tool string

// The tools from which workloads can migrate.
const (
	Kube2iam Tool = "kube2iam"
	Kiam     Tool = "kiam"
	IRSA     Tool = "irsa"
	Upstream Tool = "upstream"
)

// Tools are all tools.
var Tools = []string{string(Kube2iam), string(Kiam), string(IRSA), string(Upstream)}

// Annotations of other tools.
const (
	permitted      = authorization.PermittedAnnotation
	skipContainers = "eks.amazonaws.com/skip-containers"
)

// notHonored are annotations of pods that have no effect here. See docs/migration.md, "External ID
// and session name".
var notHonored = []string{"iam.amazonaws.com/external-id", "iam.amazonaws.com/session-name"}

// Workload is an object that has pods.
type Workload struct {
	Namespace, Kind, Name string
	Template              corev1.PodTemplateSpec
}

// Snapshot is all that workloads depend on.
type Snapshot struct {
	Workloads              []Workload
	Accounts               []*metav1.PartialObjectMetadata
	Namespaces             []*metav1.PartialObjectMetadata
	AWSIAMRoles            []*v1.AWSIAMRole
	Settings               settings.Settings
	accounts, byNamespaces map[string]*metav1.PartialObjectMetadata
}

// Use is one role of a workload.
type Use struct {
	Workload
	Tool Tool
	// Role is the role as the workload, its ServiceAccount or its AWSIAMRole has it, and Secret the
	// name of the Secret that its pods mount here.
	Role, Secret string
	// Account is the ServiceAccount of the pods; "" for an AWSIAMRole.
	Account string
	// LabelNamespace and LabelAccount report whether the Namespace and the ServiceAccount need a
	// label to have pods injected.
	LabelNamespace, LabelAccount bool
	// Rights are those that are missing.
	Rights []access.Right
	// Problems are what the user has to change, or to know.
	Problems []string
}

// Of returns the roles of workloads that have them by a tool, or by any if it is "".
func Of(s *Snapshot, tool Tool) []Use {
	s.index()
	var uses []Use
	for i := range s.Workloads {
		w := &s.Workloads[i]
		uses = append(uses, s.injected(w)...)
		uses = append(uses, s.mounted(w)...)
	}
	for _, r := range s.AWSIAMRoles {
		w := Workload{Namespace: r.Namespace, Kind: v1.Kind, Name: r.Name}
		uses = append(uses, s.use(&w, Upstream, r.Spec.RoleReference, r.Name, ""))
	}
	uses = slices.DeleteFunc(uses, func(u Use) bool { return tool != "" && u.Tool != tool })
	slices.SortStableFunc(uses, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Secret, b.Secret))
	})
	return uses
}

func (s *Snapshot) index() {
	s.accounts, s.byNamespaces = map[string]*metav1.PartialObjectMetadata{}, map[string]*metav1.PartialObjectMetadata{}
	for _, a := range s.Accounts {
		s.accounts[a.Namespace+"/"+a.Name] = a
	}
	for _, n := range s.Namespaces {
		s.byNamespaces[n.Name] = n
	}
}

// annotation returns an annotation or label of an object that can be nil.
func annotation(o *metav1.PartialObjectMetadata, name string) string {
	if o == nil {
		return ""
	}
	return cmp.Or(o.Annotations[name], o.Labels[name])
}

// use returns the Use of a role, with what is wrong with that.
func (s *Snapshot) use(w *Workload, tool Tool, reference, secret, account string) Use {
	u := Use{Workload: *w, Tool: tool, Role: reference, Secret: secret, Account: account}
	base := s.Settings.Base
	if _, err := base.Resolve(reference); err != nil && !base.IsZero() {
		u.Problems = append(u.Problems, err.Error())
	}
	return u
}

// injected returns the role that annotations give to the pods of a workload. The pod's own decides.
func (s *Snapshot) injected(w *Workload) []Use {
	name := request.ServiceAccountName(pod(w))
	ns, account := s.byNamespaces[w.Namespace], s.accounts[w.Namespace+"/"+name]
	var u Use
	if reference := w.Template.Annotations[request.RoleAnnotation]; reference != "" {
		u = s.byProxy(w, ns, reference, name)
	} else if arn := annotation(account, request.RoleARNAnnotation); arn != "" {
		u = s.byWebhook(w, account, arn)
	} else {
		return nil
	}
	u.LabelNamespace = annotation(ns, request.InjectLabel) != "true"
	return []Use{u}
}

// byProxy returns the role of a pod's annotation, as kube2iam and kiam read it.
func (s *Snapshot) byProxy(w *Workload, ns *metav1.PartialObjectMetadata, reference, account string) Use {
	tool := Kube2iam
	if annotation(ns, permitted) != "" {
		tool = Kiam
	}
	secret, err := request.SecretFor(reference)
	u := s.use(w, tool, reference, secret, account)
	if err != nil {
		u.Problems = []string{"the pod will be rejected: " + err.Error()}
	}
	for _, a := range notHonored {
		if w.Template.Annotations[a] != "" {
			u.Problems = append(u.Problems, "the annotation "+a+" is not honored")
		}
	}
	return u
}

// byWebhook returns the role of a ServiceAccount's annotation, as the webhook of IRSA reads it.
func (s *Snapshot) byWebhook(w *Workload, account *metav1.PartialObjectMetadata, arn string) Use {
	u := s.use(w, IRSA, arn, request.ServiceAccountPrefix+account.Name, account.Name)
	u.LabelAccount = annotation(account, request.RoleAnnotatedLabel) != "true"
	if skip := w.Template.Annotations[skipContainers]; skip != "" {
		u.Problems = append(u.Problems, fmt.Sprintf("%s=%s is not read: write iam.amazonaws.com/skip-containers beside it", skipContainers, skip))
	}
	return u
}

// mounted returns the roles whose Secrets the pods of a workload mount by themselves.
func (s *Snapshot) mounted(w *Workload) (uses []Use) {
	for _, r := range request.FromPod(pod(w), s.Settings.MountPath) {
		if r.Role == "" || r.ServiceAccount() != "" {
			continue
		}
		u := s.use(w, Upstream, r.Role, r.Secret, request.ServiceAccountName(pod(w)))
		for _, warning := range r.WarningsFor(r, s.Settings.MountPath) {
			u.Problems = append(u.Problems, warning.Reason+": "+warning.Note)
		}
		uses = append(uses, u)
	}
	return uses
}

// pod returns a pod of a workload, before it starts.
func pod(w *Workload) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name, Labels: w.Template.Labels, Annotations: w.Template.Annotations}, Spec: w.Template.Spec}
}

// ByAWSIAMRole reports whether a pod mounts the Secret of an AWSIAMRole of its name.
func (s *Snapshot) ByAWSIAMRole(u *Use) bool {
	return u.Account != "" && slices.ContainsFunc(s.AWSIAMRoles, func(r *v1.AWSIAMRole) bool { return r.Namespace == u.Namespace && r.Name == u.Secret })
}

// NeedsTrust reports whether the role's trust policy must name the controller. With upstream it
// does already, and with web identity it stays as it is.
func (u *Use) NeedsTrust(s *settings.Settings) bool {
	return u.Tool != Upstream && (u.Tool != IRSA || !s.WebIdentity)
}
