package controllers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
)

const stackRole = "arn:aws:iam::123456789012:role/stacks/Stack-OrdersRole-1AB2C3"

// account makes a ServiceAccount with a UID, and annotations as pairs of key and value.
func (l *fakeCluster) account(name, uid string, annotations ...string) {
	meta := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid), Annotations: map[string]string{}}}
	for pair := range slices.Chunk(annotations, 2) {
		meta.Annotations[pair[0]] = pair[len(pair)-1]
	}
	l.accounts.Put(meta)
	if l.accountUIDs == nil {
		l.accountUIDs = map[string]types.UID{}
	}
	l.accountUIDs[name] = meta.UID
}

func TestServiceAccount_PodGetsTheRoleOfItsAccount(t *testing.T) {
	l := newFakeCluster(t)
	l.core.r.settings.Sessions.Tags = []string{"kubernetes-service-account", "kubernetes-namespace"}
	var asked []authorization.Request
	l.may = func(r authorization.Request) bool {
		asked = append(asked, r)
		return true
	}
	l.account("orders", "uid-1", request.RoleARNAnnotation, stackRole, request.DurationAnnotation, "1800")
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	s := l.get("aws-iam.orders")
	if s == nil || string(s.Data[keys.RoleARN]) != stackRole || s.Annotations[secret.ServiceAccountUIDAnnotation] != "uid-1" {
		t.Fatalf("the Secret is %+v", s)
	}
	if len(asked) != 1 || asked[0].Subject != (authorization.Subject{Namespace: "ns", ServiceAccount: "orders"}) || asked[0].Role.String() != stackRole {
		t.Errorf("reviews: %+v", asked)
	}
	session := l.sessions[len(l.sessions)-1]
	if session.Tags["kubernetes-service-account"] != "orders" || session.Duration != 30*time.Minute || session.Name != "c.ns.aws-iam.orders" {
		t.Errorf("the session is %+v", session)
	}
}

func TestServiceAccount_SharedSecretHasNoAccountTag(t *testing.T) {
	l := newFakeCluster(t)
	l.core.r.settings.Sessions.Tags = []string{"kubernetes-service-account", "kubernetes-namespace"}
	l.pod("p", "orders", "aws-iam-x")
	l.reconcile("aws-iam-x")
	if tags := l.sessions[0].Tags; len(tags) != 1 || tags["kubernetes-namespace"] != "ns" {
		t.Errorf("tags %v", tags)
	}
}

func TestServiceAccount_ChangedRoleIsIssuedAtOnce(t *testing.T) {
	l := newFakeCluster(t)
	l.account("orders", "uid-1", request.RoleAnnotation, "before")
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	l.account("orders", "uid-1", request.RoleAnnotation, "after")
	l.reconcile("aws-iam.orders")
	if arn := string(l.get("aws-iam.orders").Data[keys.RoleARN]); !strings.HasSuffix(arn, ":role/after") {
		t.Errorf("the Secret has %s", arn)
	}
	for i := range 20 { // a tenant that changes it all the time
		l.account("orders", "uid-1", request.RoleAnnotation, []string{"before", "after"}[i%2])
		l.reconcile("aws-iam.orders")
	}
	if l.sts > 4 {
		t.Errorf("%d sessions within one moment", l.sts)
	}
}

func TestServiceAccount_WithoutRoleKeepsWhatLives(t *testing.T) {
	for name, remove := range map[string]func(*fakeCluster){
		"the annotation is removed":     func(l *fakeCluster) { l.account("orders", "uid-1") },
		"the ServiceAccount is deleted": func(l *fakeCluster) { l.accounts.Delete(types.NamespacedName{Namespace: "ns", Name: "orders"}) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newFakeCluster(t)
			l.account("orders", "uid-1", request.RoleAnnotation, "app")
			l.pod("p", "orders", "aws-iam.orders")
			l.reconcile("aws-iam.orders")
			remove(l)
			for range 50 {
				l.reconcile("aws-iam.orders")
				l.step(time.Minute)
			}
			if l.get("aws-iam.orders") == nil || l.sts != 1 {
				t.Errorf("deleted, or renewed: %d sessions", l.sts)
			}
			if l.rec.count(v1.ReasonServiceAccountWithoutRole) == 0 {
				t.Errorf("the pod has no event of it: %v", l.rec.events)
			}
			l.step(time.Hour)
			l.reconcile("aws-iam.orders")
			if l.get("aws-iam.orders") != nil {
				t.Error("a pod could start on dead credentials")
			}
		})
	}
}

func TestServiceAccount_OtherUIDGetsASessionOfItsOwn(t *testing.T) {
	l := newFakeCluster(t)
	l.account("orders", "uid-1", request.RoleAnnotation, "app")
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	before := l.get("aws-iam.orders").Annotations[secret.AccessKeyIDAnnotation]
	l.account("orders", "uid-2", request.RoleAnnotation, "app")
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") != nil {
		t.Error("a pod of the new ServiceAccount can start with the session of the old one")
	}
	l.reconcile("aws-iam.orders")
	after := l.get("aws-iam.orders").Annotations
	if after[secret.AccessKeyIDAnnotation] == before || after[secret.ServiceAccountUIDAnnotation] != "uid-2" {
		t.Errorf("%s became %v", before, after)
	}
}

