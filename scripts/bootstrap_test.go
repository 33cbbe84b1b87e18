// Package scripts_test runs the scripts as a user would: with the AWS CLI and kubectl, against a
// real API server and a double of STS.
package scripts_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "kube-aws-iam-controller/api/v1"
	ststest "kube-aws-iam-controller/test/sts"
)

const (
	account  = "123456789012"
	role     = "arn:aws:iam::123456789012:role/kube-aws-iam-controller"
	seedName = "aws-iam-kube-aws-iam-controller"
	process  = "[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n"
	// roleARN is an annotation of the controller on its Secrets.
	roleARN = "iam.amazonaws.com/role-arn"
)

// TestBootstrap runs bootstrap.sh. Each case has a namespace and an STS of its own.
func TestBootstrap(t *testing.T) {
	t.Parallel()
	c := start(t)
	t.Run("creates a seed", c.newEnv(t).testFresh)
	t.Run("uses the user's profile", c.newEnv(t).testProfile)
	t.Run("replaces an expired seed", c.newEnv(t).testAgain)
	t.Run("refuses a role that does not trust itself", c.newEnv(t).testTrust)
	t.Run("warns if the role cannot tag its own sessions", c.newEnv(t).testTags)
	t.Run("reports who cannot assume the role", c.newEnv(t).testDenied)
	t.Run("reports missing credentials", c.newEnv(t).testNoCredentials)
	t.Run("reports why a longer session is refused", c.newEnv(t).testDuration)
	t.Run("does not change other Secrets", c.newEnv(t).testForeign)
	t.Run("fails if the Secret changes in the meantime", c.newEnv(t).testConflict)
	t.Run("uses another name for a role whose name no Secret can have", c.newEnv(t).testUpperCase)
	t.Run("ignores --awsiamrole", c.newEnv(t).testAWSIAMRole)
	t.Run("works in other partitions", c.newEnv(t).testPartition)
	t.Run("writes nothing in a dry run", c.newEnv(t).testDryRun)
	t.Run("produces the same as the documented commands", c.newEnv(t).testByHand)
	t.Run("rejects invalid arguments", c.newEnv(t).testArguments)
}

func (e *testEnv) testFresh(t *testing.T) {
	t.Parallel()
	e.bash = []string{"-x"} // a trace must not show the keys either
	out := e.succeed(t, role)

	s := e.seed(t, seedName)
	if s.Type != corev1.SecretTypeOpaque || len(s.Labels)+len(s.Annotations)+len(s.OwnerReferences) > 0 {
		t.Errorf("the Secret has more than data: %v, type %s", s.ObjectMeta, s.Type)
	}
	for _, want := range []string{"kubectl apply -k config/overlays/seed\n", "valid until " + string(s.Data["expire"]), "user/admin"} {
		contains(t, out, want)
	}
	e.assertUsable(t, s)
	calls := e.sts.Calls()
	own := calls[2] // after GetCallerIdentity and AssumeRole by the user
	if own.CallerRoleARN != role || own.RoleARN != role || own.Tags["kubernetes-namespace"] == "" {
		t.Errorf("the role did not assume itself with a tag: %+v", own)
	}
}

