package manifests_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", name)) //nolint:gosec // names are in these files
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The reader of an event finds what to do about it.
func TestTroubleshooting_HasEveryWarning(t *testing.T) {
	guide := readDoc(t, "troubleshooting.md")
	reasons := regexp.MustCompile("(?m)^\\| (`.*`) \\| Warning ").FindAllStringSubmatch(readDoc(t, "reference/events.md"), -1)
	if len(reasons) < 20 {
		t.Fatalf("events.md has %d reasons", len(reasons))
	}
	for _, line := range reasons {
		for _, reason := range regexp.MustCompile(`\w+`).FindAllString(line[1], -1) {
			if !strings.Contains(guide, "`"+reason+"`") {
				t.Errorf("troubleshooting.md does not have %s", reason)
			}
		}
	}
}

// commandsOf returns the commands of a page that begin with kubectl: those of tables, and those
// that are indented, with the lines they continue on.
func commandsOf(page string) (commands []string) {
	for _, found := range regexp.MustCompile("(?m)^\\|.*?\\| `(kubectl .*?)` \\|").FindAllStringSubmatch(page, -1) {
		commands = append(commands, strings.ReplaceAll(found[1], `\|`, "|"))
	}
	return append(commands, regexp.MustCompile(`(?m)^ {4}kubectl (?:.*(?:[|\\]|\.items\[\])\n)*.*$`).FindAllString(page, -1)...)
}

// The commands of the guide are typed, about what it has as examples.
func TestTroubleshooting_CommandsWork(t *testing.T) {
	c := start(t)
	kubeconfig := c.adminKubeconfig(t)
	for _, object := range render(t, "default") {
		c.applyOnceKnown(t, object)
	}
	c.createNamespace(t, "payments", nil)
	account := c.createServiceAccount(t, "payments", "orders")
	account.Annotations = map[string]string{"iam.amazonaws.com/role": "orders"}
	if err := c.Update(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	c.shell(t, kubeconfig, "kubectl create deployment orders --namespace payments --image=registry.example.org/orders")
	c.createAWSIAMRole(t, "payments", "reports", "reports")
	c.shell(t, kubeconfig, "kubectl create role roles --namespace payments --verb=assume --resource=awsiamroles.zalando.org")
	c.shell(t, kubeconfig, "kubectl create rolebinding roles --namespace payments --role=roles --group=system:serviceaccounts:payments")
	pod := podWith("orders", secretVolume("aws-iam.orders"))
	pod.ObjectMeta = metav1.ObjectMeta{Namespace: "payments", Name: "orders"}
	eventually(t, "the pod is created", func() bool {
		return refusal(t, client.IgnoreAlreadyExists(c.Create(t.Context(), pod.DeepCopy()))) == ""
	})
	controller := c.run(t, []string{"--leader-elect", "--metrics-bind-address=0", "--health-probe-bind-address=0"})
	for _, secret := range []string{"aws-iam.orders", "reports"} {
		controller.eventually(t, "Secret "+secret, func() bool {
			return c.Get(t.Context(), client.ObjectKey{Namespace: "payments", Name: secret}, &corev1.Secret{}) == nil
		})
	}

	// What commands print, by a part of them. No controller of Kubernetes runs, so there is no
	// ReplicaSet and no event of one.
	prints := map[string]string{
		"rollout restart deployment orders":        "deployment.apps/orders restarted",
		"describe pod orders":                      "CreateCredentials",
		"rollout history deployment orders":        "orders",
		"--show-managed-fields --output yaml":      "manager: kube-aws-iam-controller",
		"describe awsiamrole reports":              "role/reports",
		"{.data.expire}":                           "Z",
		"{.spec.holderIdentity} {.spec.renewTime}": "Z",
		"get secret --namespace payments reports":  "awsiamrole",
		"auth can-i":          "yes",
		"create token orders": "sts.amazonaws.com",
	}
	onNode := []string{"kubectl exec ", "kubectl logs "}
	ran := 0
	commands := commandsOf(readDoc(t, "troubleshooting.md"))
	for part := range prints {
		if !strings.Contains(strings.Join(commands, "\n"), part) {
			t.Errorf("the guide has no command with %s", part)
		}
	}
	for _, command := range commands {
		if slices.ContainsFunc(onNode, func(needs string) bool { return strings.Contains(command, needs) }) {
			continue
		}
		t.Run(strings.TrimSpace(command), func(t *testing.T) {
			out := c.shell(t, kubeconfig, command)
			for part, want := range prints {
				if strings.Contains(command, part) && !strings.Contains(out, want) {
					t.Errorf("prints no %s:\n%s", want, out)
				}
			}
			if strings.Contains(out, "error") || strings.Contains(out, "null") {
				t.Error(out)
			}
		})
		ran++
	}
	if ran < 20 {
		t.Errorf("%d commands were run", ran)
	}
	controller.stop(t)
}
