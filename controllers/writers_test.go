package controllers_test

import (
	"bytes"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/secret"
)

func keyOf(o client.Object) types.NamespacedName { return client.ObjectKeyFromObject(o) }

// patchAs changes the Secret of the role orders as another writer does.
func (w *world) patchAs(manager, patch string) {
	w.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "aws-iam-orders"}}
	err := w.Patch(w.t.Context(), s, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(manager))
	if !apierrors.IsNotFound(err) { // it may be gone at the moment
		w.must(err)
	}
}

// What a tenant does to a Secret costs a few calls of STS, and then one from time to time.
func TestWriters_EditsCostFewCalls(t *testing.T) {
	const edits = 60
	for name, edit := range map[string]func(*world, int){
		"overwritten": func(w *world, i int) {
			w.patchAs("vandal", fmt.Sprintf(`{"data":{"credentials.json":null},"metadata":{"annotations":{"n":"%d"}}}`, i))
		},
		"deleted": func(w *world, _ int) {
			w.must(client.IgnoreNotFound(w.Delete(w.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "aws-iam-orders"}})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			w.pod("app", role("orders"))
			w.wait("aws-iam-orders")
			for i := range edits {
				before := w.assumed("*")
				edit(w, i)
				if i < 3 {
					w.eventually("a new one", func() bool { return w.assumed("*") > before && w.good("aws-iam-orders") })
				}
			}
			w.event("Warning SecretContested app:", "aws-iam-orders")
			if name == "overwritten" {
				w.event("Warning SecretContested app:", `"vandal"`, "managedFields")
			} else {
				w.event("Warning SecretContested app:", "is deleted again and again", "audit log")
			}
			if n := w.assumed("*"); n > 10 {
				t.Errorf("%d calls of STS", n)
			}
			w.eventually("the metric", func() bool { return w.metric("secrets_contested") == 1 })
			w.wait("aws-iam-orders")
		})
	}
}

func TestWriters_AChangedDurationCostsFewCalls(t *testing.T) {
	w := newWorld(t)
	w.start()
	r := w.awsIAMRole("app", "orders")
	w.wait("app")
	for i := range 60 {
		w.must(w.Patch(t.Context(), r, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"roleSessionDuration":%d}}`, 900+i))))
	}
	w.eventually("the last one", func() bool {
		s := w.secret("app")
		return w.isGood(s) && s.Annotations[secret.SessionDurationAnnotation] == "959"
	})
	if n := w.assumed("*"); n > 10 {
		t.Errorf("%d calls of STS", n)
	}
}

// What surrounds good credentials is written again with these, and STS is not asked.
func TestWriters_WhatSurroundsCredentialsIsRepairedWithoutSTS(t *testing.T) {
	for name, patch := range map[string]string{
		"an annotation": `{"metadata":{"annotations":{"iam.amazonaws.com/access-key-id":null}}}`,
		"all":           `{"metadata":{"annotations":null}}`,
		"the files":     `{"data":{"credentials.process":null,"container.json":null,"config":"eA=="}}`,
		"an owner":      `{"metadata":{"ownerReferences":[{"apiVersion":"zalando.org/v1","kind":"AWSIAMRole","name":"x","uid":"x"}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			w.pod("app", role("orders"))
			before := w.wait("aws-iam-orders")
			w.patchAs("other", patch)
			w.eventually("repaired", func() bool {
				now := w.secret("aws-iam-orders")
				return w.isGood(now) && now.ResourceVersion != before.ResourceVersion && accessKey(now) == accessKey(before) && len(now.Data) == len(before.Data) && len(now.OwnerReferences) == 0 &&
					bytes.Equal(now.Data["config"], before.Data["config"])
			})
			if n := w.assumed("*"); n != 1 {
				t.Errorf("%d calls of STS", n)
			}
		})
	}
}

// An annotation of another writer that is larger than what the cache keeps survives the next write.
func TestWriters_WhatTheCacheDoesNotKeepStays(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pod("app", role("orders"))
	before := w.wait("aws-iam-orders")
	big := make([]byte, 100<<10)
	for i := range big {
		big[i] = 'x'
	}
	w.patchAs("other", `{"metadata":{"annotations":{"big":"`+string(big)+`"},"finalizers":["example.org/hold"]}}`)
	w.patchAs("other", `{"data":{"expire":null}}`)
	now := w.waitOther(before)
	if len(now.Annotations["big"]) != len(big) || len(now.Finalizers) != 1 {
		t.Errorf("%d bytes of the annotation are left, finalizers %v", len(now.Annotations["big"]), now.Finalizers)
	}
	w.patchAs("other", `{"metadata":{"finalizers":null}}`)
}

// Two instances that serve the same namespace by mistake notice each other, and do not spend all
// calls of STS on that.
func TestWriters_TwoInstancesNoticeEachOther(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
	w.start(func(o *controllers.Options) { o.ClusterName = "other" })
	w.event("Warning SecretContested app:", "another instance of kube-aws-iam-controller")
	if n := w.assumed("*"); n > 20 {
		t.Errorf("%d calls of STS", n)
	}
}

// A copy of one of our Secrets, with its label, is another writer's.
func TestWriters_ACopyIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	c := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "aws-iam-copy", Labels: s.Labels, Annotations: s.Annotations}, Data: s.Data}
	w.must(w.Create(t.Context(), c))
	w.pod("other", role("copy"))
	w.event("Warning SecretNotManaged other:", "is a copy of Secret", "aws-iam-orders")
	if now := w.secret("aws-iam-copy"); now.ResourceVersion != c.ResourceVersion {
		t.Error("it was touched")
	}
}

// No request yields the controller's own role, whatever is allowed to whom.
func TestOwnRole_IsInvalidInEveryMode(t *testing.T) {
	for name, change := range map[string]func(*controllers.Options){
		"AlwaysAllow": modes(policy.ModeAlwaysAllow),
		"RBAC":        modes(policy.ModeRBAC),
		"dry run": func(o *controllers.Options) {
			o.AuthorizationModes, o.DryRunAuthorization = []string{policy.ModeRBAC}, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.beARole()
			for _, granted := range []string{"controller", ownRole, "arn:aws:iam::" + account + ":role/a/path/Controller"} {
				w.grant(granted, w.everyServiceAccount())
			}
			w.start(change)
			w.pod("app", role("controller"))
			w.event("Warning InvalidRole app:", ownRole, "is the controller's own")
			for i, reference := range []string{"controller", "CONTROLLER", ownRole, "arn:aws:iam::" + account + ":role/a/path/Controller"} {
				resource := fmt.Sprintf("resource-%d", i)
				w.awsIAMRole(resource, reference)
				w.condition(resource, v1.ConditionReady, metav1.ConditionFalse, controllers.ReasonInvalidRole, "the controller's own")
			}
			if n := w.assumed("*"); n > 0 {
				t.Errorf("%d calls of AssumeRole", n)
			}
		})
	}
}
