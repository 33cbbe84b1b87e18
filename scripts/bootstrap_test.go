// Package scripts_test runs the scripts as a user would: with the AWS CLI and kubectl, against a real API server and a double of STS.
package scripts_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/credentials/ststest"
)

const (
	account  = "123456789012"
	role     = "arn:aws:iam::123456789012:role/kube-aws-iam-controller"
	seedName = "aws-iam-kube-aws-iam-controller"
	process  = "[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n"
	// roleARN is an annotation that the controller puts on its Secrets.
	roleARN = "iam.amazonaws.com/role-arn"
)

// TestBootstrap gives each case a namespace and an STS of its own.
func TestBootstrap(t *testing.T) {
	t.Parallel()
	c := start(t)
	t.Run("puts a seed where there is none", c.desk(t).testFresh)
	t.Run("takes the user's profile", c.desk(t).testProfile)
	t.Run("replaces an expired seed", c.desk(t).testAgain)
	t.Run("refuses a role that does not trust itself", c.desk(t).testTrust)
	t.Run("says if the role cannot tag its own sessions", c.desk(t).testTags)
	t.Run("says who may not assume the role", c.desk(t).testDenied)
	t.Run("says that there are no credentials", c.desk(t).testNoCredentials)
	t.Run("says why a longer session is refused", c.desk(t).testDuration)
	t.Run("leaves foreign Secrets alone", c.desk(t).testForeign)
	t.Run("notices if the Secret changes meanwhile", c.desk(t).testConflict)
	t.Run("takes another name for a role whose name no Secret can have", c.desk(t).testUpperCase)
	t.Run("ignores --awsiamrole", c.desk(t).testAWSIAMRole)
	t.Run("works in other partitions", c.desk(t).testPartition)
	t.Run("writes nothing in a dry run", c.desk(t).testDryRun)
	t.Run("is the same by hand", c.desk(t).testByHand)
	t.Run("refuses arguments that make no sense", c.desk(t).testArguments)
}

func (d *desk) testFresh(t *testing.T) {
	t.Parallel()
	d.bash = []string{"-x"} // a trace must not show the keys either
	out := d.succeed(t, role)

	s := d.seed(t, seedName)
	if s.Type != corev1.SecretTypeOpaque || len(s.Labels)+len(s.Annotations)+len(s.OwnerReferences) > 0 {
		t.Errorf("the Secret has more than data: %v, type %s", s.ObjectMeta, s.Type)
	}
	for _, want := range []string{"kubectl apply -k config/overlays/seed\n", "good until " + string(s.Data["expire"]), "user/admin"} {
		contains(t, out, want)
	}
	d.assertUsable(t, s)
	calls := d.sts.Calls()
	own := calls[2] // after GetCallerIdentity and AssumeRole by the user
	if own.CallerRoleARN != role || own.RoleARN != role || own.Tags["kubernetes-namespace"] == "" {
		t.Errorf("the role did not assume itself with a tag: %+v", own)
	}
}