func (e *testEnv) testProfile(t *testing.T) {
	t.Parallel()
	e.write(t, "home/.aws/config", "[profile seeding]\nregion = eu-central-1\ncli_timestamp_format = iso8601\n") // the default of AWS CLI 2
	e.write(t, "home/.aws/credentials", fmt.Sprintf("[seeding]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		e.vars["AWS_ACCESS_KEY_ID"], e.vars["AWS_SECRET_ACCESS_KEY"]))
	maps.DeleteFunc(e.vars, func(name, _ string) bool { return strings.HasPrefix(name, "AWS_") && strings.Contains(name, "KEY") })
	delete(e.vars, "AWS_REGION")
	e.vars["AWS_PROFILE"] = "seeding"
	// Some login tools set these too.
	e.vars["AWS_SECURITY_TOKEN"] = "stale"
	e.vars["AWS_CREDENTIAL_EXPIRATION"] = time.Now().Format(time.RFC3339)

	e.succeed(t, role)
	e.seed(t, seedName)
	calls := e.sts.Calls()
	if first, last := calls[0], calls[len(calls)-1]; first.CallerRoleARN != "" || last.CallerRoleARN != role {
		t.Errorf("called by %s at first and %s at last, want the user and the role", first.Caller, last.Caller)
	}
}

func (e *testEnv) testAgain(t *testing.T) {
	t.Parallel()
	owner := metav1.OwnerReference{APIVersion: "zalando.org/v1", Kind: v1.Kind, Name: "other", UID: "1-2-3"}
	old := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:            seedName,
			Labels:          map[string]string{"heritage": "kube-aws-iam-controller", "team": "platform", "type": "awsiamrole"},
			Annotations:     map[string]string{roleARN: role, "example.org/note": "keep", "iam.amazonaws.com/issued-at": "2020-01-01T00:00:00Z"},
			OwnerReferences: []metav1.OwnerReference{owner},
		},
		StringData: map[string]string{"credentials.json": "{}", "credentials": "old", "container.json": "{}", "config": "", "role-arn": role, "expire": "2020-01-01T01:00:00Z"},
	}
	e.create(t, old)
	e.succeed(t, role)

	s := e.seed(t, seedName)
	if s.UID != old.UID || s.Labels["team"] != "platform" || s.Labels["heritage"] == "" || s.Labels["type"] != "" || len(s.OwnerReferences) > 0 {
		t.Errorf("uid or labels changed, or an owner remains: %v", s.ObjectMeta)
	}
	if want := map[string]string{roleARN: role, "example.org/note": "keep"}; !maps.Equal(s.Annotations, want) {
		t.Errorf("annotations %v, want %v", s.Annotations, want)
	}
	e.succeed(t, role)
	if e.seed(t, seedName).ResourceVersion == s.ResourceVersion {
		t.Error("a valid seed was not replaced")
	}
}

func (e *testEnv) testTrust(t *testing.T) {
	t.Parallel()
	e.sts.Trust(role, func(c ststest.Call) bool { return c.CallerRoleARN == "" })
	out := e.fail(t, role)
	for _, want := range []string{
		"does not trust itself", `"Principal": {"AWS": "` + role + `"}`, `"Action": ["sts:AssumeRole", "sts:TagSession"]`,
		"update-assume-role-policy --role-name kube-aws-iam-controller ", "--parameter-overrides Seed=true", "Nothing was written",
	} {
		contains(t, out, want)
	}
	if strings.Contains(e.argv(t), "kubectl") {
		t.Error("kubectl was called")
	}
}

func (e *testEnv) testTags(t *testing.T) {
	t.Parallel()
	e.sts.Trust(role, func(c ststest.Call) bool { return len(c.Tags) == 0 })
	contains(t, e.succeed(t, role), "sts:TagSession")
	e.seed(t, seedName)
}

func (e *testEnv) testDenied(t *testing.T) {
	t.Parallel()
	e.sts.Deny(role)
	out := e.fail(t, role)
	contains(t, out, "arn:aws:iam::123456789012:user/admin could not assume "+role)
	contains(t, out, "AccessDenied")
	e.absent(t)
}

func (e *testEnv) testNoCredentials(t *testing.T) {
	t.Parallel()
	delete(e.vars, "AWS_ACCESS_KEY_ID")
	contains(t, e.fail(t, role), "AWS_PROFILE")
	e.vars["AWS_ACCESS_KEY_ID"] = "AKIAUNKNOWN000000000"
	contains(t, e.fail(t, role), "AWS_PROFILE")
	e.absent(t)
}

