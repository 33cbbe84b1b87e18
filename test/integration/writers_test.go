package integration_test

import (
	"bytes"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/secret"
)

// ordersSecret names the Secret of the role orders.
func ordersSecret(w *testEnv) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "aws-iam-orders"}}
}

// What a tenant does to a Secret costs a few calls of STS, and then one from time to time.
func TestWriters_EditsCostFewCalls(t *testing.T) {
	const edits = 60
	for name, edit := range map[string]func(*testEnv, int){
		"overwritten": func(w *testEnv, i int) {
			patch := fmt.Appendf(nil, `{"data":{"credentials.json":null},"metadata":{"annotations":{"n":"%d"}}}`, i)
			w.must(client.IgnoreNotFound(w.Patch(w.t.Context(), ordersSecret(w), client.RawPatch(types.MergePatchType, patch), client.FieldOwner("vandal"))))
		},
		"deleted": func(w *testEnv, _ int) {
			w.must(client.IgnoreNotFound(w.Delete(w.t.Context(), ordersSecret(w))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			w.start()
			w.pod("app", role("orders"))
			w.wait("aws-iam-orders")
			for i := range edits {
				before := assumed(w.sts, "*")
				edit(w, i)
				if i < 3 {
					w.eventually("a new one", func() bool { return assumed(w.sts, "*") > before && w.isGood(w.secret("aws-iam-orders")) })
				}
			}
			w.event("Warning SecretContested app:", "aws-iam-orders")
			if name == "overwritten" {
				w.event("Warning SecretContested app:", `"vandal"`, "managedFields")
			} else {
				w.event("Warning SecretContested app:", "is deleted again and again", "audit log")
			}
			if n := assumed(w.sts, "*"); n > 10 {
				t.Errorf("%d calls of STS", n)
			}
			w.eventually("the metric", func() bool { return w.metric("secrets_contested") == 1 })
			w.wait("aws-iam-orders")
		})
	}
}

func TestWriters_ChangedDurationCostsFewCalls(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	r := w.awsIAMRole("app", "orders")
	w.wait("app")
	for i := range 60 {
		w.patch(r, fmt.Sprintf(`{"spec":{"roleSessionDuration":%d}}`, 900+i))
	}
	w.eventually("the last one", func() bool {
		s := w.secret("app")
		return w.isGood(s) && s.Annotations[secret.SessionDurationAnnotation] == "959"
	})
	if n := assumed(w.sts, "*"); n > 10 {
		t.Errorf("%d calls of STS", n)
	}
}

// What surrounds good credentials is written again with these, and STS is not asked.
func TestWriters_MetadataIsRepairedWithoutSTS(t *testing.T) {
	for name, patch := range map[string]string{
		"annotation removed":       `{"metadata":{"annotations":{"iam.amazonaws.com/access-key-id":null}}}`,
		"all annotations removed":  `{"metadata":{"annotations":null}}`,
		"files removed or changed": `{"data":{"credentials.process":null,"container.json":null,"config":"eA=="}}`,
		"owner added":              `{"metadata":{"ownerReferences":[{"apiVersion":"zalando.org/v1","kind":"AWSIAMRole","name":"x","uid":"x"}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			w.start()
			w.pod("app", role("orders"))
			before := w.wait("aws-iam-orders")
			w.patch(ordersSecret(w), patch)
			w.eventually("repaired", func() bool {
				now := w.secret("aws-iam-orders")
				return w.isGood(now) && now.ResourceVersion != before.ResourceVersion && accessKey(now) == accessKey(before) && len(now.Data) == len(before.Data) && len(now.OwnerReferences) == 0 &&
					bytes.Equal(now.Data["config"], before.Data["config"])
			})
			if n := assumed(w.sts, "*"); n != 1 {
				t.Errorf("%d calls of STS", n)
			}
		})
	}
}

// An annotation of another writer that is larger than what the cache keeps survives the next write.
func TestWriters_MetadataOutsideTheCacheStays(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", role("orders"))
	before := w.wait("aws-iam-orders")
	big := make([]byte, 100<<10)
	for i := range big {
		big[i] = 'x'
	}
	w.patch(ordersSecret(w), `{"metadata":{"annotations":{"big":"`+string(big)+`"},"finalizers":["example.org/hold"]}}`)
	w.patch(ordersSecret(w), `{"data":{"expire":null}}`)
	now := w.waitOther(before)
	if len(now.Annotations["big"]) != len(big) || len(now.Finalizers) != 1 {
		t.Errorf("%d bytes of the annotation are left, finalizers %v", len(now.Annotations["big"]), now.Finalizers)
	}
	w.patch(now, withoutFinalizers)
}

// Two instances that serve the same namespace by mistake notice each other, and do not spend all
// calls of STS on that.
func TestWriters_TwoInstancesNoticeEachOther(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	w.start(func(o *app.Options) { o.Sessions.ClusterName = "other" })
	w.event("Warning SecretContested app:", "another instance of kube-aws-iam-controller")
	if n := assumed(w.sts, "*"); n > 20 {
		t.Errorf("%d calls of STS", n)
	}
}

// A copy of one of our Secrets, with its label, is another writer's.
func TestWriters_CopyIsLeftAlone(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	c := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "aws-iam-copy", Labels: s.Labels, Annotations: s.Annotations}, Data: s.Data}
	w.create(c)
	w.pod("other", role("copy"))
	w.event("Warning SecretNotManaged other:", "is a copy of Secret", "aws-iam-orders")
	w.checkUnchanged(c)
}

// No request yields the controller's own role, even if it is granted.
func TestOwnRole_IsRejectedInEveryMode(t *testing.T) {
	for name, change := range map[string]func(*app.Options){
		"AlwaysAllow": modes(authorization.ModeAlwaysAllow),
		"RBAC":        modes(authorization.ModeRBAC),
		"dry run": func(o *app.Options) {
			o.AuthorizationModes, o.DryRunAuthorization = []string{authorization.ModeRBAC}, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			useInstanceRole(t, w.sts)
			for _, granted := range []string{"controller", ownRole, "arn:aws:iam::" + account + ":role/a/path/Controller"} {
				w.grant(granted, everyServiceAccount(w.namespace))
			}
			w.start(change)
			w.pod("app", role("controller"))
			w.event("Warning InvalidRole app:", ownRole, "is the controller's own")
			for i, reference := range []string{"controller", "CONTROLLER", ownRole, "arn:aws:iam::" + account + ":role/a/path/Controller"} {
				resource := fmt.Sprintf("resource-%d", i)
				w.awsIAMRole(resource, reference)
				w.condition(resource, v1.ConditionReady, metav1.ConditionFalse, v1.ReasonInvalidRole, "the controller's own")
			}
			if n := assumed(w.sts, "*"); n > 0 {
				t.Errorf("%d calls of AssumeRole", n)
			}
		})
	}
}
