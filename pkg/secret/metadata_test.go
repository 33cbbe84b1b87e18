package secret_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/secret"
)

func TestCheckAnnotations(t *testing.T) {
	for _, c := range []struct {
		name, key, value string
		want             string // a part of the error; if it is empty, the annotation is valid
	}{
		{"of another tool", "policies.example.org/skip", "true", ""},
		{"without a domain", "team", "a, b=c", ""},
		{"without a value", "example.org/x", "", ""},
		{"of a domain that ends like a reserved one", "notkubernetes.io/x", "y", ""},
		{"upper case, as the API server allows", "Example.org/X", "y", ""},
		{"the longest", "k", strings.Repeat("v", secret.MaxAnnotations-1), ""},
		{"too long", "k", strings.Repeat("v", secret.MaxAnnotations), "1025 bytes"},
		{"no key", "", "v", "not the key of an annotation"},
		{"two slashes", "a/b/c", "v", "not the key of an annotation"},
		{"a space", "a b", "v", "not the key of an annotation"},
		{"a line feed", "a\n", "v", "not the key of an annotation"},
		{"not UTF-8", "a", "\xff", "not UTF-8"},
		{"the controller's", "iam.amazonaws.com/role-arn", "v", "reserved"},
		{"the controller's, in upper case", "IAM.amazonaws.com/role-arn", "v", "reserved"},
		{"of Kubernetes", "kubernetes.io/x", "v", "reserved"},
		{"of a part of Kubernetes", "kubectl.kubernetes.io/last-applied-configuration", "{}", "reserved"},
		{"of Kubernetes' other domain", "config.k8s.io/owning-inventory", "v", "reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := secret.CheckAnnotations(map[string]string{c.key: c.value})
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestRender_Annotations(t *testing.T) {
	to := target(t)
	to.Annotations = map[string]string{"example.org/a": "1"}
	got := secret.Render(to, testCredentials(time.Hour), nil).Annotations
	if got["example.org/a"] != "1" || got[secret.ReloaderAnnotation] != "true" {
		t.Errorf("annotations are %v", got)
	}
	got["example.org/b"] = "2" // does not change the settings
	to.Annotations = map[string]string{secret.ReloaderAnnotation: "false"}
	if got := secret.Render(to, testCredentials(time.Hour), nil).Annotations; got[secret.ReloaderAnnotation] != "false" || got["example.org/b"] != "" {
		t.Errorf("annotations are %v", got)
	}
}

// An upgrade and a change of the flag write each Secret once, without STS.
func TestIntact_Annotations(t *testing.T) {
	with := func(more map[string]string) secret.Target {
		to := target(t)
		to.Annotations = more
		return to
	}
	a1 := map[string]string{"example.org/a": "1"}
	for _, c := range []struct {
		name   string
		before secret.Target
		edit   func(*corev1.Secret)
		after  secret.Target
		intact bool
	}{
		{"the same", with(a1), func(*corev1.Secret) {}, with(a1), true},
		{"of a version that has no such annotation", with(nil), func(s *corev1.Secret) { delete(s.Annotations, secret.ReloaderAnnotation) }, with(nil), false},
		{"one more", with(nil), func(*corev1.Secret) {}, with(a1), false},
		{"another value", with(a1), func(*corev1.Secret) {}, with(map[string]string{"example.org/a": "2"}), false},
		{"one less stays", with(a1), func(*corev1.Secret) {}, with(nil), true},
		{"that Reloader is not to ignore", with(nil), func(s *corev1.Secret) { s.Annotations[secret.ReloaderAnnotation] = "false" }, with(nil), false},
		{"beside more than a reduced Secret keeps", with(a1), func(s *corev1.Secret) { s.Annotations["note"] = strings.Repeat("x", 100<<10) }, with(a1), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := secret.Render(c.before, testCredentials(time.Hour), nil)
			c.edit(s)
			r := reduced(s, c.after)
			if secret.Intact(r, c.after) != c.intact {
				t.Errorf("intact is %t", !c.intact)
			}
			if !secret.Repairable(r, c.after, "") {
				t.Error("is not repairable")
			}
			next := secret.Replace(s.ObjectMeta, secret.Render(c.after, testCredentials(time.Hour), s))
			if !intact(next, c.after) {
				t.Error("is not intact after it was written")
			}
		})
	}
}

// pruned are labels by which tools find what they applied, to delete what is no longer there.
var pruned = map[string]string{
	"applyset.kubernetes.io/part-of": "applyset-x-v1", "objectset.rio.cattle.io/hash": "h", "kapp.k14s.io/app": "1", "kapp.k14s.io/association": "v1.h",
	"argocd.argoproj.io/instance": "app", "kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
	"helm.toolkit.fluxcd.io/name": "app", "kluctl.io/discriminator": "d", "tanka.dev/environment": "e", "qbec.io/application": "a", "qbec.io/environment": "e",
	"kubecfg.ksonnet.io/garbage-collect-tag": "t",
}

func ofAWSIAMRole(t *testing.T, labels map[string]string) secret.Target {
	t.Helper()
	to := target(t)
	to.Owner = &metav1.OwnerReference{APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: "app", UID: "u"}
	to.Labels = labels
	return to
}

func TestRender_LabelsByWhichToolsPruneAreNotCopied(t *testing.T) {
	kept := map[string]string{"team": "a", "app.kubernetes.io/instance": "app", "app.kubernetes.io/managed-by": "Helm", "applyset.kubernetes.io.example.org/x": "y"}
	labels := maps.Clone(kept)
	maps.Copy(labels, pruned)
	got := secret.Render(ofAWSIAMRole(t, labels), testCredentials(time.Hour), nil).Labels
	maps.Copy(kept, map[string]string{"heritage": "kube-aws-iam-controller", "type": "awsiamrole"})
	wantMap(t, "labels", got, kept)
	if len(labels) != len(pruned)+4 {
		t.Errorf("the AWSIAMRole's own labels were changed: %v", labels)
	}
}

// A Secret that has such a label from an earlier version loses it, and needs no new credentials.
func TestIntact_LabelsByWhichToolsPruneAreDropped(t *testing.T) {
	for label, value := range pruned {
		to := ofAWSIAMRole(t, map[string]string{"team": "a", label: value})
		s := secret.Render(to, testCredentials(time.Hour), nil)
		if !intact(s, to) {
			t.Errorf("%s: not intact without it", label)
		}
		s.Labels[label] = value
		if r := reduced(s, to); secret.Intact(r, to) || !secret.Repairable(r, to, "") {
			t.Errorf("%s: is left on the Secret", label)
		}
		if next := secret.Replace(s.ObjectMeta, secret.Render(to, testCredentials(time.Hour), s)); next.Labels[label] != "" || next.Labels["team"] != "a" {
			t.Errorf("%s: labels are %v", label, next.Labels)
		}
	}
	s := secret.Render(target(t), testCredentials(time.Hour), nil)
	s.Labels["kapp.k14s.io/app"] = "1"
	if !intact(s, target(t)) {
		t.Error("a label of another writer on a Secret of pods is an edit")
	}
}