func (e *testEnv) testDuration(t *testing.T) {
	t.Parallel()
	contains(t, e.fail(t, "--duration=7200", role), "exceeds the MaxSessionDuration")
	e.absent(t)
	e.sts.SetMaxSessionDuration(role, 2*time.Hour)
	e.succeed(t, "--duration=7200", role)
	if left := time.Until(e.expiry(t, seedName)); left < 110*time.Minute {
		t.Errorf("the seed is valid for %s, want two hours", left)
	}
}

func (e *testEnv) testForeign(t *testing.T) {
	t.Parallel()
	seed := map[string]string{"credentials.json": "{}", "credentials.process": process}
	owned := func(o metav1.OwnerReference) corev1.Secret {
		o.APIVersion, o.Name, o.UID = "example.org/v1", "owner", "1"
		return corev1.Secret{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{o}}, StringData: seed}
	}
	const refused, forced, never = "", "--force", "not even by --force"
	for name, test := range map[string]struct {
		secret corev1.Secret
		why    string
		force  string
	}{
		"type":       {corev1.Secret{Type: "example.org/other", StringData: seed}, "type is example.org/other", never},
		"immutable":  {corev1.Secret{Immutable: new(true), StringData: seed}, "immutable", never},
		"key":        {corev1.Secret{StringData: map[string]string{"credentials.json": "{}", "password": "x"}}, "the key password", forced},
		"no-key":     {corev1.Secret{StringData: map[string]string{"config": "x"}}, "no key credentials.json", refused},
		"owner":      {owned(metav1.OwnerReference{Kind: "Vault"}), "Vault owns it", forced},
		"controller": {owned(metav1.OwnerReference{Kind: v1.Kind, Controller: new(true)}), "AWSIAMRole (controller) owns it", refused},
		"label":      {corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"heritage": "Helm"}}, StringData: seed}, "heritage=Helm", refused},
		"role": {
			corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{roleARN: role + "\n"}}, StringData: seed},
			`kube-aws-iam-controller\n"`, refused,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.secret.DeepCopy()
			s.Name = "seed-" + name
			e.create(t, s)
			arguments := []string{"--name", s.Name, role}
			if test.force == never {
				arguments = append(arguments, "--force")
			}
			contains(t, e.fail(t, arguments...), test.why)
			if now := e.get(t, s.Name); now.ResourceVersion != s.ResourceVersion {
				t.Error("it was changed")
			}
			if test.force == forced {
				e.succeed(t, append(arguments, "--force")...)
				e.seed(t, s.Name)
			}
		})
	}
}

func (e *testEnv) testConflict(t *testing.T) {
	t.Parallel()
	e.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: seedName}, StringData: map[string]string{"credentials.json": "{}"}})
	e.vars["BEFORE_PATCH"] = "annotate secret " + seedName + " example.org/note=changed --namespace=" + e.namespace
	contains(t, e.fail(t, role), "conflict")
	if s := e.get(t, seedName); string(s.Data["credentials.json"]) != "{}" || len(s.Annotations) != 1 {
		t.Errorf("the change in the meantime was overwritten: %v", s)
	}
}

func (e *testEnv) testUpperCase(t *testing.T) {
	t.Parallel()
	const role = "arn:aws:iam::123456789012:role/infra/KubeController"
	contains(t, e.fail(t, "--name=aws-iam-controller", role), "without that prefix")
	contains(t, e.fail(t, "--name=aws-iam-KubeController", role), "no Secret can be named aws-iam-KubeController")
	if len(e.sts.Calls()) > 0 {
		t.Error("STS was called")
	}
	for name, arguments := range map[string][]string{"kube-aws-iam-controller-seed": {role}, "controller-seed": {"--name=controller-seed", role}} {
		out := e.succeed(t, arguments...)
		e.seed(t, name)
		for _, want := range []string{
			"--seed-secret=" + e.namespace + "/" + name, "secretName: " + name, "value: \"'" + e.namespace + "/" + name + "'\"",
		} {
			contains(t, out, want)
		}
		if strings.Contains(out, "resourceNames") {
			t.Error("the output has a right that the seed's name does not need")
		}
	}
	const path = "arn:aws:iam::123456789012:role/infra/controller"
	contains(t, e.succeed(t, "--name=aws-iam-controller", path), "--base-role-arn=arn:aws:iam::123456789012:role/infra/.")
}

