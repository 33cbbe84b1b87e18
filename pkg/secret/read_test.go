package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

func TestReadGivesBackWhatWasRendered(t *testing.T) {
	for _, life := range []time.Duration{time.Second, time.Minute, 15 * time.Minute, time.Hour, 12 * time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			want := held(life)
			s := secret.Render(target(t), want)
			got, err := secret.Read(s)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if got.SecretAccessKey.Reveal() != want.SecretAccessKey.Reveal() || got.SessionToken.Reveal() != want.SessionToken.Reveal() {
				t.Error("the secrets differ")
			}
			if !intact(s, target(t)) {
				t.Error("is not intact")
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct {
		says    string
		edit    func(*corev1.Secret)
		because string
	}{
		{"an empty Secret", func(s *corev1.Secret) { s.Data = nil }, "credentials.json is not the JSON"},
		{"no credentials.json", func(s *corev1.Secret) { delete(s.Data, "credentials.json") }, "credentials.json is not the JSON"},
		{"half of it", func(s *corev1.Secret) { s.Data["credentials.json"] = s.Data["credentials.json"][:90] }, "credentials.json is not the JSON"},
		{"keys of the wrong type", func(s *corev1.Secret) {
			s.Data["credentials.json"] = []byte(`{"AccessKeyId":"s3cr3t","SecretAccessKey":12345,"SessionToken":{"s3cr3t":1}}`)
		}, "credentials.json is not the JSON"},
		{"a string as version", func(s *corev1.Secret) {
			s.Data["credentials.json"] = []byte(strings.Replace(string(s.Data["credentials.json"]), `"Version":1`, `"Version":"1"`, 1))
		}, "credentials.json is not the JSON"},
		{"no key ID", without("AccessKeyId"), "credentials.json is incomplete"},
		{"no secret key", without("SecretAccessKey"), "credentials.json is incomplete"},
		{"no token", without("SessionToken"), "credentials.json is incomplete"},
		{"no expiry at all", func(s *corev1.Secret) {
			without("Expiration")(s)
			delete(s.Data, "expire")
		}, "expire is not a time"},
		{"an expiry that is no time", func(s *corev1.Secret) { s.Data["expire"] = []byte("s3cr3t/Key+value=") }, "expire is not a time"},
	} {
		t.Run(c.says, func(t *testing.T) {
			s := secret.Render(target(t), held(time.Hour))
			c.edit(s)
			got, err := secret.Read(s)
			if err == nil {
				t.Fatal("accepted")
			}
			if got != (credentials.Credentials{}) {
				t.Errorf("an error, and yet %+v", got)
			}
			if !strings.Contains(err.Error(), c.because) {
				t.Errorf("error is %q, want it to say %q", err, c.because)
			}
			for _, leak := range []string{"s3cr3t", "IQoJ", "ASIAEXAMPLE", "12345"} {
				if strings.Contains(err.Error(), leak) {
					t.Errorf("error tells what is in the Secret: %q", err)
				}
			}
		})
	}
}

// without takes a field out of credentials.json.
func without(field string) func(*corev1.Secret) {
	return func(s *corev1.Secret) {
		var fields map[string]any
		_ = json.Unmarshal(s.Data["credentials.json"], &fields)
		delete(fields, field)
		s.Data["credentials.json"], _ = json.Marshal(fields)
	}
}

// The Secrets of zalando-incubator/kube-aws-iam-controller, from which users come: they do not say when they were issued.
func TestReadUpstreamsSecret(t *testing.T) {
	expires := issued.Add(time.Hour)
	upstream := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "aws-iam-app", Labels: map[string]string{"application": "kube-aws-iam-controller", "heritage": "kube-aws-iam-controller"}},
		Data: map[string][]byte{
			"role-arn":            []byte("arn:aws-cn:iam::123456789012:role/team/app"),
			"expire":              []byte(expires.Format(time.RFC3339)),
			"credentials":         []byte("[default]\naws_access_key_id = ASIAEXAMPLE\naws_secret_access_key = k\naws_session_token = t\naws_expiration = " + expires.Format(time.RFC3339)),
			"credentials.process": []byte("[default]\ncredential_process = cat /meta/aws-iam/credentials.json"),
			"credentials.json":    []byte(`{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"k","SessionToken":"t","Expiration":"` + expires.Format(time.RFC3339) + `"}`),
		},
	}
	got, err := secret.Read(upstream)
	if err != nil {
		t.Fatal(err)
	}
	want := credentials.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: credentials.Redact("k"), SessionToken: credentials.Redact("t"), Issued: issued, Expires: expires}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !secret.Owned(upstream) {
		t.Error("is not taken for the controller's own")
	}
	if intact(upstream, target(t)) {
		t.Error("is taken for a Secret as this controller writes it, so that it would never get the keys that upstream's lacks")
	}
}

