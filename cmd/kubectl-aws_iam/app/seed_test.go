package app

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/test/env"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	seedRole = "arn:aws:iam::123456789012:role/kube-aws-iam-controller"
	seedName = "aws-iam-kube-aws-iam-controller"
)

// loginToAWS gives the plugin's user AWS credentials.
func (n *namespace) loginToAWS() {
	n.Helper()
	keys := suite.STS.AddUser(env.Account, "admin-"+n.name)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": suite.STS.URL, "AWS_REGION": env.Region, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY": keys.SecretAccessKey,
	} {
		n.Setenv(name, value)
	}
}

func (n *namespace) secret(name string) *corev1.Secret {
	n.Helper()
	var s corev1.Secret
	n.must(suite.Cluster.Get(n.Context(), client.ObjectKey{Namespace: n.name, Name: name}, &s))
	return &s
}

func (n *namespace) seed(args ...string) result {
	n.Helper()
	return n.run(append([]string{"seed", "--namespace", n.name}, args...)...)
}

func TestSeed(t *testing.T) {
	n := newNamespace(t)
	n.loginToAWS()
	if got := n.seed(seedRole, "--dry-run"); got.code != 0 || got.out != "This was a dry run: nothing was written.\n" {
		t.Fatalf("%+v", got)
	}
	got := n.seed(seedRole)
	if got.code != 0 || !strings.Contains(got.err, "Assuming "+seedRole+" as arn:aws:iam::123456789012:user/admin-") {
		t.Fatalf("%+v", got)
	}
	s := n.secret(seedName)
	var keys struct{ AccessKeyID, SecretAccessKey, SessionToken, Expiration string }
	n.must(json.Unmarshal(s.Data["credentials.json"], &keys))
	if s.Type != corev1.SecretTypeOpaque || len(s.Labels)+len(s.Annotations) > 0 || keys.SessionToken == "" || keys.Expiration != string(s.Data["expire"]) ||
		!strings.Contains(got.out, "valid until "+keys.Expiration) || !strings.Contains(got.out, "--seed-secret="+n.name+"/"+seedName+"\n") ||
		string(s.Data["credentials.process"]) != "[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n" {
		t.Errorf("%v, expires at %s: %+v", s.ObjectMeta, keys.Expiration, got)
	}

	// Again. Without the label heritage, as the controller of the suite would delete the Secret.
	s.Labels = map[string]string{"team": "platform", "type": "awsiamrole"}
	s.Annotations = map[string]string{"iam.amazonaws.com/role-arn": seedRole, "iam.amazonaws.com/issued-at": "2020-01-01T00:00:00Z", "example.org/note": "keep"}
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "zalando.org/v1", Kind: "AWSIAMRole", Name: "other", UID: "1-2-3"}}
	s.Data["credentials"] = []byte("old")
	n.must(suite.Cluster.Update(t.Context(), s))
	if got := n.seed(seedRole); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	again := n.secret(seedName)
	if again.UID != s.UID || again.Labels["team"] != "platform" || again.Labels["type"] != "" || len(again.OwnerReferences) > 0 {
		t.Errorf("uid or labels changed, or an owner remains: %v", again.ObjectMeta)
	}
	if again.Annotations["example.org/note"] == "" || again.Annotations["iam.amazonaws.com/issued-at"] != "" || len(again.Data) != 3 ||
		bytes.Equal(again.Data["credentials.json"], s.Data["credentials.json"]) {
		t.Errorf("annotations are %v, %d keys", again.Annotations, len(again.Data))
	}
}

func TestSeed_Trust(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/unseeded"
	n := newNamespace(t)
	n.loginToAWS()
	t.Cleanup(func() { suite.STS.Trust(role, nil) })
	suite.STS.Trust(role, func(call ststest.Call) bool { return call.CallerRoleARN == "" })
	if got := n.seed(role); got.code != 1 || got.out != "" || !strings.Contains(got.err, `"Principal": {"AWS": "`+role+`"}`) {
		t.Errorf("%+v", got)
	}
	suite.STS.Trust(role, func(call ststest.Call) bool { return len(call.Tags) == 0 })
	if got := n.seed(role); got.code != 0 || !strings.Contains(got.err, "cannot tag its own sessions") {
		t.Errorf("%+v", got)
	}
	suite.STS.Trust(role, func(ststest.Call) bool { return false })
	if got := n.seed(role); got.code != 1 || !strings.Contains(got.err, "could not assume "+role) || !strings.Contains(got.err, "AccessDenied") {
		t.Errorf("%+v", got)
	}
}

// TestSeed_Foreign is about Secrets that are not overwritten.
func TestSeed_Foreign(t *testing.T) {
	const process = "credentials.json"
	n := newNamespace(t)
	n.loginToAWS()
	for name, s := range map[string]*corev1.Secret{
		"other-key":  {StringData: map[string]string{process: "{}", "password": "x"}},
		"no-key":     {},
		"owned":      {ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "x", UID: "1"}}}, StringData: map[string]string{process: "{}"}},
		"labeled":    {ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"heritage": "Helm"}}, StringData: map[string]string{process: "{}"}},
		"other-role": {ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"iam.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/x"}}, StringData: map[string]string{process: "{}"}},
		"typed":      {Type: "example.org/type", StringData: map[string]string{process: "{}"}},
		"immutable":  {Immutable: new(true), StringData: map[string]string{process: "{}"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := n.in(t)
			s.Namespace, s.Name = n.name, name
			n.create(s)
			got := n.seed(seedRole, "--name", name)
			if got.code != 1 || got.out != "" || n.secret(name).ResourceVersion != s.ResourceVersion {
				t.Errorf("%+v", got)
			}
			never := name == "typed" || name == "immutable"
			if forced := n.seed(seedRole, "--name", name, "--force"); (forced.code == 0) == never {
				t.Errorf("with --force: %+v", forced)
			}
			if !never && !strings.Contains(got.err, "does not look like a seed. ") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestSeed_Arguments(t *testing.T) {
	n := newNamespace(t)
	n.loginToAWS()
	for want, args := range map[string][]string{
		"error: --duration=100: STS allows":           {seedRole, "--duration", "100"},
		"error: which role?":                          nil,
		"error: no Secret can be named \"A\"":         {seedRole, "--name", "A"},
		"error: a Secret aws-iam-... is for the role": {seedRole, "--name", "aws-iam-x"},
		"error: accepts at most 1 arg(s)":             {seedRole, seedRole},
	} {
		if got := n.seed(args...); got.code != 1 || got.out != "" || !strings.HasPrefix(got.err, want) {
			t.Errorf("%q: %+v", args, got)
		}
	}
	for role, name := range map[string]string{"KubeController": "kube-aws-iam-controller-seed", "path/kube": "kube-aws-iam-controller-seed"} {
		if got := n.seed("arn:aws:iam::123456789012:role/" + role); got.code != 0 || n.secret(name).Name == "" || !strings.Contains(got.out, n.name+"/"+name) {
			t.Errorf("%s: %+v", role, got)
		}
		n.must(suite.Cluster.Delete(t.Context(), n.secret(name)))
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")
	if got := n.seed(seedRole); got.code != 1 || !strings.Contains(got.err, "you have no valid AWS credentials") {
		t.Errorf("%+v", got)
	}
}
