package request_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/request"
)

// serviceAccount returns a ServiceAccount with annotations: key, value, key, value…
func serviceAccount(name string, keysAndValues ...string) *metav1.PartialObjectMetadata {
	account := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: "u", ResourceVersion: "7", Annotations: map[string]string{}}}
	for pair := range slices.Chunk(keysAndValues, 2) {
		account.Annotations[pair[0]] = pair[1]
	}
	return account
}

func TestFromServiceAccount(t *testing.T) {
	const arn = "arn:aws-cn:iam::123456789012:role/team/Stack-OrdersRole-1AB2C3"
	for _, c := range []struct {
		name        string
		annotations []string
		want        request.Request // nothing is asked for if it is empty
	}{
		{"no annotation", nil, request.Request{}},
		{"annotations of others", []string{"example.org/role", "app"}, request.Request{}},
		{"all annotations but a role", []string{request.DurationAnnotation, "900", request.AudienceAnnotation, "a", request.KeysAnnotation, "true"}, request.Request{}},
		{"an empty role", []string{request.RoleAnnotation, ""}, request.Request{}},
		{"a name", []string{request.RoleAnnotation, "app"}, request.Request{Role: "app"}},
		{"a name that no Secret can have", []string{request.RoleAnnotation, "Stack_App+=,@"}, request.Request{Role: "Stack_App+=,@"}},
		{"a name with a path", []string{request.RoleAnnotation, "team/app"}, request.Request{Role: "team/app"}},
		{"an ARN", []string{request.RoleAnnotation, arn}, request.Request{Role: arn}},
		{"EKS's annotation", []string{request.RoleARNAnnotation, arn}, request.Request{Role: arn}},
		{"both annotations", []string{request.RoleAnnotation, "app", request.RoleARNAnnotation, arn}, request.Request{Role: "app"}},
		{"an empty role and EKS's annotation", []string{request.RoleAnnotation, "", request.RoleARNAnnotation, arn}, request.Request{Role: arn}},
		{"the least duration", []string{request.RoleAnnotation, "app", request.DurationAnnotation, "900"}, request.Request{Role: "app", Duration: 15 * time.Minute}},
		{"the longest duration", []string{request.RoleAnnotation, "app", request.DurationAnnotation, "43200"}, request.Request{Role: "app", Duration: 12 * time.Hour}},
		{"no duration", []string{request.RoleAnnotation, "app", request.DurationAnnotation, ""}, request.Request{Role: "app"}},
		{"an audience", []string{request.RoleARNAnnotation, arn, request.AudienceAnnotation, "sts.example.org"}, request.Request{Role: arn, Audience: "sts.example.org"}},
		{"keys", []string{request.RoleAnnotation, "app", request.KeysAnnotation, "true"}, request.Request{Role: "app", Keys: true}},
		{"a mount path", []string{request.RoleAnnotation, "app", request.MountPathAnnotation, "/meta/second"}, request.Request{Role: "app", MountPath: "/meta/second"}},
		{"no keys", []string{request.RoleAnnotation, "app", request.KeysAnnotation, "false"}, request.Request{Role: "app"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, asks := request.FromServiceAccount(serviceAccount("orders", c.annotations...))
			if asks != (c.want.Role != "") {
				t.Fatalf("asks for something: %t", asks)
			}
			if !asks {
				return
			}
			if got.Secret != "aws-iam.orders" || got.ServiceAccount() != "orders" {
				t.Errorf("Secret %q of ServiceAccount %q", got.Secret, got.ServiceAccount())
			}
			if got.Role != c.want.Role || got.Duration != c.want.Duration || got.Audience != c.want.Audience || got.Keys != c.want.Keys || got.MountPath != c.want.MountPath {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if err := got.Validate(); err != nil {
				t.Errorf("rejected: %v", err)
			}
		})
	}
}

func TestFromServiceAccount_RejectsMistakes(t *testing.T) {
	const account = `ServiceAccount "orders"`
	for _, c := range []struct {
		name, account string
		annotations   []string
		want          []string // parts of the error
	}{
		{"a role with a space", "orders", []string{request.RoleAnnotation, "my app"}, []string{account, request.RoleAnnotation, `"my app"`, "arn:aws:iam::"}},
		{"a role with a line feed", "orders", []string{request.RoleAnnotation, "app\n"}, []string{request.RoleAnnotation, "write the role's name"}},
		{"EKS's annotation is no role", "orders", []string{request.RoleARNAnnotation, "arn:aws:iam::123456789012:user/app"}, []string{account, request.RoleARNAnnotation, "not the ARN of a role"}},
		{"an account of no digits", "orders", []string{request.RoleAnnotation, "arn:aws:iam::me:role/app"}, []string{"twelve digits"}},
		{"a name of 65 characters", "orders", []string{request.RoleAnnotation, strings.Repeat("a", 65)}, []string{request.RoleAnnotation, "IAM allows 64"}},
		{"a role that is too long", "orders", []string{request.RoleAnnotation, strings.Repeat("a", 5000)}, []string{request.RoleAnnotation, "640"}},
		{"a duration with a unit", "orders", []string{request.RoleAnnotation, "app", request.DurationAnnotation, "1h"}, []string{account, request.DurationAnnotation, `"1h"`, "900", "43200"}},
		{"a duration that is too short", "orders", []string{request.RoleAnnotation, "app", request.DurationAnnotation, "899"}, []string{`"899"`}},
		{"a duration that is too long", "orders", []string{request.RoleAnnotation, "app", request.DurationAnnotation, "43201"}, []string{`"43201"`}},
		{"a duration that is no int64", "orders", []string{request.RoleAnnotation, "app", request.DurationAnnotation, strings.Repeat("9", 100)}, []string{request.DurationAnnotation}},
		{"an audience that is too long", "orders", []string{request.RoleAnnotation, "app", request.AudienceAnnotation, strings.Repeat("a", 256)}, []string{request.AudienceAnnotation, "255"}},
		{"keys that are neither", "orders", []string{request.RoleAnnotation, "app", request.KeysAnnotation, "yes"}, []string{request.KeysAnnotation, `"yes"`, `"true"`}},
		{"a relative mount path", "orders", []string{request.RoleAnnotation, "app", request.MountPathAnnotation, "meta"}, []string{account, request.MountPathAnnotation, `"meta"`, "such as /meta/aws-iam"}},
		{"a mount path for the shell", "orders", []string{request.RoleAnnotation, "app", request.MountPathAnnotation, "/meta/$(id)"}, []string{request.MountPathAnnotation, "letters, digits and ._/-"}},
		{"a mount path with ..", "orders", []string{request.RoleAnnotation, "app", request.MountPathAnnotation, "/meta/../etc"}, []string{request.MountPathAnnotation}},
		{"a mount path of two lines", "orders", []string{request.RoleAnnotation, "app", request.MountPathAnnotation, "/meta\n[profile x]"}, []string{request.MountPathAnnotation}},
		{"a mount path that is too long", "orders", []string{request.RoleAnnotation, "app", request.MountPathAnnotation, "/" + strings.Repeat("a", 256)}, []string{request.MountPathAnnotation, "256"}},
		{"a name that does not fit", strings.Repeat("o", 246), []string{request.RoleAnnotation, "app"}, []string{"245", "aws-iam.<serviceaccount>"}},
		{"the longest name", strings.Repeat("o", 253), []string{request.RoleAnnotation, "app"}, []string{"245"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, asks := request.FromServiceAccount(serviceAccount(c.account, c.annotations...))
			err := got.Validate()
			if !asks || err == nil {
				t.Fatalf("asks: %t; accepted", asks)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
		})
	}
	if r, _ := request.FromServiceAccount(serviceAccount(strings.Repeat("o", 245), request.RoleAnnotation, "app")); r.Validate() != nil {
		t.Errorf("the longest name that fits: %v", r.Validate())
	}
}

func TestReduceServiceAccount(t *testing.T) {
	if request.ReduceServiceAccount(serviceAccount("orders", request.KeysAnnotation, "true")) {
		t.Error("keeps one that asks for nothing")
	}
	account := serviceAccount("orders", request.RoleAnnotation, "app", request.DurationAnnotation, "900", "example.org/large", strings.Repeat("x", 1<<17))
	account.Labels = map[string]string{"a": "b"}
	account.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	if !request.ReduceServiceAccount(account) {
		t.Fatal("drops one that asks")
	}
	if account.Namespace != "n" || account.Name != "orders" || account.UID != "u" || account.ResourceVersion != "7" || len(account.Annotations) != 2 || account.Labels != nil || account.ManagedFields != nil {
		t.Errorf("keeps %+v", account.ObjectMeta)
	}
}

// Most ServiceAccounts of a cluster ask for nothing.
func TestReduceServiceAccount_AllocatesNothingForThoseThatDoNotAsk(t *testing.T) {
	account := serviceAccount("orders", "example.org/other", "x")
	if n := testing.AllocsPerRun(100, func() { request.ReduceServiceAccount(account) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFromPod_OnlyPodsOfTheServiceAccountHaveItsSecret(t *testing.T) {
	long := strings.Repeat("o", 246)
	for _, c := range []struct {
		name, account, secret string
		want                  []string // parts of the error; if there are none, it is valid
	}{
		{"its own", "orders", "aws-iam.orders", nil},
		{"its own, with a dot", "orders.eu", "aws-iam.orders.eu", nil},
		{"the default ServiceAccount's", "", "aws-iam.default", nil},
		{"a role of another's name", "orders", "aws-iam-billing", nil},
		{"another's", "orders", "aws-iam.billing", []string{`only pods of ServiceAccount "billing"`, `"orders"`, `"aws-iam.orders"`}},
		{"another's that begins alike", "orders", "aws-iam.orders.eu", []string{`only pods of ServiceAccount "orders.eu"`}},
		{"another's of a pod of the default ServiceAccount", "", "aws-iam.orders", []string{`this pod's is "default"`}},
		{"no ServiceAccount's", "orders", "aws-iam.", []string{"names no ServiceAccount: write aws-iam.<serviceaccount>"}},
		{"in upper case", "orders", "aws-iam.Orders", []string{"only pods of", `"aws-iam.orders"`}},
		{"its own that is too long", long, "aws-iam." + long, []string{"at most 245 characters"}},
		{"another's that is too long", "orders", "aws-iam." + strings.Repeat("x", 1<<20), []string{"at most 245 characters"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(volume("v", c.secret), as(c.account))
			requests := request.FromPod(p, mountPath)
			if len(requests) != 1 {
				t.Fatalf("requests %v", requests)
			}
			err := requests[0].Validate()
			if len(c.want) == 0 {
				if err != nil {
					t.Errorf("rejected: %v", err)
				}
				return
			}
			for _, part := range c.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
		})
	}
}

// A ServiceAccount's Secret gets the warnings that a role's gets.
func TestFromPod_WarnsAboutTheSecretOfAServiceAccount(t *testing.T) {
	p := pod(optional(volume("v", "aws-iam.app")), as("app"), container("c", mount("v", "/elsewhere"), env("aws-iam.app")), container("d", subPath("v", "/x")))
	requests := request.FromPod(p, mountPath)
	var reasons []string
	for _, w := range requests[0].WarningsFor(request.Request{}, mountPath) {
		reasons = append(reasons, w.Reason)
		if !strings.Contains(w.Note, `"aws-iam.app"`) {
			t.Errorf("does not name the Secret: %s", w.Note)
		}
	}
	if want := []string{request.OptionalSecret, request.MountPathMismatch, request.NeverRefreshed, request.NeverRefreshed}; !slices.Equal(reasons, want) {
		t.Errorf("warnings %q", reasons)
	}
}

func TestServiceAccountOf(t *testing.T) {
	for secret, want := range map[string]string{"aws-iam.app": "app", "aws-iam.a.b": "a.b", "aws-iam.aws-iam.x": "aws-iam.x"} {
		if name, ok := request.ServiceAccountOf(secret); !ok || name != want {
			t.Errorf("%s: %q, %t", secret, name, ok)
		}
	}
	for _, secret := range []string{"aws-iam-app", "aws-iam", "", "tls", "my-aws-iam.app"} {
		if _, ok := request.ServiceAccountOf(secret); ok {
			t.Errorf("%s is taken for that of a ServiceAccount", secret)
		}
	}
}

func TestFromAWSIAMRole_RejectsNamesOfOtherSecrets(t *testing.T) {
	for name, invalid := range map[string]bool{
		"aws-iam.app": true, "aws-role.0app0": true, "aws-iam.": true, "aws-iam-app": false, "aws-role-app": false, "app": false, "my-aws-iam.app": false,
	} {
		r := &v1.AWSIAMRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
		r.Spec.RoleReference = "app"
		got := request.FromAWSIAMRole(r)
		err := got.Validate()
		if (err != nil) != invalid || got.ServiceAccount() != "" {
			t.Errorf("%s: %v; ServiceAccount %q", name, err, got.ServiceAccount())
		}
		if err != nil && !strings.Contains(err.Error(), "another name") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