// testAWSIAMRole runs the command of older versions.
func (e *testEnv) testAWSIAMRole(t *testing.T) {
	t.Parallel()
	contains(t, e.succeed(t, "--awsiamrole", role), "--awsiamrole is ignored")
	e.seed(t, seedName)
	if strings.Contains(e.argv(t), "awsiamroles") {
		t.Error("an AWSIAMRole was read or created")
	}
}

func (e *testEnv) testPartition(t *testing.T) {
	t.Parallel()
	const role = "arn:aws-cn:iam::123456789012:role/kube-aws-iam-controller"
	e.vars["AWS_REGION"] = "cn-north-1"
	e.succeed(t, role)
	e.seed(t, seedName)
	e.sts.Trust(role, func(c ststest.Call) bool { return c.CallerRoleARN == "" })
	contains(t, e.fail(t, role), `"Principal": {"AWS": "`+role+`"}`)
}

func (e *testEnv) testDryRun(t *testing.T) {
	t.Parallel()
	contains(t, e.succeed(t, "--dry-run", role), "nothing was written")
	e.absent(t)
	e.succeed(t, role)
	before := e.get(t, seedName).ResourceVersion
	e.succeed(t, "--dry-run", role)
	if e.get(t, seedName).ResourceVersion != before {
		t.Error("the seed was replaced")
	}
}

// testByHand runs the commands that docs/bootstrap.md shows.
func (e *testEnv) testByHand(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/bootstrap.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(doc), "```bash\n")
	commands, _, closed := strings.Cut(after, "```")
	if !found || !closed {
		t.Fatal("docs/bootstrap.md shows no commands")
	}
	command := exec.CommandContext(t.Context(), "bash", "-e", "-c", strings.ReplaceAll(commands, "kube-system", e.namespace)) //nolint:gosec // from the project's docs
	e.vars["AWS_DEFAULT_REGION"] = e.vars["AWS_REGION"]                                                                       // AWS CLI 1 reads only this one
	command.Env = e.environment()
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e.assertUsable(t, e.get(t, seedName))
	e.succeed(t, role)
}

func (e *testEnv) testArguments(t *testing.T) {
	t.Parallel()
	for arguments, want := range map[string]string{
		"":                               "which role",
		role + " " + role:                "one role is enough",
		"--bogus " + role:                "no option --bogus",
		"--name":                         "--name needs a value",
		"--name= " + role:                "--name needs a value",
		"--name=a..b " + role:            "no Secret can be named a..b",
		"--namespace=Default " + role:    "no namespace can be named Default",
		"--namespace nowhere-at " + role: `namespaces "nowhere-at" not found`,
		"--context=nowhere " + role:      `context "nowhere" does not exist`,
		"--duration=60 " + role:          "900 to 43200",
		"--duration=0900 " + role:        "900 to 43200",
		"arn:aws:iam::1:role/x":          "is not the ARN of a role",
		"arn:aws:iam::123456789012:role/a'b/kube-aws-iam-controller":   "is not the ARN of a role",
		"arn:aws:iam::123456789012:user/kube-aws-iam-controller":       "is not the ARN of a role",
		"arn:aws:sts::123456789012:assumed-role/kube-aws-iam/sessions": "is not the ARN of a role",
	} {
		t.Run(arguments, func(t *testing.T) { contains(t, e.fail(t, strings.Fields(arguments)...), want) })
	}
	contains(t, e.succeed(t, "--help"), "usage: scripts/bootstrap.sh")
}
