// Package usage joins what asks for roles with the Secrets that hold them: one Usage for each
// Secret. It is pure: it does no I/O.
package usage

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/secret"
)

// Snapshot is what there is in some namespaces.
type Snapshot struct {
	// Secrets are those of the controller, and those of other writers that have such a name.
	Secrets []*metav1.PartialObjectMetadata
	// SecretsKnown is false if the user may not list Secrets.
	SecretsKnown bool
	// Pods are those that ask for Secrets, reduced.
	Pods []*corev1.Pod
	// Accounts are the ServiceAccounts that ask for a role, reduced.
	Accounts    []*metav1.PartialObjectMetadata
	AWSIAMRoles []*v1.AWSIAMRole
}

// KeepPod reports whether a pod belongs in a Snapshot, and reduces it.
func KeepPod(pod *corev1.Pod) bool {
	if !request.HasRequests(pod) {
		return false
	}
	request.ReducePod(pod)
	return true
}

// KeepSecret drops from a Secret's metadata what is not used. It keeps every Secret, as an
// AWSIAMRole can ask for any name.
func KeepSecret(s *metav1.PartialObjectMetadata) bool {
	s.ManagedFields = nil
	return true
}

// The kinds of what asks for a Secret.
const (
	KindPod            = "Pod"
	KindAWSIAMRole     = v1.Kind
	KindServiceAccount = "ServiceAccount"
)

// The states of a Usage.
const (
	// Ready: the Secret holds credentials that are not late.
	Ready = "Ready"
	// Late: three quarters of the session are over, and the Secret was not renewed.
	Late = "Late"
	// Expired: the credentials are of no use.
	Expired = "Expired"
	// Waiting: the Secret does not exist.
	Waiting = "Waiting"
	// Invalid: what is asked for can never be served.
	Invalid = "Invalid"
	// NotManaged: a Secret of another writer has the name.
	NotManaged = "NotManaged"
	// Unused: no object asks for the Secret, which is about to be deleted.
	Unused = "Unused"
	// Unknown: the user may not read Secrets.
	Unknown = "Unknown"
)

// Usage is one Secret that is asked for, or that the controller manages.
type Usage struct {
	Namespace string `json:"namespace"`
	Secret    string `json:"secret"`
	// Role is the ARN of the role in the Secret; while there is none, the name or ARN that is asked
	// for.
	Role string `json:"role,omitempty"`
	// Kind is what says which role it is.
	Kind  string `json:"kind"`
	State string `json:"state"`
	// Pods are the pods that ask for the Secret and may, by its name.
	Pods        []string     `json:"pods,omitempty"`
	Created     *metav1.Time `json:"created,omitempty"`
	Issued      *metav1.Time `json:"issued,omitempty"`
	Expires     *metav1.Time `json:"expires,omitempty"`
	AccessKeyID string       `json:"accessKeyID,omitempty"`
	Session     string       `json:"session,omitempty"`
}

// Of returns the usages of a Snapshot, sorted by namespace and Secret.
func Of(s *Snapshot, now time.Time) []*Usage {
	c := collector{now: now, snapshot: s, byName: map[types.NamespacedName]*found{}}
	for _, o := range s.Secrets {
		if secret.IsManaged(o) {
			c.of(o.Namespace, o.Name)
		}
	}
	for _, r := range s.AWSIAMRoles {
		f := c.of(r.Namespace, r.Name)
		f.resource = r
		asked := request.FromAWSIAMRole(r)
		f.asked = &asked
	}
	for _, pod := range s.Pods {
		c.addPod(pod)
	}
	for _, account := range s.Accounts {
		c.addAccount(account)
	}
	for _, o := range s.Secrets {
		if f := c.byName[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}]; f != nil {
			f.existing = o
		}
	}
	return c.usages()
}

// collector collects the usages of a Snapshot.
type collector struct {
	now      time.Time
	snapshot *Snapshot
	byName   map[types.NamespacedName]*found
}

