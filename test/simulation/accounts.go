package simulation

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/filteredwatch"
	podrequest "kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
)

// accounts are the ServiceAccounts that exist with annotations of their own.
type accounts struct {
	sim  *simulator
	all  map[key]*accountState
	made int
}

// accountState is one state of a ServiceAccount. It does not change: a change makes another.
type accountState struct {
	uid types.UID
	// reference is the annotated role; empty for none.
	reference string
	// isEKS is true if the annotation is EKS's, and version that of the object.
	isEKS   bool
	version int
}

func newAccounts(sim *simulator) *accounts { return &accounts{sim: sim, all: map[key]*accountState{}} }

// accountSecret returns the name of the Secret of a ServiceAccount.
func accountSecret(serviceAccount string) string {
	return podrequest.ServiceAccountPrefix + serviceAccount
}

// accountOf returns the name of the ServiceAccount whose Secret has a name, and reports whether it
// is such a Secret.
func accountOf(secret key) (key, bool) {
	name, ok := podrequest.ServiceAccountOf(secret.Name)
	return key{Namespace: secret.Namespace, Name: name}, ok
}

// isStranger reports whether a Secret is that of another ServiceAccount than the pod's.
func (p *pod) isStranger(secret key) bool {
	of, ok := accountOf(secret)
	return ok && of.Name != p.serviceAccount
}

// object returns the metadata as the watch delivers them.
func (a *accountState) object(name key) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: name.Namespace, Name: name.Name, UID: a.uid, ResourceVersion: strconv.Itoa(a.version), Annotations: map[string]string{"example.org/team": "a"},
	}}
	switch {
	case a.reference == "":
	case a.isEKS:
		o.Annotations[podrequest.RoleARNAnnotation] = a.reference
	default:
		o.Annotations[podrequest.RoleAnnotation] = a.reference
	}
	return o
}

// put creates a ServiceAccount, or changes its annotation.
func (a *accounts) put(name key, reference string) {
	a.made++
	next := &accountState{uid: types.UID(fmt.Sprintf("account-uid-%d", a.made)), reference: reference, isEKS: strings.HasPrefix(reference, "arn:"), version: a.made}
	if was := a.all[name]; was != nil {
		next.uid = was.uid
	}
	a.sim.trace.add("ServiceAccount %s with uid %s is of %q", name, next.uid, reference)
	a.changed(name, next)
}

// remove deletes a ServiceAccount.
func (a *accounts) remove(name key) {
	if a.all[name] != nil {
		a.sim.trace.add("ServiceAccount %s is deleted", name)
		a.changed(name, nil)
	}
}

// changed stores a ServiceAccount, or deletes it if it is nil, and notifies the watches.
func (a *accounts) changed(name key, now *accountState) {
	if a.all[name] = now; now == nil {
		delete(a.all, name)
	}
	secret := key{Namespace: name.Namespace, Name: accountSecret(name.Name)}
	a.sim.accountChangedAt[secret] = a.sim.now
	for _, inst := range a.sim.instances {
		inst.cache.deliver(watchAccounts, func() { inst.cache.putAccount(name, now) })
	}
	a.sim.scheduleAccountCheck(secret)
}

// roleOfAccount returns the role that a ServiceAccount asks for, and reports whether it can have
// it. The account can be nil.
func (sim *simulator) roleOfAccount(a *accountState) (role.ARN, bool) {
	if a == nil || a.reference == "" {
		return role.ARN{}, false
	}
	arn, err := sim.sts.base.Resolve(a.reference)
	return arn, err == nil && !sim.isOwnRole(arn)
}

// accountChangedSince reports whether the ServiceAccount of a Secret changed since then.
func (sim *simulator) accountChangedSince(secret key, then time.Duration) bool {
	at, ok := sim.accountChangedAt[secret]
	return ok && at >= then
}

// currentUID asks the API server for the UID of a ServiceAccount.
func (inst *instance) currentUID(_ context.Context, account key) (uid types.UID, err error) {
	err = inst.call("list ServiceAccount", account, false, func() error {
		if now := inst.sim.accounts.all[account]; now != nil {
			uid = now.uid
		}
		return nil
	})
	return uid, err
}

// seenAccount is the state of a ServiceAccount in an instance's cache from a time on. The account
// is nil if there was none.
type seenAccount struct {
	at time.Duration
	*accountState
}

// putAccount updates a ServiceAccount in the cache; now is nil if it was deleted.
func (c *cache) putAccount(name key, now *accountState) {
	c.seeAccount(name, now)
	if now == nil {
		c.inst.accounts.Delete(name)
		return
	}
	c.inst.accounts.Put(now.object(name))
}

