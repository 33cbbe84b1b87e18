package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"kube-aws-iam-controller/pkg/role"
)

// rbac is who may have which role, now and at any time before.
type rbac struct {
	w      *World
	grants map[key]*grant
	// past are the grants that were withdrawn.
	past []*grant
	// versions are those of the bindings.
	versions map[key]int
	made     int
}

// grant lets a subject assume a role, in a namespace or everywhere.
type grant struct {
	binding       key // without a namespace: a ClusterRoleBinding
	subject, name string
	from, until   time.Duration
}

// forever is the end of what lasts.
const forever = time.Duration(1<<63 - 1)

func newRBAC(w *World) *rbac {
	return &rbac{w: w, grants: map[key]*grant{}, versions: map[key]int{}}
}

func user(namespace, serviceAccount string) string {
	return "system:serviceaccount:" + namespace + ":" + serviceAccount
}

func group(namespace string) string { return "system:serviceaccounts:" + namespace }

// give makes a binding.
func (r *rbac) give(namespace, subject, name string) {
	r.made++
	b := key{Namespace: namespace, Name: fmt.Sprintf("binding-%d", r.made)}
	r.w.trace.add("%s may assume %s in %q by %s", subject, name, namespace, b.Name)
	r.grants[b] = &grant{binding: b, subject: subject, name: name, from: r.w.now, until: forever}
	r.touch(b, 1)
}

// take removes a binding.
func (r *rbac) take(b key) {
	g := r.grants[b]
	r.w.trace.add("%s may no longer assume %s in %q by %s", g.subject, g.name, b.Namespace, b.Name)
	g.until = r.w.now
	r.past = append(r.past, g)
	delete(r.grants, b)
	r.touch(b, 0)
}

// touch lets the watches know of a binding's version; 0 if it is gone.
func (r *rbac) touch(b key, version int) {
	r.versions[b] = version
	if version == 0 {
		delete(r.versions, b)
	}
	for _, inst := range r.w.instances {
		inst.cache.deliver(watchPolicies, func() { inst.cache.putPolicy(b, version) })
	}
}

// gives reports whether a grant gives a subject, or everybody in its namespace, a role called by
// one of the names at some moment from one time to another.
func (g *grant) gives(namespace, subject string, names []string, from, to time.Duration) bool {
	if g.binding.Namespace != "" && g.binding.Namespace != namespace || g.from > to || g.until <= from {
		return false
	}
	if g.subject != subject && g.subject != group(namespace) {
		return false
	}
	for _, name := range names {
		if g.name == name || g.name == "*" {
			return true
		}
	}
	return false
}

// allowed reports whether a subject might assume a role at some moment from one time to another.
func (r *rbac) allowed(namespace, subject string, names []string, from, to time.Duration) bool {
	for _, g := range r.grants {
		if g.gives(namespace, subject, names, from, to) {
			return true
		}
	}
	for _, g := range slices.Backward(r.past) { // in the order in which they ended
		if g.until <= from {
			break
		}
		if g.gives(namespace, subject, names, from, to) {
			return true
		}
	}
	return false
}

// names are what a role is called.
func (w *World) names(arn role.ARN) []string { return w.sts.base.Names(arn) }

// apiLag is how long the API server's authorizer may answer as before a change.
const apiLag = 2 * time.Second

// look is what a review said.
type look int

const (
	undecided look = iota
	refused
	allowed
)

// review is the API server's answer to a SubjectAccessReview.
func (inst *instance) review(_ context.Context, spec authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
	w := inst.w
	subject, a := spec.User, spec.ResourceAttributes
	if subject == "" {
		subject = spec.Groups[0]
	}
	what := "review " + subject + " " + a.Name
	if !w.wait(w.faults.apiLatency(what)) {
		return authorizationv1.SubjectAccessReviewStatus{}, context.Canceled
	}
	status, err := w.faults.review(inst, what)
	t := w.current
	if status == nil && err == nil {
		asOf := max(0, w.now-w.between(what, 0, apiLag))
		status = &authorizationv1.SubjectAccessReviewStatus{Allowed: w.rbac.allowed(a.Namespace, subject, []string{a.Name}, asOf, asOf)}
	}
	switch {
	case err != nil:
		t.see(subject, a.Name, undecided)
		w.trace.add("%d %s: %v", inst.number, what, err)
		return authorizationv1.SubjectAccessReviewStatus{}, err
	case status.Allowed:
		t.see(subject, a.Name, allowed)
	case status.EvaluationError != "":
		t.see(subject, a.Name, undecided)
	default:
		t.see(subject, a.Name, refused)
	}
	w.trace.add("%d %s: %t %s", inst.number, what, status.Allowed, status.EvaluationError)
	return *status, nil
}
