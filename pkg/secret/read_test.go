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

func TestRead_ReturnsWhatWasRendered(t *testing.T) {
	for _, life := range []time.Duration{time.Second, time.Minute, 15 * time.Minute, time.Hour, 12 * time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			want := testCredentials(life)
			s := secret.Render(target(t), want, nil)
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

func TestRead_Errors(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*corev1.Secret)
		want string
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
		t.Run(c.name, func(t *testing.T) {
			s := secret.Render(target(t), testCredentials(time.Hour), nil)
			c.edit(s)
			got, err := secret.Read(s)
			if err == nil {
				t.Fatal("accepted")
			}
			if got != (credentials.Credentials{}) {
				t.Errorf("got %+v with the error", got)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %q, want it to contain %q", err, c.want)
			}
			for _, leak := range []string{"s3cr3t", "IQoJ", "ASIAEXAMPLE", "12345"} {
				if strings.Contains(err.Error(), leak) {
					t.Errorf("error contains data of the Secret: %q", err)
				}
			}
		})
	}
}

// without returns an edit that removes a field from credentials.json.
func without(field string) func(*corev1.Secret) {
	return func(s *corev1.Secret) {
		var fields map[string]any
		_ = json.Unmarshal(s.Data["credentials.json"], &fields)
		delete(fields, field)
		s.Data["credentials.json"], _ = json.Marshal(fields)
	}
}

// The Secrets of zalando-incubator/kube-aws-iam-controller, which users migrate from, have no time
// of issue.
func TestRead_UpstreamSecret(t *testing.T) {
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
	if !secret.IsManaged(upstream) {
		t.Error("is not managed")
	}
	if intact(upstream, target(t)) {
		t.Error("is intact, so that it would never get the keys that upstream does not write")
	}
}