func (c *cache) replaceAccounts() {
	all := c.inst.sim.accounts.all
	var listed []*metav1.PartialObjectMetadata
	for _, name := range sorted(all) {
		listed = append(listed, all[name].object(name))
	}
	for _, name := range sorted(unionKeys(c.accounts, all)) {
		c.seeAccount(name, all[name])
	}
	filteredwatch.Replace[*metav1.PartialObjectMetadata](c.inst.accounts, "", listed)
}

// seeAccount stores a ServiceAccount, and when it was seen.
func (c *cache) seeAccount(name key, now *accountState) {
	if now == c.accounts[name] {
		return
	}
	if c.accounts[name] = now; now == nil {
		delete(c.accounts, name)
	}
	secret := key{Namespace: name.Namespace, Name: accountSecret(name.Name)}
	c.seenAccounts[secret] = append(c.seenAccounts[secret], seenAccount{c.inst.sim.now, now})
}

// accountsSince returns the states of a Secret's ServiceAccount that the instance has had in its
// cache since then, the first of them at that time.
func (c *cache) accountsSince(secret key, then time.Duration) []seenAccount {
	all := c.seenAccounts[secret]
	for len(all) > 1 && all[1].at <= then {
		all = all[1:]
	}
	if len(all) == 0 || all[0].at > then { // not there before
		all = append([]seenAccount{{}}, all...)
	}
	return all
}

// pickAccount returns the name of a ServiceAccount, which need not exist. It reports whether its
// namespace can be written to.
func (sim *simulator) pickAccount() (key, bool) {
	name := key{Namespace: pick(sim, sim.cfg.namespaces), Name: pick(sim, sim.cfg.serviceAccounts)}
	return name, !sim.api.terminating[name.Namespace]
}

// pickAnnotation returns how a ServiceAccount names a role.
func (sim *simulator) pickAnnotation() string {
	if sim.chance.IntN(20) == 0 {
		return "no role"
	}
	for {
		if reference := sim.pickReference(); reference != "" {
			return reference
		}
	}
}

// annotateAccount creates a ServiceAccount or changes its annotation, mostly with the right to the
// role.
func annotateAccount(sim *simulator) {
	name, ok := sim.pickAccount()
	if !ok {
		return
	}
	reference := sim.pickAnnotation()
	if sim.chance.IntN(4) > 0 {
		sim.rbac.addGrant(name.Namespace, user(name.Namespace, name.Name), reference)
	}
	sim.accounts.put(name, reference)
}

func removeAnnotation(sim *simulator) {
	if name, ok := sim.pickAccount(); ok && sim.accounts.all[name] != nil {
		sim.accounts.put(name, "")
	}
}

// deleteAccount deletes a ServiceAccount. Mostly it is created again soon, with another UID and
// mostly with the same annotation.
func deleteAccount(sim *simulator) {
	name, ok := sim.pickAccount()
	was := sim.accounts.all[name]
	if !ok || was == nil {
		return
	}
	reference, pause := was.reference, time.Duration(sim.chance.Float64()*sim.chance.Float64()*float64(time.Minute))
	if sim.chance.IntN(4) == 0 {
		reference = sim.pickAnnotation()
	}
	again := sim.chance.IntN(4) > 0
	sim.accounts.remove(name)
	if !again {
		return
	}
	sim.after(pause, func() {
		if sim.accounts.all[name] == nil && !sim.api.terminating[name.Namespace] {
			sim.accounts.put(name, reference)
		}
	})
}

// createAccountPod creates a pod that mounts the Secret of its ServiceAccount, or now and then that
// of another.
func createAccountPod(sim *simulator) {
	name, ok := sim.pickAccount()
	if !ok || len(sim.pods.all) >= 60 {
		return
	}
	of := name
	if sim.chance.IntN(5) == 0 {
		of.Name = pick(sim, sim.cfg.serviceAccounts)
	}
	mounts := []string{accountSecret(of.Name)}
	if sim.chance.IntN(5) == 0 {
		mounts = append(mounts, secretPrefix+sim.pickRole())
	}
	if a := sim.accounts.all[name]; a != nil && a.reference != "" && sim.chance.IntN(3) > 0 {
		sim.rbac.addGrant(name.Namespace, user(name.Namespace, name.Name), a.reference)
	}
	sim.pods.create(name.Namespace, name.Name, mounts...)
}

// createInitialAccounts creates ServiceAccounts before the controller starts.
func (sim *simulator) createInitialAccounts() {
	for _, ns := range sim.cfg.namespaces {
		for _, sa := range sim.cfg.serviceAccounts {
			name := key{Namespace: ns, Name: sa}
			switch sim.chance.IntN(3) {
			case 0:
				sim.accounts.put(name, "")
			case 1:
				reference := pick(sim, sim.cfg.roles)
				sim.rbac.addGrant(ns, user(ns, sa), reference)
				sim.accounts.put(name, reference)
			}
		}
	}
}
