package controllers_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/secret"
)

// awsIAMRole creates an AWSIAMRole.
func (w *world) awsIAMRole(name, reference string, change ...func(*v1.AWSIAMRole)) *v1.AWSIAMRole {
	w.t.Helper()
	r := &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: v1.AWSIAMRoleSpec{RoleReference: reference}}
	for _, f := range change {
		f(r)
	}
	w.must(w.Create(w.t.Context(), r))
	return r
}

// status is the status of an AWSIAMRole as it is now.
func (w *world) status(name string) v1.AWSIAMRoleStatus {
	w.t.Helper()
	var r v1.AWSIAMRole
	w.must(w.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &r))
	return r.Status
}

// condition waits until a condition of an AWSIAMRole has a status and a reason, and its message contains each of the texts.
func (w *world) condition(name, kind string, status metav1.ConditionStatus, reason string, texts ...string) {
	w.t.Helper()
	var last *metav1.Condition
	w.eventually(fmt.Sprintf("condition %s of %s: %s, %s", kind, name, status, reason), func() bool {
		last = meta.FindStatusCondition(w.status(name).Conditions, kind)
		return last != nil && last.Status == status && last.Reason == reason && containsAll(last.Message, texts)
	})
}

func TestAnAWSIAMRoleGetsASecret(t *testing.T) {
	w := newWorld(t)
	w.start()
	r := w.awsIAMRole("app", "Team_Orders+x", func(r *v1.AWSIAMRole) {
		r.Labels = map[string]string{"team": "a", "heritage": "mine", "type": "mine"}
		r.Spec.RoleSessionDuration = 1800
	})
	s := w.wait("app")
	if s.Labels["team"] != "a" || s.Labels["heritage"] != secret.OwnerValue || s.Labels["type"] != "awsiamrole" {
		t.Errorf("labels %v", s.Labels)
	}
	if len(s.OwnerReferences) != 1 || s.OwnerReferences[0].UID != r.UID || s.OwnerReferences[0].Kind != "AWSIAMRole" || s.OwnerReferences[0].APIVersion != "zalando.org/v1" {
		t.Errorf("owners %v", s.OwnerReferences)
	}
	if call := w.sts.Calls()[len(w.sts.Calls())-1]; call.Duration != 30*time.Minute || call.RoleARN != "arn:aws:iam::"+account+":role/Team_Orders+x" {
		t.Errorf("asked for %s for %s", call.RoleARN, call.Duration)
	}
	w.condition("app", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
	w.condition("app", v1.ConditionAuthorized, metav1.ConditionTrue, v1.ReasonAllowed)
	w.condition("app", v1.ConditionFullSessionDuration, metav1.ConditionTrue, v1.ReasonAsRequested)
	held, _ := secret.Read(s)
	if st := w.status("app"); *st.ObservedGeneration != r.Generation || st.RoleARN != string(s.Data["role-arn"]) || !st.Expiration.Time.Equal(held.Expires) || st.AccessKeyID != held.AccessKeyID {
		t.Errorf("status %+v", st)
	}
	w.event("Normal CreateCredentials app:", "Team_Orders+x")
}

func TestRolesOfOtherAccountsPartitionsAndPaths(t *testing.T) {
	w := newWorld(t)
	w.start()
	for name, reference := range map[string]string{
		"path": "team/orders", "other-account": "arn:aws:iam::210987654321:role/a/b/Orders", "china": "arn:aws-cn:iam::123456789012:role/orders", "gov": "arn:aws-us-gov:iam::123456789012:role/orders",
	} {
		w.awsIAMRole(name, reference)
		s := w.wait(name)
		want := reference
		if name == "path" {
			want = "arn:aws:iam::" + account + ":role/team/orders"
		}
		if got := string(s.Data["role-arn"]); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestAChangedAWSIAMRoleIsServedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *controllers.Options) { o.RefreshLimit = 30 * time.Minute })
	r := w.awsIAMRole("app", "orders", func(r *v1.AWSIAMRole) { r.Labels = map[string]string{"team": "a", "old": "x"} })
	s := w.wait("app")
	for _, change := range []struct {
		what  string
		apply func()
		holds func(*corev1.Secret) bool
	}{
		{"another role", func() { r.Spec.RoleReference = "reports" }, func(s *corev1.Secret) bool {
			return string(s.Data["role-arn"]) == "arn:aws:iam::"+account+":role/reports"
		}},
		{"another duration", func() { r.Spec.RoleSessionDuration = 900 }, func(s *corev1.Secret) bool { return s.Annotations[secret.SessionDurationAnnotation] == "900" }},
		{"another label", func() { r.Labels = map[string]string{"team": "b"} }, func(s *corev1.Secret) bool { return s.Labels["team"] == "b" && s.Labels["old"] == "" }},
	} {
		before := r.DeepCopy()
		change.apply()
		w.must(w.Patch(t.Context(), r, client.MergeFrom(before))) // the controller may write the status at just this moment
		next := s
		w.eventually(change.what, func() bool { next = w.secret("app"); return w.isGood(next) && change.holds(next) })
		if next.UID != s.UID {
			t.Errorf("%s: %v %v", change.what, next.Labels, next.Annotations)
		}
		s = next
		w.eventually("status of "+change.what, func() bool {
			st := w.status("app")
			return *st.ObservedGeneration == r.Generation && st.AccessKeyID == accessKey(s)
		})
	}
	w.event("Normal UpdateCredentials app:")
}