func (d *desk) testProfile(t *testing.T) {
	t.Parallel()
	d.write(t, "home/.aws/config", "[profile seeding]\nregion = eu-central-1\ncli_timestamp_format = iso8601\n") // as AWS CLI 2 does
	d.write(t, "home/.aws/credentials", fmt.Sprintf("[seeding]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		d.env["AWS_ACCESS_KEY_ID"], d.env["AWS_SECRET_ACCESS_KEY"]))
	maps.DeleteFunc(d.env, func(name, _ string) bool { return strings.HasPrefix(name, "AWS_") && strings.Contains(name, "KEY") })
	delete(d.env, "AWS_REGION")
	d.env["AWS_PROFILE"] = "seeding"
	// Some tools that log in set these beside the usual ones.
	d.env["AWS_SECURITY_TOKEN"] = "stale"
	d.env["AWS_CREDENTIAL_EXPIRATION"] = time.Now().Format(time.RFC3339)

	d.succeed(t, role)
	d.seed(t, seedName)
	calls := d.sts.Calls()
	if first, last := calls[0], calls[len(calls)-1]; first.CallerRoleARN != "" || last.CallerRoleARN != role {
		t.Errorf("called by %s at first and %s at last, want the user and the role", first.Caller, last.Caller)
	}
}

func (d *desk) testAgain(t *testing.T) {
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
	d.create(t, old)
	d.succeed(t, role)

	s := d.seed(t, seedName)
	if s.UID != old.UID || s.Labels["team"] != "platform" || s.Labels["heritage"] == "" || s.Labels["type"] != "" || len(s.OwnerReferences) > 0 {
		t.Errorf("uid or labels did not stay, or an owner did: %v", s.ObjectMeta)
	}
	if want := map[string]string{roleARN: role, "example.org/note": "keep"}; !maps.Equal(s.Annotations, want) {
		t.Errorf("annotations %v, want %v", s.Annotations, want)
	}
	d.succeed(t, role)
	if d.seed(t, seedName).ResourceVersion == s.ResourceVersion {
		t.Error("a good seed was not replaced")
	}
}

func (d *desk) testTrust(t *testing.T) {
	t.Parallel()
	d.sts.Trust(role, func(c ststest.Call) bool { return c.CallerRoleARN == "" })
	out := d.fail(t, role)
	for _, want := range []string{
		"does not trust itself", `"Principal": {"AWS": "` + role + `"}`, `"Action": ["sts:AssumeRole", "sts:TagSession"]`,
		"update-assume-role-policy --role-name kube-aws-iam-controller ", "--parameter-overrides Seed=true", "Nothing was written",
	} {
		contains(t, out, want)
	}
	if strings.Contains(d.argv(t), "kubectl") {
		t.Error("the cluster was touched")
	}
}

func (d *desk) testTags(t *testing.T) {
	t.Parallel()
	d.sts.Trust(role, func(c ststest.Call) bool { return len(c.Tags) == 0 })
	contains(t, d.succeed(t, role), "sts:TagSession")
	d.seed(t, seedName)
}

func (d *desk) testDenied(t *testing.T) {
	t.Parallel()
	d.sts.Deny(role)
	out := d.fail(t, role)
	contains(t, out, "arn:aws:iam::123456789012:user/admin could not assume "+role)
	contains(t, out, "AccessDenied")
	d.absent(t)
}

func (d *desk) testNoCredentials(t *testing.T) {
	t.Parallel()
	delete(d.env, "AWS_ACCESS_KEY_ID")
	contains(t, d.fail(t, role), "AWS_PROFILE")
	d.env["AWS_ACCESS_KEY_ID"] = "AKIAUNKNOWN000000000"
	contains(t, d.fail(t, role), "AWS_PROFILE")
	d.absent(t)
}

func (d *desk) testDuration(t *testing.T) {
	t.Parallel()
	contains(t, d.fail(t, "--duration=7200", role), "exceeds the MaxSessionDuration")
	d.absent(t)
	d.sts.SetMaxSessionDuration(role, 2*time.Hour)
	d.succeed(t, "--duration=7200", role)
	if left := time.Until(d.expiry(t, seedName)); left < 110*time.Minute {
		t.Errorf("the seed is good for %s, want two hours", left)
	}
}

func (d *desk) testForeign(t *testing.T) {
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
			d.create(t, s)
			arguments := []string{"--name", s.Name, role}
			if test.force == never {
				arguments = append(arguments, "--force")
			}
			contains(t, d.fail(t, arguments...), test.why)
			if now := d.get(t, s.Name); now.ResourceVersion != s.ResourceVersion {
				t.Error("it was changed")
			}
			if test.force == forced {
				d.succeed(t, append(arguments, "--force")...)
				d.seed(t, s.Name)
			}
		})
	}
}

