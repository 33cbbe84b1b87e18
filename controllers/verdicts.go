package controllers

import (
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
)

// verdicts remembers who may have what is in a Secret, as long as the Secret is wanted, so that a pod which comes and goes costs no question.
// An issue asks anew, and so does a change of what was asked about: of roles, bindings and Namespaces. All its times are the machine's: by a clock that is
// corrected, a verdict could be later than a change that came after it, and a right that was withdrawn would hold.
type verdicts struct {
	lock     sync.Mutex
	bySecret map[types.NamespacedName][]judged // of one or few Subjects each
	// changed is when something changed last in a namespace, or under "" in the whole cluster.
	changed map[string]time.Time
	// begun is when the first question was asked: what changed just before it raises no event.
	begun time.Time
	// looks limits how often changes have all Secrets of a namespace, or under "" of the cluster,
	// looked at.
	looks map[string]*rate.Limiter
}

type judged struct {
	policy.Verdict
	subject policy.Subject
	role    role.ARN
	at      time.Time
}

// settling is how long after a change the API server, of which there may be several, might still answer as before. What it says meanwhile
// is asked once more when that is over.
const settling = 10 * time.Second

func newVerdicts() *verdicts {
	return &verdicts{bySecret: map[types.NamespacedName][]judged{}, changed: map[string]time.Time{}, looks: map[string]*rate.Limiter{}}
}

// get returns the verdict about a Subject and a role, if it is known, and asked is when the
// review was asked. It is not known if something changed since.
func (v *verdicts) get(s types.NamespacedName, subject policy.Subject, arn role.ARN, now time.Time) (verdict policy.Verdict, asked time.Time, known bool) {
	v.lock.Lock()
	defer v.lock.Unlock()
	if v.begun.IsZero() {
		v.begun = now
	}
	all := v.bySecret[s]
	i := slices.IndexFunc(all, func(j judged) bool { return j.subject == subject && j.role == arn })
	if i < 0 {
		return policy.Verdict{}, time.Time{}, false
	}
	last, changed := all[i], v.lastChange(s.Namespace)
	holds := !last.at.Before(changed) && (now.Before(changed.Add(settling)) || !last.at.Before(changed.Add(settling)))
	return last.Verdict, last.at, holds
}

// put remembers a verdict. Of one Subject it keeps those about the last two roles: the one that
// is asked for, and the one that the Secret holds.
func (v *verdicts) put(s types.NamespacedName, subject policy.Subject, arn role.ARN, verdict policy.Verdict, now time.Time) {
	v.lock.Lock()
	defer v.lock.Unlock()
	all := slices.DeleteFunc(v.bySecret[s], func(j judged) bool { return j.subject == subject && j.role == arn })
	others := 0
	all = slices.DeleteFunc(all, func(j judged) bool {
		if j.subject == subject {
			others++
		}
		return j.subject == subject && others > 1
	})
	v.bySecret[s] = append(all, judged{verdict, subject, arn, now})
}

// changedSince returns when something changed last in a namespace, or in the whole cluster, that
// a verdict depends on; zero if that was not after a time. Since zero means: since this replica
// watches.
func (v *verdicts) changedSince(namespace string, since time.Time) time.Time {
	v.lock.Lock()
	defer v.lock.Unlock()
	if last := v.lastChange(namespace); last.After(since) {
		return last
	}
	return time.Time{}
}

// retain drops what is known of a Secret but for some subjects: those that ask for it.
func (v *verdicts) retain(s types.NamespacedName, asks func(policy.Subject) bool) {
	v.lock.Lock()
	defer v.lock.Unlock()
	if kept := slices.DeleteFunc(v.bySecret[s], func(j judged) bool { return !asks(j.subject) }); len(kept) > 0 {
		v.bySecret[s] = kept
	} else {
		delete(v.bySecret, s)
	}
}

// look reports whether a change in a namespace, or with "" in the whole cluster, has all its
// Secrets looked at. Of many changes not each does: a Secret that was looked at is looked at
// again when the change before has settled.
func (v *verdicts) look(namespace string, now time.Time) bool {
	v.lock.Lock()
	defer v.lock.Unlock()
	if v.looks[namespace] == nil {
		v.looks[namespace] = rate.NewLimiter(rate.Every(settling), looksBurst)
	}
	return v.looks[namespace].AllowN(now, 1)
}

// looksBurst is how many changes in one namespace are looked at one after the other.
const looksBurst = 3

// forget drops all that is known about a Secret.
func (v *verdicts) forget(s types.NamespacedName) {
	v.lock.Lock()
	defer v.lock.Unlock()
	delete(v.bySecret, s)
}

// change notes that something changed in a namespace, or with "" in the whole cluster.
func (v *verdicts) change(namespace string, now time.Time) {
	v.lock.Lock()
	defer v.lock.Unlock()
	if len(v.changed) >= manyChanges {
		v.tidy(now)
	}
	v.changed[namespace] = now
}

// manyChanges is from how many namespaces on those are forgotten that changed long ago.
const manyChanges = 1000

// tidy forgets changes that have settled, with the verdicts that they make void. The lock is held.
func (v *verdicts) tidy(now time.Time) {
	for namespace, at := range v.changed {
		if now.Before(at.Add(settling + spreadAsks)) { // a look at the last one may still ask why it is refused
			continue
		}
		for secret, all := range v.bySecret {
			if namespace == "" || namespace == secret.Namespace {
				v.bySecret[secret] = slices.DeleteFunc(all, func(j judged) bool { return j.at.Before(at.Add(settling)) })
			}
		}
		delete(v.changed, namespace)
	}
	maps.DeleteFunc(v.looks, func(_ string, l *rate.Limiter) bool { return l.TokensAt(now) >= looksBurst })
}

// settled returns when to ask again because of a change that has just happened, or zero. A
// refusal is also asked about again soon after the beginning. After a change of the whole cluster
// these looks are spread.
func (v *verdicts) settled(s types.NamespacedName, allowed bool, now time.Time) time.Time {
	v.lock.Lock()
	defer v.lock.Unlock()
	last := v.lastChange(s.Namespace)
	if !allowed && v.begun.After(last) {
		last = v.begun
	}
	at := last.Add(settling)
	if !now.Before(at) {
		return time.Time{}
	}
	if last.Equal(v.changed[""]) || last.Equal(v.begun) {
		at = at.Add(time.Duration(share(s.String()) * float64(spreadSettled)))
	}
	return at
}

// spreadSettled is the time over which Secrets are looked at again when a change of the whole
// cluster has settled.
const spreadSettled = 4 * time.Second

// lastChange is the later of the namespace's and the cluster's. The lock is held.
func (v *verdicts) lastChange(namespace string) time.Time {
	if v.changed[""].After(v.changed[namespace]) {
		return v.changed[""]
	}
	return v.changed[namespace]
}
