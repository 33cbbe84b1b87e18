package integration_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/secret"
	ststest "kube-aws-iam-controller/test/sts"
)

func TestAWSIAMRole_GetsASecret(t *testing.T) {
	w := newTestEnv(t)
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
	held := credentialsOf(t, s)
	w.read(r)
	if st := r.Status; *st.ObservedGeneration != r.Generation || st.RoleARN != string(s.Data["role-arn"]) || !st.Expiration.Time.Equal(held.Expires) || st.AccessKeyID != held.AccessKeyID {
		t.Errorf("status %+v", st)
	}
	w.event("Normal CreateCredentials app:", "Team_Orders+x")
}

func TestAWSIAMRole_OtherAccountsPartitionsAndPaths(t *testing.T) {
	w := newTestEnv(t)
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

func TestAWSIAMRole_ChangeIsServedAtOnce(t *testing.T) {
	w := newTestEnv(t)
	w.start(func(o *app.Options) { o.RefreshLimit = 30 * time.Minute })
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
		w.must(w.Patch(t.Context(), r, client.MergeFrom(before))) // the controller can write the status at just this moment
		next := s
		w.eventually(change.what, func() bool { next = w.secret("app"); return w.isGood(next) && change.holds(next) })
		if next.UID != s.UID {
			t.Errorf("%s: %v %v", change.what, next.Labels, next.Annotations)
		}
		s = next
		w.eventually("status of "+change.what, func() bool {
			now := newAWSIAMRole(w.namespace, "app", "")
			w.read(now)
			st := now.Status
			return *st.ObservedGeneration == r.Generation && st.AccessKeyID == accessKey(s)
		})
	}
	w.event("Normal UpdateCredentials app:")
}

func TestAWSIAMRole_DeletionDeletesTheSecret(t *testing.T) {
	w := newTestEnv(t)
	w.start(func(o *app.Options) { o.UnusedGracePeriod = time.Hour })
	r := w.awsIAMRole("app", "orders")
	w.wait("app")
	w.must(w.Delete(t.Context(), r))
	w.waitGone("app")
}

// If an AWSIAMRole and a pod ask for one Secret, it is for the AWSIAMRole's role, and for the pod's
// after the AWSIAMRole is deleted.
func TestAWSIAMRole_OverridesRoleOfPods(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	r := w.awsIAMRole("aws-iam-orders", "Another-Role")
	w.eventually("the AWSIAMRole's role", func() bool {
		return w.isGood(w.secret("aws-iam-orders")) && string(w.secret("aws-iam-orders").Data["role-arn"]) == "arn:aws:iam::"+account+":role/Another-Role"
	})
	w.must(w.Delete(t.Context(), r))
	w.eventually("the pod's role", func() bool {
		s := w.secret("aws-iam-orders")
		return w.isGood(w.secret("aws-iam-orders")) && string(s.Data["role-arn"]) == "arn:aws:iam::"+account+":role/orders" && s.Labels["type"] == "" && len(s.OwnerReferences) == 0
	})
}

func TestAWSIAMRole_DeniedBySTSIsReported(t *testing.T) {
	w := newTestEnv(t)
	w.sts.SetSessionLifetime(8 * time.Second)
	w.start()
	r := w.awsIAMRole("app", "orders")
	s := w.wait("app")
	w.condition("app", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)

	arn := "arn:aws:iam::" + account + ":role/orders"
	w.sts.Deny(arn)
	w.condition("app", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonGetCredentialsFailed, arn, "trust policy")
	if now := w.secret("app"); now == nil || now.UID != s.UID {
		t.Error("the old credentials are gone before they expired")
	}
	w.waitGone("app")
	w.condition("app", v1.ConditionReady, metav1.ConditionFalse, v1.ReasonGetCredentialsFailed)
	w.read(r)
	if st := r.Status; st.AccessKeyID != "" || st.Expiration != nil {
		t.Errorf("status of nothing: %+v", st)
	}
	w.event("Warning GetCredentialsFailed app:", arn)
	w.sts.Allow(arn)
	w.wait("app")
	w.condition("app", v1.ConditionReady, metav1.ConditionTrue, v1.ReasonIssued)
}

// A failure with one role delays no attempt with the next.
func TestAWSIAMRole_CorrectionIsServedAtOnce(t *testing.T) {
	w := newTestEnv(t)
	w.sts.Deny("arn:aws:iam::" + account + ":role/wrong")
	w.start()
	r := w.awsIAMRole("app", "wrong")
	w.eventually("a wait of some seconds", func() bool { return assumed(w.sts, "AccessDenied") >= 3 })
	w.patch(r, `{"spec":{"roleReference":"right"}}`)
	w.wait("app")
	if n := assumed(w.sts, "AccessDenied"); n > 3 {
		t.Errorf("it was not served before the time of the next attempt: %d failed", n)
	}
}