func TestADeletedAWSIAMRoleTakesItsSecretAlong(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *controllers.Options) { o.UnusedGracePeriod = time.Hour })
	r := w.awsIAMRole("app", "orders")
	w.wait("app")
	w.must(w.Delete(t.Context(), r))
	w.waitGone("app")
}

// An AWSIAMRole and a pod want one Secret: the AWSIAMRole decides. When it goes, the pod has its own way.
func TestAnAWSIAMRoleGoesBeforePods(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	r := w.awsIAMRole("aws-iam-orders", "Another-Role")
	w.eventually("the AWSIAMRole's role", func() bool {
		return w.good("aws-iam-orders") && string(w.secret("aws-iam-orders").Data["role-arn"]) == "arn:aws:iam::"+account+":role/Another-Role"
	})
	w.must(w.Delete(t.Context(), r))
	w.eventually("the pod's role", func() bool {
		s := w.secret("aws-iam-orders")
		return w.good("aws-iam-orders") && string(s.Data["role-arn"]) == "arn:aws:iam::"+account+":role/orders" && s.Labels["type"] == "" && len(s.OwnerReferences) == 0
	})
}

func TestAnAWSIAMRoleThatCannotBeHad(t *testing.T) {
	w := newWorld(t)
	w.sts.SetSessionLifetime(8 * time.Second)
	w.start()
	w.awsIAMRole("app", "orders")
	s := w.wait("app")
	w.condition("app", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)

	arn := "arn:aws:iam::" + account + ":role/orders"
	w.sts.Deny(arn)
	w.condition("app", v1.ConditionReady, metav1.ConditionTrue, controllers.ReasonGetCredentialsFailed, arn, "trust policy")
	if now := w.secret("app"); now == nil || now.UID != s.UID {
		t.Error("the old credentials are gone before they expired")
	}
	w.waitGone("app")
	w.condition("app", v1.ConditionReady, metav1.ConditionFalse, controllers.ReasonGetCredentialsFailed)
	if st := w.status("app"); st.AccessKeyID != "" || st.Expiration != nil {
		t.Errorf("status of nothing: %+v", st)
	}
	w.event("Warning GetCredentialsFailed app:", arn)
	w.sts.Allow(arn)
	w.wait("app")
	w.condition("app", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
}

// A role that could not be had says nothing about the one that is asked for next.
func TestACorrectedAWSIAMRoleIsServedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.sts.Deny("arn:aws:iam::" + account + ":role/wrong")
	w.start()
	r := w.awsIAMRole("app", "wrong")
	w.eventually("a wait of some seconds", func() bool { return w.assumed("AccessDenied") >= 3 })
	w.must(w.Get(t.Context(), client.ObjectKeyFromObject(r), r))
	r.Spec.RoleReference = "right"
	w.must(w.Update(t.Context(), r))
	w.wait("app")
	if n := w.assumed("AccessDenied"); n > 3 {
		t.Errorf("it was not served before the time of the next attempt: %d failed", n)
	}
}