// found is what was found of one Secret.
type found struct {
	name     types.NamespacedName
	existing *metav1.PartialObjectMetadata
	resource *v1.AWSIAMRole
	// asked is the request that says which role it is; nil if only the Secret is there.
	asked *request.Request
	pods  []string
}

func (c *collector) of(namespace, name string) *found {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	f := c.byName[key]
	if f == nil {
		f = &found{name: key}
		c.byName[key] = f
	}
	return f
}

func (c *collector) addPod(pod *corev1.Pod) {
	for _, r := range request.FromPod(pod, "") {
		f := c.of(pod.Namespace, r.Secret)
		if f.asked == nil || f.resource == nil && f.asked.Validate() != nil {
			f.asked = &r
		}
		if r.Validate() == nil {
			f.pods = append(f.pods, pod.Name)
		}
	}
}

// addAccount adds what a ServiceAccount asks for. While no pod mounts its Secret, there is none.
func (c *collector) addAccount(account *metav1.PartialObjectMetadata) {
	r, ok := request.FromServiceAccount(account)
	f := c.byName[types.NamespacedName{Namespace: account.Namespace, Name: r.Secret}]
	if !ok || f == nil || f.resource != nil {
		return
	}
	f.asked = &r
}

func (c *collector) usages() []*Usage {
	all := make([]*Usage, 0, len(c.byName))
	for _, f := range c.byName {
		all = append(all, f.usage(c.snapshot.SecretsKnown, c.now))
	}
	slices.SortFunc(all, func(a, b *Usage) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Secret, b.Secret))
	})
	return all
}

func (f *found) usage(secretsKnown bool, now time.Time) *Usage {
	u := &Usage{Namespace: f.name.Namespace, Secret: f.name.Name, Kind: f.kind(), Pods: slices.Sorted(slices.Values(f.pods))}
	if f.asked != nil {
		u.Role = f.asked.Role
	}
	switch {
	case f.existing != nil && secret.IsManaged(f.existing):
		u.readSecret(f.existing)
	case !secretsKnown && f.resource != nil:
		u.readStatus(f.resource)
	}
	u.State = f.state(u, secretsKnown, now)
	return u
}

func (f *found) kind() string {
	switch {
	case f.resource != nil || f.existing != nil && secret.BelongsToAWSIAMRole(f.existing):
		return KindAWSIAMRole
	case request.IsOfServiceAccount(f.name.Name):
		return KindServiceAccount
	default:
		return KindPod
	}
}

// readSecret reads what the metadata of a Secret of the controller says about its credentials.
func (u *Usage) readSecret(s *metav1.PartialObjectMetadata) {
	u.Created = &s.CreationTimestamp
	u.Role = cmp.Or(s.Annotations[secret.RoleARNAnnotation], u.Role)
	u.AccessKeyID = s.Annotations[secret.AccessKeyIDAnnotation]
	u.Session = s.Annotations[secret.SessionNameAnnotation]
	if issued, expires, ok := Lifetime(s.Annotations); ok {
		u.Issued, u.Expires = &metav1.Time{Time: issued}, &metav1.Time{Time: expires}
	}
}

// readStatus reads what an AWSIAMRole says about its Secret.
func (u *Usage) readStatus(r *v1.AWSIAMRole) {
	u.Role = cmp.Or(r.Status.RoleARN, u.Role)
	u.AccessKeyID, u.Expires = r.Status.AccessKeyID, r.Status.Expiration
}

// Lifetime returns when the credentials in a Secret were issued and expire, to the second that STS
// took to answer, by its annotations. It returns false for the Secrets of older versions, whose
// data alone says it.
func Lifetime(annotations map[string]string) (issued, expires time.Time, ok bool) {
	issued, err := time.Parse(time.RFC3339, annotations[secret.IssuedAtAnnotation])
	if err != nil {
		return time.Time{}, time.Time{}, false
	}
	seconds, err := strconv.Atoi(annotations[secret.SessionDurationAnnotation])
	if err != nil {
		return time.Time{}, time.Time{}, false
	}
	return issued, issued.Add(time.Duration(seconds) * time.Second), true
}