// A watch of ServiceAccounts that is behind takes nothing from the ServiceAccount that exists, nor
// does an API server that does not answer.
func TestServiceAccount_LateWatchDeletesNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*fakeCluster)
	}{
		{"the watch is behind", func(*fakeCluster) {}},
		{"deleted meanwhile", func(l *fakeCluster) { delete(l.accountUIDs, "orders") }},
		{"no answer", func(l *fakeCluster) { l.accountErr = errors.New("away") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newFakeCluster(t)
			l.account("orders", "uid-2", request.RoleAnnotation, "app")
			l.pod("p", "orders", "aws-iam.orders")
			l.reconcile("aws-iam.orders") // by a controller that is up to date
			l.account("orders", "uid-1", request.RoleAnnotation, "app")
			l.accountUIDs["orders"] = "uid-2"
			c.spoil(l)
			name := types.NamespacedName{Namespace: "ns", Name: "aws-iam.orders"}
			if _, err := l.core.Reconcile(t.Context(), reconcile.Request{NamespacedName: name}); err == nil {
				t.Error("it is not tried again")
			}
			if s := l.get("aws-iam.orders"); s == nil || s.Annotations[secret.ServiceAccountUIDAnnotation] != "uid-2" || l.sts != 1 {
				t.Errorf("after %d sessions the Secret is %v", l.sts, s)
			}
		})
	}
}

// A pod of another ServiceAccount gets nothing, and keeps the pods that may have the Secret from
// nothing, whichever of them comes first.
func TestServiceAccount_StrangersNeitherGetNorBlock(t *testing.T) {
	l := newFakeCluster(t)
	l.account("orders", "uid-1", request.RoleAnnotation, "app")
	l.pod("stranger", "other", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") != nil || l.rec.count(v1.ReasonInvalidRole) != 1 {
		t.Fatalf("a Secret for a stranger, or no event: %v", l.rec.events)
	}
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") == nil {
		t.Fatal("a stranger blocks the Secret")
	}
	l.pods.Delete(types.NamespacedName{Namespace: "ns", Name: "p"})
	for range 10 {
		l.reconcile("aws-iam.orders")
		l.step(time.Minute)
	}
	if l.get("aws-iam.orders") != nil {
		t.Error("a stranger keeps the Secret")
	}
	if l.rec.count(v1.ReasonInvalidRole) != 1 {
		t.Error("the stranger gets the event again")
	}
}

// The right of one ServiceAccount ends its renewals, also if others have the role.
func TestServiceAccount_WithdrawnRightEndsItsOwnRenewals(t *testing.T) {
	l := newFakeCluster(t)
	l.account("orders", "uid-1", request.RoleAnnotation, "app")
	l.account("mails", "uid-2", request.RoleAnnotation, "app")
	l.pod("p", "orders", "aws-iam.orders")
	l.pod("q", "mails", "aws-iam.mails")
	l.reconcile("aws-iam.orders")
	l.reconcile("aws-iam.mails")
	l.may = func(r authorization.Request) bool { return r.Subject.ServiceAccount == "mails" }
	l.core.r.reviewer.Changes.Observe("ns", l.clock.Now())
	for range 60 {
		l.reconcile("aws-iam.orders")
		l.reconcile("aws-iam.mails")
		l.step(time.Minute)
	}
	if l.get("aws-iam.orders") != nil || l.get("aws-iam.mails") == nil {
		t.Errorf("orders has %v, mails has %v", l.get("aws-iam.orders") != nil, l.get("aws-iam.mails") != nil)
	}
}

// Neither the controller's own role nor an AWSIAMRole of the name gets in by this way.
func TestServiceAccount_OwnRoleAndAWSIAMRoleOfTheName(t *testing.T) {
	l := newFakeCluster(t)
	l.core.r.aws.IsOwnRole = func(_ context.Context, r role.ARN) (bool, error) { return r.Name() == "controller", nil }
	l.account("orders", "uid-1", request.RoleAnnotation, "controller")
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") != nil || l.sts != 0 {
		t.Fatal("the controller's own role is issued")
	}
	l.account("orders", "uid-1", request.RoleAnnotation, "app")
	l.must(l.store.Create(t.Context(), &v1.AWSIAMRole{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "aws-iam.orders"}, Spec: v1.AWSIAMRoleSpec{RoleReference: "taken"},
	}))
	l.reconcile("aws-iam.orders")
	if s := l.get("aws-iam.orders"); s == nil || !strings.HasSuffix(string(s.Data[keys.RoleARN]), ":role/app") {
		t.Errorf("the Secret is %v", s)
	}
}

// count returns how many events have a reason.
func (r *rec) count(reason string) (n int) {
	for _, e := range r.events {
		if strings.HasPrefix(e, reason+":") {
			n++
		}
	}
	return n
}

// An API server that lags refused the role that the Secret holds for a moment, long ago.
func TestServiceAccount_OldRefusalOfTheHeldRoleConfirmsNothing(t *testing.T) {
	l := newFakeCluster(t)
	l.account("orders", "uid-1", request.RoleAnnotation, "before")
	l.pod("p", "orders", "aws-iam.orders")
	l.reconcile("aws-iam.orders")
	allowed := map[string]bool{}
	l.may = func(r authorization.Request) bool { return allowed[r.Role.Name()] }
	l.step(time.Minute)
	l.account("orders", "uid-1", request.RoleAnnotation, "after") // which it may not have
	l.core.r.reviewer.Changes.Observe("ns", l.clock.Now())
	l.reconcile("aws-iam.orders")
	allowed["before"] = true
	for range 5 {
		l.step(time.Minute)
		l.core.r.reviewer.Changes.Observe("ns", l.clock.Now())
		l.reconcile("aws-iam.orders")
	}
	allowed["before"] = false
	l.step(time.Minute)
	l.core.r.reviewer.Changes.Observe("ns", l.clock.Now())
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") == nil {
		t.Fatal("deleted after its first refusal since the role was allowed")
	}
	l.step(11 * time.Second)
	l.reconcile("aws-iam.orders")
	if l.get("aws-iam.orders") != nil {
		t.Error("not deleted after the refusal was confirmed")
	}
}