func TestChainingCutsTheSessionOfAnAWSIAMRole(t *testing.T) {
	w := newWorld(t)
	w.beARole()
	w.start()
	w.awsIAMRole("app", "orders", func(r *v1.AWSIAMRole) { r.Spec.RoleSessionDuration = 43200 })
	w.wait("app")
	w.condition("app", v1.ConditionFullSessionDuration, metav1.ConditionFalse, v1.ReasonRoleChaining, "12h0m0s", "1h0m0s")
}

func TestAnAWSIAMRoleAndASecretOfSomebodyElse(t *testing.T) {
	w := newWorld(t)
	yes := true
	claimed := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.namespace, Name: "claimed", Labels: map[string]string{secret.OwnerLabel: secret.OwnerValue},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "example.org/v1", Kind: "ExternalSecret", Name: "x", UID: "1", Controller: &yes}},
	}}
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "foreign"}}
	w.must(w.Create(t.Context(), claimed))
	w.must(w.Create(t.Context(), foreign))
	w.start()
	for _, s := range []*corev1.Secret{claimed, foreign} {
		w.awsIAMRole(s.Name, "orders")
		w.condition(s.Name, v1.ConditionReady, metav1.ConditionFalse, controllers.ReasonSecretNotManaged, s.Name)
		w.event("Warning SecretNotManaged " + s.Name + ":")
		if now := w.secret(s.Name); now.ResourceVersion != s.ResourceVersion {
			t.Errorf("%s was touched", s.Name)
		}
	}
}

// A Secret has the labels and the owner of the one AWSIAMRole of its name, whatever others claim.
func TestTwoAWSIAMRolesCannotFightOverASecret(t *testing.T) {
	w := newWorld(t)
	w.start()
	ofTeam := func(team string) func(*v1.AWSIAMRole) {
		return func(r *v1.AWSIAMRole) { r.Labels = map[string]string{"team": team} }
	}
	a, b := w.awsIAMRole("a", "orders", ofTeam("a")), w.awsIAMRole("b", "orders", ofTeam("b"))
	s := w.wait("a")
	w.wait("b")
	s.OwnerReferences[0].Name, s.OwnerReferences[0].UID = b.Name, b.UID
	s.Labels["team"] = "b"
	w.must(w.Update(t.Context(), s))
	w.eventually("its own owner and labels again", func() bool {
		now := w.secret("a")
		return w.isGood(now) && len(now.OwnerReferences) == 1 && now.OwnerReferences[0].UID == a.UID && now.Labels["team"] == "a" && accessKey(now) == accessKey(s)
	})
	w.must(w.Delete(t.Context(), b))
	w.waitGone("b")
	if !w.good("a") {
		t.Error("the Secret of one went with the other")
	}
}

func TestAnAWSIAMRoleWithoutARole(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.awsIAMRole("app", "")
	w.condition("app", v1.ConditionReady, metav1.ConditionFalse, controllers.ReasonInvalidRole, "spec.roleReference")
	w.condition("app", v1.ConditionAuthorized, metav1.ConditionUnknown, v1.ReasonNotAsked)
}

// What can never work is refused by the API server; what upstream's CRD takes, and can work, is taken.
func TestValidation(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		reference string
		seconds   int64
		refused   string
	}{
		"name": {"orders", 0, ""}, "upper": {"Orders_1+=,.@-x", 900, ""}, "path": {"a/b/orders", 43200, ""}, "arn": {"arn:aws-iso-b:iam::123456789012:role/a/orders", 0, ""},
		"space": {"my role", 0, "no spaces"}, "newline": {"role\n", 0, "no spaces"}, "bucket": {"arn:aws:s3:::bucket", 0, "must be that of an IAM role"},
		"user": {"arn:aws:iam::123456789012:user/x", 0, "must be that of an IAM role"}, "no-name": {"team/", 0, "1 to 64"},
		"long":  {"a123456789012345678901234567890123456789012345678901234567890123456789", 0, "1 to 64"},
		"short": {"orders", 899, "900"}, "too-long": {"orders", 43201, "43200"},
	} {
		err := w.Create(t.Context(), &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: v1.AWSIAMRoleSpec{RoleReference: test.reference, RoleSessionDuration: test.seconds}})
		switch {
		case test.refused == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.refused != "" && (err == nil || !containsAll(err.Error(), []string{test.refused})):
			t.Errorf("%s: not refused with %q: %v", name, test.refused, err)
		}
	}
}

