package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"kube-aws-iam-controller/pkg/role"
)

// rbac has the grants of roles to subjects, including past ones.
type rbac struct {
	sim    *simulator
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

func newRBAC(sim *simulator) *rbac {
	return &rbac{sim: sim, grants: map[key]*grant{}, versions: map[key]int{}}
}

func user(namespace, serviceAccount string) string {
	return "system:serviceaccount:" + namespace + ":" + serviceAccount
}

func group(namespace string) string { return "system:serviceaccounts:" + namespace }

// addGrant creates a binding.
func (r *rbac) addGrant(namespace, subject, name string) {
	r.made++
	b := key{Namespace: namespace, Name: fmt.Sprintf("binding-%d", r.made)}
	r.sim.trace.add("%s may assume %s in %q by %s", subject, name, namespace, b.Name)
	r.grants[b] = &grant{binding: b, subject: subject, name: name, from: r.sim.now, until: forever}
	r.notifyPolicy(b, 1)
}

// removeGrant removes a binding.
func (r *rbac) removeGrant(b key) {
	g := r.grants[b]
	r.sim.trace.add("%s may no longer assume %s in %q by %s", g.subject, g.name, b.Namespace, b.Name)
	g.until = r.sim.now
	r.past = append(r.past, g)
	delete(r.grants, b)
	r.notifyPolicy(b, 0)
}

// notifyPolicy sends a binding's version to the watches, or 0 if it was deleted.
func (r *rbac) notifyPolicy(b key, version int) {
	r.versions[b] = version
	if version == 0 {
		delete(r.versions, b)
	}
	for _, inst := range r.sim.instances {
		inst.cache.deliver(watchPolicies, func() { inst.cache.putPolicy(b, version) })
	}
}

// allows reports whether a grant allows a subject, or its group, a role by one of the names at any
// time between two times.
func (g *grant) allows(namespace, subject string, names []string, from, to time.Duration) bool {
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

// allowed reports whether a subject was allowed a role at any time between two times.
func (r *rbac) allowed(namespace, subject string, names []string, from, to time.Duration) bool {
	for _, g := range r.grants {
		if g.allows(namespace, subject, names, from, to) {
			return true
		}
	}
	for _, g := range slices.Backward(r.past) { // in the order in which they ended
		if g.until <= from {
			break
		}
		if g.allows(namespace, subject, names, from, to) {
			return true
		}
	}
	return false
}

// names returns the names by which a role can be granted.
func (sim *simulator) names(arn role.ARN) []string { return sim.sts.base.Names(arn) }

// authorizerLag is how long the API server's authorizer can decide by the state before a change.
const authorizerLag = 2 * time.Second

// reviewResult is the result of a review.
type reviewResult int

const (
	undecided reviewResult = iota
	denied
	allowed
)

// review returns the API server's answer to a SubjectAccessReview.
func (inst *instance) review(_ context.Context, spec authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
	sim := inst.sim
	subject, a := spec.User, spec.ResourceAttributes
	if subject == "" {
		subject = spec.Groups[0]
	}
	what := "review " + subject + " " + a.Name
	if !sim.wait(sim.faults.apiLatency(what)) {
		return authorizationv1.SubjectAccessReviewStatus{}, context.Canceled
	}
	status, err := sim.faults.review(inst, what)
	t := sim.current
	if status == nil && err == nil {
		asOf := max(0, sim.now-sim.between(what, 0, authorizerLag))
		status = &authorizationv1.SubjectAccessReviewStatus{Allowed: sim.rbac.allowed(a.Namespace, subject, []string{a.Name}, asOf, asOf)}
	}
	switch {
	case err != nil:
		t.recordReview(subject, a.Name, undecided)
		sim.trace.add("%d %s: %v", inst.number, what, err)
		return authorizationv1.SubjectAccessReviewStatus{}, err
	case status.Allowed:
		t.recordReview(subject, a.Name, allowed)
	case status.EvaluationError != "":
		t.recordReview(subject, a.Name, undecided)
	default:
		t.recordReview(subject, a.Name, denied)
	}
	sim.trace.add("%d %s: %t %s", inst.number, what, status.Allowed, status.EvaluationError)
	return *status, nil
}