func TestReadLifetime(t *testing.T) {
	for _, c := range []struct {
		name             string
		expire, issuedAt string
		issued           time.Time
		fails            bool
	}{
		{name: "as written", expire: "2026-11-21T02:00:00Z", issuedAt: "2026-11-21T00:00:00Z", issued: issued},
		{name: "no time of issue, so an hour is assumed", expire: "2026-11-21T02:00:00Z", issued: issued.Add(time.Hour)},
		{name: "an invalid time of issue, so an hour is assumed", expire: "2026-11-21T02:00:00Z", issuedAt: "yesterday", issued: issued.Add(time.Hour)},
		{name: "issued after the expiry, so an hour is assumed", expire: "2026-11-21T02:00:00Z", issuedAt: "2026-11-21T03:00:00Z", issued: issued.Add(time.Hour)},
		{name: "issued at the expiry", expire: "2026-11-21T02:00:00Z", issuedAt: "2026-11-21T02:00:00Z", issued: issued.Add(2 * time.Hour)},
		{name: "no expiry", issuedAt: "2026-11-21T00:00:00Z", fails: true},
		{name: "an invalid expiry", expire: "1795219200", issuedAt: "2026-11-21T00:00:00Z", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := secret.Render(target(t), testCredentials(time.Hour), nil)
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

func TestIsManaged(t *testing.T) {
	for _, c := range []struct {
		name   string
		labels map[string]string
		want   bool
	}{
		{"no labels", nil, false},
		{"another heritage", map[string]string{"heritage": "Helm"}, false},
		{"the value under another label", map[string]string{"app": "kube-aws-iam-controller"}, false},
		{"the label", map[string]string{"heritage": "kube-aws-iam-controller", "a": "b"}, true},
		{"of an AWSIAMRole", map[string]string{"heritage": "kube-aws-iam-controller", "type": "awsiamrole"}, true},
		{"with another type", map[string]string{"heritage": "kube-aws-iam-controller", "type": "x"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := secret.IsManaged(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: c.labels}}); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// intact reduces a Secret, as the cache does, and reports whether it is intact.
func intact(s *corev1.Secret, to secret.Target) bool { return secret.Intact(reduced(s, to), to) }

func reduced(s *corev1.Secret, to secret.Target) *corev1.Secret {
	s = s.DeepCopy()
	secret.Reduce(s, to.Files)
	return s
}

func TestReduce_RemovesCredentials(t *testing.T) {
	want := testCredentials(time.Hour)
	s := secret.Render(target(t), want, nil)
	s.Data["notes"] = []byte("s3cr3t")
	s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	s.UID, s.ResourceVersion = "u-1", "42"
	got := reduced(s, target(t))
	if text := fmt.Sprintf("%+v %q", got, got.Data); strings.Contains(text, want.SecretAccessKey.Reveal()) || strings.Contains(text, want.SessionToken.Reveal()) ||
		strings.Contains(text, "s3cr3t") || strings.Contains(text, "kubectl") {
		t.Errorf("credentials or managed fields are left: %s", text)
	}
	if got.UID != "u-1" || got.ResourceVersion != "42" || got.Name != s.Name || got.Namespace != s.Namespace {
		t.Errorf("the identity has changed: %s/%s", got.Namespace, got.Name)
	}
	known := secret.ReadReduced(got)
	if known.AccessKeyID != want.AccessKeyID || known.Issued != want.Issued || known.Expires != want.Expires || known.UsableUntil() != want.UsableUntil() {
		t.Errorf("ReadReduced returns %+v", known)
	}
	if again := reduced(got, target(t)); !reflect.DeepEqual(again, got) {
		t.Errorf("Reduce is not idempotent: %+v", again)
	}
}

func TestReadReduced_InvalidSecret(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Secret){
		"empty":  func(s *corev1.Secret) { s.Data = nil },
		"broken": func(s *corev1.Secret) { s.Data["credentials.json"] = []byte("{") },
		"no expiry": func(s *corev1.Secret) {
			without("Expiration")(s)
			delete(s.Data, "expire")
		},
		"bad expiry": func(s *corev1.Secret) { s.Data["expire"] = []byte("tomorrow") },
	} {
		t.Run(name, func(t *testing.T) {
			s := secret.Render(target(t), testCredentials(time.Hour), nil)
			edit(s)
			if known := secret.ReadReduced(reduced(s, target(t))); known != (credentials.Credentials{}) {
				t.Errorf("got %+v", known)
			}
		})
	}
}

// A seed Secret that a user creates has only the output of aws sts assume-role.
func TestRead_SeedFromAUser(t *testing.T) {
	s := secret.Render(target(t), testCredentials(time.Hour), nil)
	s.Data, s.Annotations = map[string][]byte{"credentials.json": []byte(`{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"k","SessionToken":"t","Expiration":"2026-11-21T01:00:00+00:00"}`)}, nil
	got, err := secret.Read(s)
	if err != nil || !got.Expires.Equal(issued.Add(time.Hour)) || !got.Issued.Equal(issued) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if known := secret.ReadReduced(reduced(s, target(t))); !known.Expires.Equal(got.Expires) || known.AccessKeyID != got.AccessKeyID || intact(s, target(t)) {
		t.Errorf("reduced: %+v, intact: %t", known, intact(s, target(t)))
	}
}

// Users cannot forge the facts of a reduced Secret: the API server stores StringData as Data.
func TestReduce_ForgedFacts(t *testing.T) {
	s := secret.Render(target(t), testCredentials(time.Hour), nil)
	s.Data = map[string][]byte{"expire": s.Data["expire"], "role-arn": s.Data["role-arn"], "access-key-id": []byte("ASIAEXAMPLE"), "complete": nil, "consistent": nil}
	if known := secret.ReadReduced(reduced(s, target(t))); intact(s, target(t)) || known.AccessKeyID != "" {
		t.Errorf("is taken for a Secret with %+v", known)
	}
}

func TestIntact_EditedSecret(t *testing.T) {
	to := target(t)
	// edited tests one edit of a Secret that was intact before.
	edited := func(name string, edit func(*corev1.Secret)) {
		t.Run(name, func(t *testing.T) {
			s := secret.Render(to, testCredentials(time.Hour), nil)
			if !intact(s, to) {
				t.Fatal("is not intact before the edit")
			}
			edit(s)
			if intact(s, to) {
				t.Error("is intact")
			}
		})
	}

	original := secret.Render(to, testCredentials(time.Hour), nil)
	for _, key := range slices.Sorted(maps.Keys(original.Data)) {
		edited(key+" removed", func(s *corev1.Secret) { delete(s.Data, key) })
		edited(key+" emptied", func(s *corev1.Secret) { s.Data[key] = nil })
		edited(key+" extended", func(s *corev1.Secret) { s.Data[key] = append(s.Data[key], '\n') })
		edited(key+" shortened", func(s *corev1.Secret) { s.Data[key] = s.Data[key][:len(s.Data[key])-1] })
		if key == "endpoint-token" { // another token is as good
			continue
		}
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
	edited("issued in the last minute of its lifetime", func(s *corev1.Secret) { s.Annotations["iam.amazonaws.com/issued-at"] = "2026-11-21T00:59:00Z" })
}

func TestIntact_AnotherTarget(t *testing.T) {
	another, err := role.ParseARN("arn:aws:iam::123456789012:role/team/app")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*secret.Target)
	}{
		{"another partition", func(to *secret.Target) { to.Session.Role = another }},
		{"another session name", func(to *secret.Target) { to.Session.Name = "stage.payments.aws-iam-app" }},
		{"another mount path", func(to *secret.Target) { to.MountPath = "/aws" }},
		{"another Region", func(to *secret.Target) { to.Region = "cn-northwest-1" }},
		{"no Region", func(to *secret.Target) { to.Region = "" }},
		{"an empty target", func(to *secret.Target) { *to = secret.Target{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := target(t)
			s := secret.Render(to, testCredentials(time.Hour), nil)
			c.change(&to)
			if intact(s, to) {
				t.Error("is intact")
			}
		})
	}
}

func TestIntact_IgnoresAdditions(t *testing.T) {
	s := secret.Render(target(t), testCredentials(time.Hour), nil)
	s.Labels["team"] = "payments"
	s.Annotations["argocd.argoproj.io/tracking-id"] = "x"
	s.Data["notes"] = []byte("x")
	s.Finalizers = []string{"example.org/hold"}
	if !intact(s, target(t)) {
		t.Error("is not intact")
	}
}

func TestReplace_KeepsIdentityAndAdditions(t *testing.T) {
	to := target(t)
	existing := secret.Render(to, testCredentials(time.Hour), nil)
	existing.UID, existing.ResourceVersion = "u-1", "42"
	existing.Finalizers = []string{"example.org/hold"}
	existing.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "app", UID: "u-2"}, {APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: "app", UID: "u-3"}}
	existing.Labels["team"] = "payments"
	existing.Annotations["note"] = "x"
	existing.Annotations["iam.amazonaws.com/role-arn"] = "edited"
	existing.Data["notes"] = []byte("x")
	before := existing.DeepCopy()

	fresh := testCredentials(2 * time.Hour)
	fresh.AccessKeyID = "ASIAFRESH"
	rendered := secret.Render(to, fresh, nil)
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
		t.Error("keeps another writer's key")
	}
	// The existing Secret belongs to the cache and must not change.
	wantMap(t, "labels of the existing Secret", existing.Labels, before.Labels)
	wantMap(t, "annotations of the existing Secret", existing.Annotations, before.Annotations)
	if !bytes.Equal(existing.Data["credentials.json"], before.Data["credentials.json"]) {
		t.Error("the existing Secret's data changed")
	}
}

// The labels of an AWSIAMRole's Secret are those of the AWSIAMRole and the controller's own two,
// which the AWSIAMRole cannot override.
func TestReplace_SecretOfAnAWSIAMRole(t *testing.T) {
	to := target(t)
	to.Owner = &metav1.OwnerReference{APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: "app", UID: "u-2"}
	to.Labels = map[string]string{"team": "payments", "heritage": "mine", "type": "mine"}
	s := secret.Render(to, testCredentials(time.Hour), nil)
	wantMap(t, "labels", s.Labels, map[string]string{"team": "payments", "heritage": "kube-aws-iam-controller", "type": "awsiamrole"})
	if !secret.BelongsToAWSIAMRole(s) || !secret.IsManaged(s) || len(s.OwnerReferences) != 1 || !intact(s, to) {
		t.Errorf("owners %v", s.OwnerReferences)
	}
	if intact(s, target(t)) || intact(secret.Render(target(t), testCredentials(time.Hour), nil), to) {
		t.Error("a Secret for pods is intact for an AWSIAMRole, or the reverse")
	}

	to.Labels, to.Owner.UID = map[string]string{"app": "x"}, "u-3"
	if intact(s, to) {
		t.Error("the Secret of a deleted AWSIAMRole is intact for its successor")
	}
	got := secret.Replace(s.ObjectMeta, secret.Render(to, testCredentials(time.Hour), nil))
	wantMap(t, "labels after a change", got.Labels, map[string]string{"app": "x", "heritage": "kube-aws-iam-controller", "type": "awsiamrole"})
	if len(got.OwnerReferences) != 1 || got.OwnerReferences[0].UID != "u-3" {
		t.Errorf("owners %v", got.OwnerReferences)
	}
	back := secret.Replace(s.ObjectMeta, secret.Render(target(t), testCredentials(time.Hour), nil))
	if len(back.OwnerReferences) != 0 || secret.BelongsToAWSIAMRole(back) {
		t.Errorf("for pods again: owners %v, labels %v", back.OwnerReferences, back.Labels)
	}
}

func TestIsManaged_AnotherControllerOwns(t *testing.T) {
	yes := true
	s := secret.Render(target(t), testCredentials(time.Hour), nil)
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.org/v1", Kind: "ExternalSecret", Name: "x", UID: "u", Controller: &yes}}
	if secret.IsManaged(s) {
		t.Error("is managed")
	}
}

func TestReplace_RestoresEmptySecret(t *testing.T) {
	rendered := secret.Render(target(t), testCredentials(time.Hour), nil)
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
