package manifests_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
)

// usage is the right to have pods take the Secrets of AWSIAMRoles, whatever they hold.
func usage(names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{v1.GroupVersion.Group}, Resources: []string{v1.Resource}, Verbs: []string{"use"}, ResourceNames: names}
}

// testPodUse tries the verb use on an AWSIAMRole that is called like the Secret of a role.
func (c *cluster) testPodUse(t *testing.T) {
	c.createAWSIAMRole(t, guarded, "aws-iam-java-example", "aws-iam-example")
	c.grantRule(t, guarded, guardedServiceAccount("uses-role"), usage("java-example"))
	c.grantRule(t, elsewhere, guardedServiceAccount("uses-foreign"), usage("aws-iam-java-example"))
	c.grant(t, guarded, guardedServiceAccount("assumes"), "aws-iam-java-example")
	judge(t, []try{
		{"refused", podRole, c.starts("unbound", secretVolume("aws-iam-java-example"))},
		{"by use", "", c.starts("uses", secretVolume("aws-iam-java-example"))},
		{"by use, in a projected volume", "", c.starts("uses", projectedVolume("aws-iam-java-example"))},
		{"by use, while debugging", "", c.debugs(t, "uses", "aws-iam-java-example")},
		{"use of another Secret refused", podRole, c.starts("uses", secretVolume("aws-iam-orders"))},
		{"use of the role's name refused", podRole, c.starts("uses-role", secretVolume("aws-iam-java-example"))},
		{"use in another namespace refused", podRole, c.starts("uses-foreign", secretVolume("aws-iam-java-example"))},
		{"a role called as the Secret is refused", podRole, c.starts("assumes", secretVolume("aws-iam-java-example"))},
	})
}

// driverVolumes are volumes whose driver is handed a Secret, by their kind.
func driverVolumes(secret string) map[string]corev1.VolumeSource {
	local := &corev1.LocalObjectReference{Name: secret}
	return map[string]corev1.VolumeSource{
		"csi":        {CSI: &corev1.CSIVolumeSource{Driver: "example.org", NodePublishSecretRef: local}},
		"flexVolume": {FlexVolume: &corev1.FlexVolumeSource{Driver: "example.org/flex", SecretRef: local}},
		"azureFile":  {AzureFile: &corev1.AzureFileVolumeSource{SecretName: secret, ShareName: "share"}},
		"cephfs":     {CephFS: &corev1.CephFSVolumeSource{Monitors: []string{"monitor"}, SecretRef: local}},
		"cinder":     {Cinder: &corev1.CinderVolumeSource{VolumeID: "volume", SecretRef: local}},
		"iscsi":      {ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "10.0.0.1", IQN: "iqn.2001-04.org.example:storage", SecretRef: local}},
		"rbd":        {RBD: &corev1.RBDVolumeSource{CephMonitors: []string{"monitor"}, RBDImage: "image", SecretRef: local}},
		"scaleIO":    {ScaleIO: &corev1.ScaleIOVolumeSource{Gateway: "https://example.org", System: "system", VolumeName: "volume", SecretRef: local}},
		"storageos":  {StorageOS: &corev1.StorageOSVolumeSource{VolumeName: "volume", SecretRef: local}},
	}
}