func (d *desk) testConflict(t *testing.T) {
	t.Parallel()
	d.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: seedName}, StringData: map[string]string{"credentials.json": "{}"}})
	d.env["BEFORE_PATCH"] = "annotate secret " + seedName + " example.org/note=changed --namespace=" + d.namespace
	contains(t, d.fail(t, role), "conflict")
	if s := d.get(t, seedName); string(s.Data["credentials.json"]) != "{}" || len(s.Annotations) != 1 {
		t.Errorf("what changed meanwhile was written over: %v", s)
	}
}

func (d *desk) testUpperCase(t *testing.T) {
	t.Parallel()
	const role = "arn:aws:iam::123456789012:role/infra/KubeController"
	contains(t, d.fail(t, "--name=aws-iam-controller", role), "without that prefix")
	contains(t, d.fail(t, "--name=aws-iam-KubeController", role), "no Secret can be named aws-iam-KubeController")
	if len(d.sts.Calls()) > 0 {
		t.Error("STS was called")
	}
	for name, arguments := range map[string][]string{"kube-aws-iam-controller-seed": {role}, "controller-seed": {"--name=controller-seed", role}} {
		out := d.succeed(t, arguments...)
		d.seed(t, name)
		for _, want := range []string{
			"--seed-secret=" + d.namespace + "/" + name, "secretName: " + name, "value: \"'" + d.namespace + "/" + name + "'\"",
		} {
			contains(t, out, want)
		}
		if strings.Contains(out, "resourceNames") {
			t.Error("it says to grant a right that the seed's name does not need")
		}
	}
	const path = "arn:aws:iam::123456789012:role/infra/controller"
	contains(t, d.succeed(t, "--name=aws-iam-controller", path), "--base-role-arn=arn:aws:iam::123456789012:role/infra/.")
}

// testAWSIAMRole runs what older docs said.
func (d *desk) testAWSIAMRole(t *testing.T) {
	t.Parallel()
	contains(t, d.succeed(t, "--awsiamrole", role), "--awsiamrole is ignored")
	d.seed(t, seedName)
	if strings.Contains(d.argv(t), "awsiamroles") {
		t.Error("an AWSIAMRole was read or made")
	}
}

func (d *desk) testPartition(t *testing.T) {
	t.Parallel()
	const role = "arn:aws-cn:iam::123456789012:role/kube-aws-iam-controller"
	d.env["AWS_REGION"] = "cn-north-1"
	d.succeed(t, role)
	d.seed(t, seedName)
	d.sts.Trust(role, func(c ststest.Call) bool { return c.CallerRoleARN == "" })
	contains(t, d.fail(t, role), `"Principal": {"AWS": "`+role+`"}`)
}

func (d *desk) testDryRun(t *testing.T) {
	t.Parallel()
	contains(t, d.succeed(t, "--dry-run", role), "nothing was written")
	d.absent(t)
	d.succeed(t, role)
	before := d.get(t, seedName).ResourceVersion
	d.succeed(t, "--dry-run", role)
	if d.get(t, seedName).ResourceVersion != before {
		t.Error("the seed was replaced")
	}
}

// testByHand does as docs/bootstrap.md says.
func (d *desk) testByHand(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/bootstrap.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(doc), "```bash\n")
	commands, _, closed := strings.Cut(after, "```")
	if !found || !closed {
		t.Fatal("there are no commands")
	}
	command := exec.CommandContext(t.Context(), "bash", "-e", "-c", strings.ReplaceAll(commands, "kube-system", d.namespace)) //nolint:gosec // it is ours
	d.env["AWS_DEFAULT_REGION"] = d.env["AWS_REGION"]                                                                         // AWS CLI 1 knows only the one
	command.Env = d.environment()
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d.assertUsable(t, d.get(t, seedName))
	d.succeed(t, role)
}

func (d *desk) testArguments(t *testing.T) {
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
		t.Run(arguments, func(t *testing.T) { contains(t, d.fail(t, strings.Fields(arguments)...), want) })
	}
	contains(t, d.succeed(t, "--help"), "usage: scripts/bootstrap.sh")
}