// Manifests of zalando-incubator/kube-aws-iam-controller apply as they are, with fields that this controller has no use for, and under the strict
// validation that kubectl asks for.
func TestUpstreamManifestsApply(t *testing.T) {
	w := newWorld(t)
	w.start()
	for name, spec := range map[string]map[string]any{
		"reference":  {"roleReference": "orders"},
		"duration":   {"roleReference": "arn:aws:iam::" + account + ":role/orders", "roleSessionDuration": int64(3600)},
		"definition": {"roleReference": "orders", "roleDefinition": map[string]any{"MaxSessionDuration": int64(3600), "Path": "/", "ManagedPolicyArns": []any{"arn:aws:iam::aws:policy/ReadOnlyAccess"}}},
		"nothing":    {},
	} {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "zalando.org/v1", "kind": "AWSIAMRole", "metadata": map[string]any{"namespace": w.namespace, "name": name}, "spec": spec}}
		w.must(w.Create(t.Context(), o, client.FieldValidation("Strict")))
		if spec["roleReference"] != nil {
			w.wait(name)
		}
	}
	var kept unstructured.Unstructured
	kept.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.Kind))
	w.must(w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "definition"}, &kept))
	if _, there, _ := unstructured.NestedMap(kept.Object, "spec", "roleDefinition"); !there {
		t.Error("a field of upstream's was dropped")
	}
}

// upstream is a Secret exactly as zalando-incubator/kube-aws-iam-controller writes it: no annotations, fewer keys, for an AWSIAMRole one more.
func (w *world) upstream(name, roleName string, expires time.Time, owner *v1.AWSIAMRole) *corev1.Secret {
	w.t.Helper()
	at := expires.UTC().Format(time.RFC3339)
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{"heritage": "kube-aws-iam-controller"}},
		Data: map[string][]byte{
			"expire":              []byte(at),
			"role-arn":            []byte("arn:aws:iam::" + account + ":role/" + roleName),
			"credentials":         []byte("[default]\naws_access_key_id = ASIAUPSTREAM\naws_secret_access_key = s\naws_session_token = t\naws_expiration = " + at + "\n"),
			"credentials.process": []byte("[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n"),
			"credentials.json":    []byte(`{"Version":1,"AccessKeyId":"ASIAUPSTREAM","SecretAccessKey":"s","SessionToken":"t","Expiration":"` + at + `"}`),
		},
	}
	if owner != nil {
		s.Labels["type"] = "awsiamrole"
		s.Data["awsiamrole-generation"] = []byte("1")
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: owner.Name, UID: owner.UID}}
	}
	w.must(w.Create(w.t.Context(), s))
	return s
}

// A cluster that runs upstream switches its Deployment: what is there is taken over in place, and nothing is ever gone; while STS is down
// it stays as it is.
func TestTakeoverFromUpstream(t *testing.T) {
	w := newWorld(t)
	r := w.awsIAMRole("app", "Orders")
	w.pod("pod", role("reports"))
	secrets := []*corev1.Secret{
		w.upstream("app", "Orders", time.Now().Add(20*time.Minute), r),
		w.upstream("aws-iam-reports", "reports", time.Now().Add(20*time.Minute), nil),
	}
	gone := w.watchForDeletions()
	w.sts.SetFault(ststest.ServiceUnavailable)
	w.start()
	w.condition("app", v1.ConditionAuthorized, metav1.ConditionUnknown, v1.ReasonNotAsked)
	for _, s := range secrets {
		if now := w.secret(s.Name); now == nil || now.ResourceVersion != s.ResourceVersion {
			t.Errorf("%s was touched while there was nothing to put in its place", s.Name)
		}
	}
	w.sts.SetFault(ststest.NoFault)
	for _, s := range secrets {
		now := w.wait(s.Name)
		if now.UID != s.UID || len(now.Data) != 7 {
			t.Errorf("%s: not taken over in place: %d keys", s.Name, len(now.Data))
		}
	}
	if n := gone(); n > 0 {
		t.Errorf("%d deletions", n)
	}
}

// Without the CRD, upstream's Secrets of AWSIAMRoles are left alone.
func TestAnUpstreamSecretThatNobodyWants(t *testing.T) {
	w := newWorld(t)
	r := w.awsIAMRole("app", "Orders")
	s := w.upstream("app", "Orders", time.Now().Add(20*time.Minute), r)
	w.must(w.Delete(t.Context(), r))
	w.start()
	w.waitGone(s.Name)
}