// quiet is the same cluster, for what the API server warns about: these drivers are no longer
// part of Kubernetes.
func (c *cluster) quiet(t *testing.T) *cluster {
	t.Helper()
	cfg := rest.CopyConfig(c.env.Config)
	cfg.WarningHandlerWithContext = rest.NoWarnings{}
	q, err := client.New(cfg, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{Client: q, env: c.env, warnings: c.warnings, injection: c.injection}
}

// suggested returns the commands that a refusal suggests, one for each way.
func suggested(t *testing.T, says string) []string {
	t.Helper()
	found := regexp.MustCompile(`To allow it: (.*)\. Or, if .* what the Secret holds: (.*)$`).FindStringSubmatch(says)
	if found == nil {
		t.Fatalf("no suggestions: %s", says)
	}
	return found[1:]
}

// testSuggestions types what refusals suggest, each way on its own: it allows this one pod, by
// one Role and one RoleBinding.
func (c *cluster) testSuggestions(t *testing.T) {
	kubeconfig := c.adminKubeconfig(t)
	for i, names := range []struct{ serviceAccount, role string }{
		{"suggested", "orders"}, {"suggested", "team.orders-1"}, {"suggested.orders", "-x"}, {"", "reports"}, {"suggested", "suggested-orders"},
	} {
		serviceAccount := cmp.Or(names.serviceAccount, "default")
		secret := "aws-iam-" + names.role
		for way, rule := range []rbacv1.PolicyRule{
			{APIGroups: []string{v1.GroupVersion.Group}, Resources: []string{v1.Resource}, Verbs: []string{"assume"}, ResourceNames: []string{names.role}},
			usage(secret),
		} {
			t.Run(fmt.Sprintf("%d %s", i, rule.Verbs[0]), func(t *testing.T) {
				pod := c.starts(names.serviceAccount, secretVolume(secret))
				command := suggested(t, refusal(t, pod(t.Context())))[way]
				before := c.grants(t)
				c.shell(t, kubeconfig, command)
				eventually(t, "the pod is allowed", func() bool { return refusal(t, pod(t.Context())) == "" })

				name := authorization.GrantName(authorization.Subject{Namespace: guarded, ServiceAccount: serviceAccount}, names.role)
				if way == 1 {
					name = "use:" + serviceAccount + ":" + secret
				}
				made := slices.DeleteFunc(c.grants(t), func(g string) bool { return slices.Contains(before, g) })
				want := []string{
					fmt.Sprintf("Role %s %v", name, []rbacv1.PolicyRule{rule}),
					fmt.Sprintf("RoleBinding %s to %s for %v", name, name, []rbacv1.Subject{guardedServiceAccount(serviceAccount)}),
				}
				if !slices.Equal(made, want) {
					t.Errorf("%s\nmakes %q\nand not %q", command, made, want)
				}
				meta := metav1.ObjectMeta{Namespace: guarded, Name: name}
				for _, object := range []client.Object{&rbacv1.Role{ObjectMeta: meta}, &rbacv1.RoleBinding{ObjectMeta: meta}} {
					if err := c.Delete(t.Context(), object); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "the pod is refused again", func() bool { return refusal(t, pod(t.Context())) != "" })
			})
		}
	}
	c.testEscapedSuggestions(t, kubeconfig)
	c.testHostileNames(t)
	longest := c.starts(strings.Repeat("s", 253), secretVolume("aws-iam-"+strings.Repeat("r", 64)))
	suggested(t, refusal(t, longest(t.Context())))
}

// testEscapedSuggestions types what refusals of escaped names suggest.
func (c *cluster) testEscapedSuggestions(t *testing.T, kubeconfig string) {
	t.Helper()
	for secret, role := range map[string]string{
		"aws-role.0team-6-orders0":                           "team/Orders",
		"aws-role.0a-0-1-2-3-4-5---z0":                       "a._+=,@-Z",
		"aws-role.0arn-7aws-7iam-7-71-7role-6team-6-orders0": "arn:aws:iam::1:role/team/Orders",
	} {
		pod := c.starts("escaped", secretVolume(secret))
		says := refusal(t, pod(t.Context()))
		_, command, found := strings.Cut(says, ". To allow it: ")
		if !found || !strings.Contains(says, "may not assume role "+role+", and the pod takes it from Secret "+secret+".") {
			t.Errorf("no suggestion for role %s: %s", role, says)
			continue
		}
		before := c.grants(t)
		c.shell(t, kubeconfig, command)
		eventually(t, "the pod is allowed", func() bool { return refusal(t, pod(t.Context())) == "" })
		name := authorization.GrantName(authorization.Subject{Namespace: guarded, ServiceAccount: "escaped"}, role)
		made := slices.DeleteFunc(c.grants(t), func(g string) bool { return slices.Contains(before, g) })
		if len(made) != 2 || !strings.HasPrefix(made[0], "Role "+name+" ") || !strings.HasPrefix(made[1], "RoleBinding "+name+" to "+name+" for ") {
			t.Errorf("%s\nmakes %q", command, made)
		}
	}
}

// testHostileNames mounts Secrets that cannot be. Their names must not become commands, nor
// lines, for a user who types what the refusal says.
func (c *cluster) testHostileNames(t *testing.T) {
	t.Helper()
	for _, role := range []string{"$(reboot)';reboot", "a\nTo allow it: reboot", "`reboot`", "a|reboot", "a\x1b[2Jreboot", "A reboot", "team/reboot~%", "Upper_Case"} {
		says := refusal(t, c.starts("unbound", secretVolume("aws-iam-"+role))(t.Context()))
		if strings.Contains(says, "kubectl") || strings.Contains(says, "\n") || strings.ContainsAny(says, "$`|;\x1b") || !strings.Contains(says, "no Secret can have such a name") {
			t.Errorf("%q: the refusal is not fit to be read: %q", role, says)
		}
	}
}

// grants are the Roles and RoleBindings of the guarded namespace.
func (c *cluster) grants(t *testing.T) []string {
	t.Helper()
	var roles rbacv1.RoleList
	var bindings rbacv1.RoleBindingList
	for _, list := range []client.ObjectList{&roles, &bindings} {
		if err := c.List(t.Context(), list, client.InNamespace(guarded)); err != nil {
			t.Fatal(err)
		}
	}
	var all []string
	for i := range roles.Items {
		all = append(all, fmt.Sprintf("Role %s %v", roles.Items[i].Name, roles.Items[i].Rules))
	}
	for i := range bindings.Items {
		b := &bindings.Items[i]
		all = append(all, fmt.Sprintf("RoleBinding %s to %s for %v", b.Name, b.RoleRef.Name, b.Subjects))
	}
	return all
}

// adminKubeconfig returns the path of a kubeconfig with all rights.
func (c *cluster) adminKubeconfig(t *testing.T) string {
	t.Helper()
	admin, err := c.env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := admin.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// shell has a shell run a command, with kubectl on its path, and returns what it prints.
func (*cluster) shell(t *testing.T, kubeconfig, command string) string {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if _, err := exec.LookPath(filepath.Join(assets, "kubectl")); err != nil {
		t.Fatalf("there is no kubectl: make test builds it; on your own: export KUBEBUILDER_ASSETS=$(hack/localapi/build.sh kubectl): %v", err)
	}
	run := exec.CommandContext(t.Context(), "sh", "-c", command) //nolint:gosec // that it does what it says is what is tested
	run.Dir = t.TempDir()
	run.Env = []string{"PATH=" + assets + ":" + os.Getenv("PATH"), "HOME=" + run.Dir, "KUBECONFIG=" + kubeconfig}
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}