func TestAWSIAMRole_RoleChainingLimitsDuration(t *testing.T) {
	w := newTestEnv(t)
	useInstanceRole(t, w.sts)
	w.start()
	w.awsIAMRole("app", "orders", func(r *v1.AWSIAMRole) { r.Spec.RoleSessionDuration = 43200 })
	w.wait("app")
	w.condition("app", v1.ConditionFullSessionDuration, metav1.ConditionFalse, v1.ReasonRoleChaining, "12h0m0s", "1h0m0s")
}

func TestAWSIAMRole_LeavesSecretOfAnotherWriterAlone(t *testing.T) {
	w := newTestEnv(t)
	yes := true
	claimed := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.namespace, Name: "claimed", Labels: map[string]string{secret.OwnerLabel: secret.OwnerValue},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "example.org/v1", Kind: "ExternalSecret", Name: "x", UID: "1", Controller: &yes}},
	}}
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "foreign"}}
	w.create(claimed, foreign)
	w.start()
	for _, s := range []*corev1.Secret{claimed, foreign} {
		w.awsIAMRole(s.Name, "orders")
		w.condition(s.Name, v1.ConditionReady, metav1.ConditionFalse, v1.ReasonSecretNotManaged, s.Name)
		w.event("Warning SecretNotManaged " + s.Name + ":")
		w.checkUnchanged(s)
	}
}

// A Secret has the labels and the owner of the AWSIAMRole of its name, also after others change
// them.
func TestAWSIAMRole_RestoresOwnerAndLabels(t *testing.T) {
	w := newTestEnv(t)
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
	if !w.isGood(w.secret("a")) {
		t.Error("the Secret of one went with the other")
	}
}

func TestAWSIAMRole_EmptyRoleIsReported(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.awsIAMRole("app", "")
	w.condition("app", v1.ConditionReady, metav1.ConditionFalse, v1.ReasonInvalidRole, "spec.roleReference")
	w.condition("app", v1.ConditionAuthorized, metav1.ConditionUnknown, v1.ReasonNotAsked)
}

// The API server rejects what can never work, and accepts all else that upstream's CRD accepts.
func TestAWSIAMRole_InvalidIsRejectedByAPIServer(t *testing.T) {
	w := newTestEnv(t)
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
		r := newAWSIAMRole(w.namespace, name, test.reference)
		r.Spec.RoleSessionDuration = test.seconds
		err := w.Create(t.Context(), r)
		switch {
		case test.refused == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.refused != "" && (err == nil || !containsAll(err.Error(), []string{test.refused})):
			t.Errorf("%s: not refused with %q: %v", name, test.refused, err)
		}
	}
}

// Manifests of zalando-incubator/kube-aws-iam-controller apply as they are, with fields that this
// controller has no use for, and under the strict validation that kubectl asks for.
func TestAWSIAMRole_UpstreamManifestsApply(t *testing.T) {
	w := newTestEnv(t)
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

// A cluster that runs upstream switches its Deployment: what is there is taken over in place, and
// nothing is ever gone; while STS is down it stays as it is.
func TestUpstreamSecret_IsTakenOver(t *testing.T) {
	w := newTestEnv(t)
	r := w.awsIAMRole("app", "Orders")
	w.pod("pod", role("reports"))
	secrets := []*corev1.Secret{
		newUpstreamSecret(w.namespace, "app", "Orders", time.Now().Add(20*time.Minute), r),
		newUpstreamSecret(w.namespace, "aws-iam-reports", "reports", time.Now().Add(20*time.Minute), nil),
	}
	w.create(secrets[0], secrets[1])
	deletions := w.countDeletions()
	w.sts.SetFault(ststest.ServiceUnavailable)
	w.start()
	w.condition("app", v1.ConditionAuthorized, metav1.ConditionUnknown, v1.ReasonNotAsked)
	for _, s := range secrets {
		w.checkUnchanged(s)
	}
	w.sts.SetFault(ststest.NoFault)
	for _, s := range secrets {
		now := w.wait(s.Name)
		if now.UID != s.UID || len(now.Data) != 8 {
			t.Errorf("%s: not taken over in place: %d keys", s.Name, len(now.Data))
		}
	}
	if n := deletions(); n > 0 {
		t.Errorf("%d deletions", n)
	}
}

func TestUpstreamSecret_DeletedWhenUnused(t *testing.T) {
	w := newTestEnv(t)
	r := w.awsIAMRole("app", "Orders")
	s := newUpstreamSecret(w.namespace, "app", "Orders", time.Now().Add(20*time.Minute), r)
	w.create(s)
	w.must(w.Delete(t.Context(), r))
	w.start()
	w.waitGone(s.Name)
}