func TestReadLifetime(t *testing.T) {
	for _, c := range []struct {
		says             string
		expire, issuedAt string
		issued           time.Time
		fails            bool
	}{
		{says: "as written", expire: "2026-11-21T02:00:00Z", issuedAt: "2026-11-21T00:00:00Z", issued: issued},
		{says: "no time of issue: an hour is assumed", expire: "2026-11-21T02:00:00Z", issued: issued.Add(time.Hour)},
		{says: "a broken time of issue: an hour is assumed", expire: "2026-11-21T02:00:00Z", issuedAt: "yesterday", issued: issued.Add(time.Hour)},
		{says: "issued after the end: an hour is assumed", expire: "2026-11-21T02:00:00Z", issuedAt: "2026-11-21T03:00:00Z", issued: issued.Add(time.Hour)},
		{says: "issued at the end", expire: "2026-11-21T02:00:00Z", issuedAt: "2026-11-21T02:00:00Z", issued: issued.Add(2 * time.Hour)},
		{says: "no expiry", issuedAt: "2026-11-21T00:00:00Z", fails: true},
		{says: "a broken expiry", expire: "1795219200", issuedAt: "2026-11-21T00:00:00Z", fails: true},
	} {
		t.Run(c.says, func(t *testing.T) {
			s := secret.Render(target(t), held(time.Hour))
			s.Data["expire"] = []byte(c.expire)
			s.Annotations["iam.amazonaws.com/issued-at"] = c.issuedAt
			got, expires, err := secret.ReadLifetime(s)
			all, readErr := secret.Read(s)
			if (err == nil) != (readErr == nil) || !got.Equal(all.Issued) || !expires.Equal(all.Expires) {
				t.Errorf("got %s, %s, %v; Read gives %s, %s, %v", got, expires, err, all.Issued, all.Expires, readErr)
			}
			if c.fails {
				if err == nil || !got.IsZero() || !expires.IsZero() {
					t.Errorf("got %s, %s, %v, want an error", got, expires, err)
				}
				return
			}
			if err != nil || !got.Equal(c.issued) || !expires.Equal(issued.Add(2*time.Hour)) {
				t.Errorf("got %s, %s, %v", got, expires, err)
			}
		})
	}
}