// cluster is an API server with AWSIAMRoles, and the programs that scripts run.
type cluster struct {
	client.Client

	kubeconfig   []byte
	aws, kubectl string
}

// start looks for the programs first: what cannot be run need not be started.
func start(t *testing.T) *cluster {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: make test sets it; on your own: export KUBEBUILDER_ASSETS=$(hack/localapi/build.sh kubectl)")
	}
	// So that go test knows of what the result depends on, and does not take an old one for it.
	if _, err := os.ReadFile("bootstrap.sh"); err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		aws:     program(t, "PATH=$(hack/awscli/install.sh):$PATH", "aws"),
		kubectl: program(t, "KUBEBUILDER_ASSETS=$(hack/localapi/build.sh kubectl)", filepath.Join(assets, "kubectl"), "kubectl"),
	}

	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	cfg, err := env.Start()
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Client, err = client.New(cfg, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	c.kubeconfig = env.KubeConfig
	return c
}

// program finds the first of candidates. Where there is none, the test is skipped, but not in CI.
func program(t *testing.T, remedy string, candidates ...string) string {
	t.Helper()
	for _, candidate := range candidates {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	fail := t.Skipf
	if os.Getenv("CI") == "true" {
		fail = t.Fatalf
	}
	fail("%s: not found; set %s, as make test does", filepath.Base(candidates[0]), remedy)
	return ""
}

// desk is where a user sits: with a shell, an AWS account, and a namespace.
type desk struct {
	*cluster

	sts       *ststest.Server
	namespace string
	env       map[string]string
	folder    string
	bash      []string // options of bash
}

func (c *cluster) desk(t *testing.T) *desk {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bootstrap-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	sts := ststest.New()
	t.Cleanup(sts.Close)
	user := sts.AddUser(account, "admin")

	d := &desk{cluster: c, sts: sts, namespace: namespace.Name, folder: t.TempDir()}
	d.write(t, "home/kubeconfig", string(c.kubeconfig))
	d.write(t, "bin/aws", fmt.Sprintf("#!/bin/sh\necho aws \"$@\" >>%s/argv\nexec %s \"$@\"\n", d.folder, c.aws))
	d.write(t, "bin/kubectl", fmt.Sprintf(`#!/bin/sh
echo kubectl "$@" >>%s/argv
case "$BEFORE_PATCH:$*" in ?*:*patch*) %[2]s $BEFORE_PATCH ;; esac
exec %[2]s "$@"
`, d.folder, c.kubectl))
	d.write(t, "tmp/.keep", "")
	d.env = map[string]string{
		"PATH":                      d.folder + "/bin:" + os.Getenv("PATH"),
		"HOME":                      d.folder + "/home",
		"TMPDIR":                    d.folder + "/tmp",
		"KUBECONFIG":                d.folder + "/home/kubeconfig",
		"AWS_ENDPOINT_URL_STS":      sts.URL,
		"AWS_EC2_METADATA_DISABLED": "true",
		"AWS_REGION":                "eu-central-1",
		"AWS_ACCESS_KEY_ID":         user.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY":     user.SecretAccessKey,
	}
	return d
}

func (d *desk) write(t *testing.T, path, content string) {
	t.Helper()
	path = filepath.Join(d.folder, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil { //nolint:gosec // some of them are programs
		t.Fatal(err)
	}
}

func (d *desk) environment() []string {
	var list []string
	for name, value := range d.env {
		list = append(list, name+"="+value)
	}
	return list
}

func (d *desk) succeed(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := d.bootstrap(t, arguments)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

func (d *desk) fail(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := d.bootstrap(t, arguments)
	if err == nil {
		t.Fatalf("it did not fail: %s", out)
	}
	contains(t, out, "bootstrap.sh: ")
	return out
}

// bootstrap runs the script, and looks whether any secret got out. It returns all that a user sees.
func (d *desk) bootstrap(t *testing.T, arguments []string) (string, error) {
	t.Helper()
	run := slices.Concat(d.bash, []string{"bootstrap.sh", "--namespace", d.namespace}, arguments)
	command := exec.CommandContext(t.Context(), "bash", run...) //nolint:gosec // the test's own
	command.Env = d.environment()
	out, err := command.CombinedOutput()
	t.Logf("%s", out)
	d.assertNoLeak(t, "what it says", string(out))
	return string(out), err
}

func (d *desk) assertNoLeak(t *testing.T, where, text string) {
	t.Helper()
	for secret := range d.sts.IssuedSecrets() {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is in %s", where)
		}
	}
}

// argv is what aws and kubectl were called with.
func (d *desk) argv(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.folder, "argv"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (d *desk) create(t *testing.T, object client.Object) {
	t.Helper()
	object.SetNamespace(d.namespace)
	if err := d.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func (d *desk) get(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	if err := d.Get(t.Context(), client.ObjectKey{Namespace: d.namespace, Name: name}, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// absent asserts that there is no seed.
func (d *desk) absent(t *testing.T) {
	t.Helper()
	err := d.Get(t.Context(), client.ObjectKey{Namespace: d.namespace, Name: seedName}, &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("Secret %s: %v, want none", seedName, err)
	}
}

// seed returns the Secret, and asserts that it is a seed: its content is as documented, and its keys are nowhere else.
func (d *desk) seed(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	s := d.get(t, name)
	if keys := slices.Sorted(maps.Keys(s.Data)); !slices.Equal(keys, []string{"credentials.json", "credentials.process", "expire"}) {
		t.Errorf("keys %v", keys)
	}
	if got := string(s.Data["credentials.process"]); got != process {
		t.Errorf("credentials.process %q, want %q", got, process)
	}
	var content struct {
		Version                 int
		AccessKeyID, Expiration string
	}
	if err := json.Unmarshal(s.Data["credentials.json"], &content); err != nil {
		t.Fatal(err)
	}
	session, known := d.sts.IssuedTo(content.AccessKeyID)
	if expires := session.Expires.Format(time.RFC3339); !known || content.Version != 1 || content.Expiration != expires || string(s.Data["expire"]) != expires {
		t.Errorf("%+v and expire %s are not of the session %+v", content, s.Data["expire"], session)
	}

	d.assertTidy(t)
	return s
}

// assertUsable asserts that the AWS CLI takes the Secret's files for the role's credentials.
func (d *desk) assertUsable(t *testing.T, s *corev1.Secret) {
	t.Helper()
	folder := t.TempDir()
	for key, value := range s.Data {
		text := strings.ReplaceAll(string(value), "/meta/aws-iam", folder)
		if err := os.WriteFile(filepath.Join(folder, key), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), d.aws, "sts", "get-caller-identity") //nolint:gosec // found by the test
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "AWS_SHARED_CREDENTIALS_FILE=" + folder + "/credentials.process",
		"AWS_ENDPOINT_URL_STS=" + d.sts.URL, "AWS_DEFAULT_REGION=eu-central-1", "AWS_EC2_METADATA_DISABLED=true",
	}
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), ":assumed-role/kube-aws-iam-controller/") {
		t.Errorf("the AWS CLI with the seed: %v: %s", err, out)
	}
}

// assertTidy asserts that no secret is left in a file, among them those that list what aws and kubectl were called with; save in those of the user.
func (d *desk) assertTidy(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(d.folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "/.aws/credentials") {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // within the test's own folder
		d.assertNoLeak(t, path, string(content))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func (d *desk) expiry(t *testing.T, name string) time.Time {
	t.Helper()
	expires, err := time.Parse(time.RFC3339, string(d.seed(t, name).Data["expire"]))
	if err != nil {
		t.Fatal(err)
	}
	return expires
}

func contains(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%q is missing in: %s", want, text)
	}
}