func TestOwned(t *testing.T) {
	for _, c := range []struct {
		says   string
		labels map[string]string
		want   bool
	}{
		{"no labels", nil, false},
		{"another heritage", map[string]string{"heritage": "Helm"}, false},
		{"our name under another label", map[string]string{"app": "kube-aws-iam-controller"}, false},
		{"ours", map[string]string{"heritage": "kube-aws-iam-controller", "a": "b"}, true},
		{"ours, of an AWSIAMRole", map[string]string{"heritage": "kube-aws-iam-controller", "type": "awsiamrole"}, true},
		{"ours, with another type", map[string]string{"heritage": "kube-aws-iam-controller", "type": "x"}, true},
	} {
		t.Run(c.says, func(t *testing.T) {
			if got := secret.Owned(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: c.labels}}); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// intact judges a Secret as the controller keeps it: without its credentials.
func intact(s *corev1.Secret, to secret.Target) bool { return secret.Intact(reduced(s, to), to) }

func reduced(s *corev1.Secret, to secret.Target) *corev1.Secret {
	s = s.DeepCopy()
	secret.Reduce(s, to.Files)
	return s
}

func TestAReducedSecretHoldsNoCredentials(t *testing.T) {
	want := held(time.Hour)
	s := secret.Render(target(t), want)
	s.Data["notes"] = []byte("s3cr3t")
	s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	s.UID, s.ResourceVersion = "u-1", "42"
	got := reduced(s, target(t))
	if text := fmt.Sprintf("%+v %q", got, got.Data); strings.Contains(text, want.SecretAccessKey.Reveal()) || strings.Contains(text, want.SessionToken.Reveal()) ||
		strings.Contains(text, "s3cr3t") || strings.Contains(text, "kubectl") {
		t.Errorf("it holds what it must not: %s", text)
	}
	if got.UID != "u-1" || got.ResourceVersion != "42" || got.Name != s.Name || got.Namespace != s.Namespace {
		t.Errorf("it is another Secret: %s/%s", got.Namespace, got.Name)
	}
	known := secret.Held(got)
	if known.AccessKeyID != want.AccessKeyID || known.Issued != want.Issued || known.Expires != want.Expires || known.UsableUntil() != want.UsableUntil() {
		t.Errorf("of the credentials it knows %+v", known)
	}
	if again := reduced(got, target(t)); !reflect.DeepEqual(again, got) {
		t.Errorf("reduced twice it is %+v", again)
	}
}

func TestAReducedSecretWhoseCredentialsCannotBeRead(t *testing.T) {
	for says, edit := range map[string]func(*corev1.Secret){
		"empty":  func(s *corev1.Secret) { s.Data = nil },
		"broken": func(s *corev1.Secret) { s.Data["credentials.json"] = []byte("{") },
		"no expiry": func(s *corev1.Secret) {
			without("Expiration")(s)
			delete(s.Data, "expire")
		},
		"bad expiry": func(s *corev1.Secret) { s.Data["expire"] = []byte("tomorrow") },
	} {
		t.Run(says, func(t *testing.T) {
			s := secret.Render(target(t), held(time.Hour))
			edit(s)
			if known := secret.Held(reduced(s, target(t))); known != (credentials.Credentials{}) {
				t.Errorf("knows %+v", known)
			}
		})
	}
}

// A seed as its maker has it: what assume-role printed, and nothing else.
func TestASeedMadeByHandSaysWhenItExpires(t *testing.T) {
	s := secret.Render(target(t), held(time.Hour))
	s.Data, s.Annotations = map[string][]byte{"credentials.json": []byte(`{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"k","SessionToken":"t","Expiration":"2026-11-21T01:00:00+00:00"}`)}, nil
	got, err := secret.Read(s)
	if err != nil || !got.Expires.Equal(issued.Add(time.Hour)) || !got.Issued.Equal(issued) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if known := secret.Held(reduced(s, target(t))); !known.Expires.Equal(got.Expires) || known.AccessKeyID != got.AccessKeyID || intact(s, target(t)) {
		t.Errorf("reduced, it knows %+v, and is intact: %t", known, intact(s, target(t)))
	}
}

// What marks a reduced Secret cannot come from outside: an API server takes it as data.
func TestAForgedSecretIsNotIntact(t *testing.T) {
	s := secret.Render(target(t), held(time.Hour))
	s.Data = map[string][]byte{"expire": s.Data["expire"], "role-arn": s.Data["role-arn"], "access-key-id": []byte("ASIAEXAMPLE"), "whole": nil}
	if known := secret.Held(reduced(s, target(t))); intact(s, target(t)) || known.AccessKeyID != "" {
		t.Errorf("it passes for one that holds %+v", known)
	}
}

func TestEditedSecretIsNotIntact(t *testing.T) {
	to := target(t)
	// edited checks one edit of a Secret that was intact before.
	edited := func(says string, edit func(*corev1.Secret)) {
		t.Run(says, func(t *testing.T) {
			s := secret.Render(to, held(time.Hour))
			if !intact(s, to) {
				t.Fatal("is not intact before it is edited")
			}
			edit(s)
			if intact(s, to) {
				t.Error("is intact")
			}
		})
	}

	original := secret.Render(to, held(time.Hour))
	for _, key := range slices.Sorted(maps.Keys(original.Data)) {
		edited(key+" removed", func(s *corev1.Secret) { delete(s.Data, key) })
		edited(key+" emptied", func(s *corev1.Secret) { s.Data[key] = nil })
		edited(key+" extended", func(s *corev1.Secret) { s.Data[key] = append(s.Data[key], '\n') })
		edited(key+" shortened", func(s *corev1.Secret) { s.Data[key] = s.Data[key][:len(s.Data[key])-1] })
		for i := range original.Data[key] {
			edited(fmt.Sprintf("%s byte %d changed", key, i), func(s *corev1.Secret) { s.Data[key][i] ^= 1 })
		}
	}
	edited("all keys removed", func(s *corev1.Secret) { s.Data = nil })
	edited("a later expiry", func(s *corev1.Secret) { s.Data["expire"] = []byte("2026-11-21T02:00:00Z") })
	edited("the same expiry in another zone", func(s *corev1.Secret) { s.Data["expire"] = []byte("2026-11-21T02:00:00+01:00") })

	for _, label := range slices.Sorted(maps.Keys(original.Labels)) {
		edited("label "+label+" removed", func(s *corev1.Secret) { delete(s.Labels, label) })
		edited("label "+label+" changed", func(s *corev1.Secret) { s.Labels[label] += "x" })
	}
	edited("all labels removed", func(s *corev1.Secret) { s.Labels = nil })
	for _, annotation := range slices.Sorted(maps.Keys(original.Annotations)) {
		edited("annotation "+annotation+" removed", func(s *corev1.Secret) { delete(s.Annotations, annotation) })
		edited("annotation "+annotation+" changed", func(s *corev1.Secret) { s.Annotations[annotation] += "x" })
		edited("annotation "+annotation+" emptied", func(s *corev1.Secret) { s.Annotations[annotation] = "" })
	}
	edited("all annotations removed", func(s *corev1.Secret) { s.Annotations = nil })
	edited("issued in the last minute of its life", func(s *corev1.Secret) { s.Annotations["iam.amazonaws.com/issued-at"] = "2026-11-21T00:59:00Z" })
}

func TestSecretOfAnotherTargetIsNotIntact(t *testing.T) {
	another, err := role.ParseARN("arn:aws:iam::123456789012:role/team/app")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says   string
		change func(*secret.Target)
	}{
		{"another partition", func(to *secret.Target) { to.Session.Role = another }},
		{"another session name", func(to *secret.Target) { to.Session.Name = "stage.payments.aws-iam-app" }},
		{"another mount path", func(to *secret.Target) { to.MountPath = "/aws" }},
		{"another Region", func(to *secret.Target) { to.Region = "cn-northwest-1" }},
		{"no Region", func(to *secret.Target) { to.Region = "" }},
		{"no target at all", func(to *secret.Target) { *to = secret.Target{} }},
	} {
		t.Run(c.says, func(t *testing.T) {
			to := target(t)
			s := secret.Render(to, held(time.Hour))
			c.change(&to)
			if intact(s, to) {
				t.Error("is intact")
			}
		})
	}
}

func TestWhatOthersAddDoesNotCount(t *testing.T) {
	s := secret.Render(target(t), held(time.Hour))
	s.Labels["team"] = "payments"
	s.Annotations["argocd.argoproj.io/tracking-id"] = "x"
	s.Data["notes"] = []byte("x")
	s.Finalizers = []string{"example.org/hold"}
	if !intact(s, target(t)) {
		t.Error("is not intact")
	}
}

func TestReplaceKeepsIdentityAndWhatOthersAdded(t *testing.T) {
	to := target(t)
	existing := secret.Render(to, held(time.Hour))
	existing.UID, existing.ResourceVersion = "u-1", "42"
	existing.Finalizers = []string{"example.org/hold"}
	existing.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "app", UID: "u-2"}, {APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: "app", UID: "u-3"}}
	existing.Labels["team"] = "payments"
	existing.Annotations["note"] = "x"
	existing.Annotations["iam.amazonaws.com/role-arn"] = "edited"
	existing.Data["notes"] = []byte("x")
	before := existing.DeepCopy()

	fresh := held(2 * time.Hour)
	fresh.AccessKeyID = "ASIAFRESH"
	rendered := secret.Render(to, fresh)
	got := secret.Replace(existing.ObjectMeta, rendered)

	if got.UID != "u-1" || got.ResourceVersion != "42" || got.Namespace != "payments" || got.Name != "aws-iam-app" || got.Type != corev1.SecretTypeOpaque {
		t.Errorf("identity is %s, %s, %s/%s, %s", got.UID, got.ResourceVersion, got.Namespace, got.Name, got.Type)
	}
	if !slices.Equal(got.Finalizers, before.Finalizers) || len(got.OwnerReferences) != 1 || got.OwnerReferences[0].UID != "u-2" {
		t.Errorf("finalizers are %v, owners %v", got.Finalizers, got.OwnerReferences)
	}
	wantMap(t, "labels", got.Labels, map[string]string{"heritage": "kube-aws-iam-controller", "team": "payments"})
	wantMap(t, "annotations", got.Annotations, with(rendered.Annotations, "note", "x"))
	if read, err := secret.Read(got); err != nil || read != fresh {
		t.Errorf("holds %+v, %v, want %+v", read, err, fresh)
	}
	if !intact(got, to) {
		t.Error("is not intact")
	}
	if _, kept := got.Data["notes"]; kept {
		t.Error("keeps a key that is not the controller's")
	}
	// The existing one is a cache's, and belongs to everybody.
	wantMap(t, "labels of the existing Secret", existing.Labels, before.Labels)
	wantMap(t, "annotations of the existing Secret", existing.Annotations, before.Annotations)
	if !bytes.Equal(existing.Data["credentials.json"], before.Data["credentials.json"]) {
		t.Error("the existing Secret's data changed")
	}
}

// The labels of an AWSIAMRole's Secret are those of the AWSIAMRole and the controller's own two, which nobody can take the place of.
func TestTheSecretOfAnAWSIAMRole(t *testing.T) {
	to := target(t)
	to.Owner = &metav1.OwnerReference{APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: "app", UID: "u-2"}
	to.Labels = map[string]string{"team": "payments", "heritage": "mine", "type": "mine"}
	s := secret.Render(to, held(time.Hour))
	wantMap(t, "labels", s.Labels, map[string]string{"team": "payments", "heritage": "kube-aws-iam-controller", "type": "awsiamrole"})
	if !secret.OfAWSIAMRole(s) || !secret.Owned(s) || len(s.OwnerReferences) != 1 || !intact(s, to) {
		t.Errorf("owners %v", s.OwnerReferences)
	}
	if intact(s, target(t)) || intact(secret.Render(target(t), held(time.Hour)), to) {
		t.Error("one for pods passes for one of an AWSIAMRole")
	}

	to.Labels, to.Owner.UID = map[string]string{"app": "x"}, "u-3"
	if intact(s, to) {
		t.Error("the one of an AWSIAMRole that was deleted passes for that of its successor")
	}
	got := secret.Replace(s.ObjectMeta, secret.Render(to, held(time.Hour)))
	wantMap(t, "labels after a change", got.Labels, map[string]string{"app": "x", "heritage": "kube-aws-iam-controller", "type": "awsiamrole"})
	if len(got.OwnerReferences) != 1 || got.OwnerReferences[0].UID != "u-3" {
		t.Errorf("owners %v", got.OwnerReferences)
	}
	back := secret.Replace(s.ObjectMeta, secret.Render(target(t), held(time.Hour)))
	if len(back.OwnerReferences) != 0 || secret.OfAWSIAMRole(back) {
		t.Errorf("for pods again: owners %v, labels %v", back.OwnerReferences, back.Labels)
	}
}

func TestASecretThatAnotherControllerClaimsIsNotOurs(t *testing.T) {
	yes := true
	s := secret.Render(target(t), held(time.Hour))
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.org/v1", Kind: "ExternalSecret", Name: "x", UID: "u", Controller: &yes}}
	if secret.Owned(s) {
		t.Error("it passes for ours")
	}
}

func TestReplaceRestoresWhatWasEmptied(t *testing.T) {
	rendered := secret.Render(target(t), held(time.Hour))
	got := secret.Replace(metav1.ObjectMeta{Namespace: "payments", Name: "aws-iam-app", UID: "u-1"}, rendered)
	if !intact(got, target(t)) || got.UID != "u-1" {
		t.Errorf("got %s with labels %v, annotations %v", got.UID, got.Labels, got.Annotations)
	}
}

func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	m[key] = value
	return m
}
