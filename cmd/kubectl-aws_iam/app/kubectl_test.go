package app

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestKubectl runs the plugin as kubectl does.
func TestKubectl(t *testing.T) {
	n := newRoles(t)
	if got := n.shell("kubectl aws-iam list -o name --namespace " + n.name); !strings.Contains(got, "secret/aws-iam-orders\n") {
		t.Errorf("list prints %s", got)
	}
	if got := n.shell("kubectl plugin list"); !strings.Contains(got, "/kubectl-aws_iam\n") {
		t.Errorf("the plugins are %s", got)
	}
	for _, c := range []struct{ line, want string }{
		{"aws-iam ex", "explain"},
		{"aws-iam explain ", "awsiamrole"},
		{"aws-iam explain pod --namespace " + n.name + " orders-", "orders-1"},
		{"aws-iam explain serviceaccount --namespace " + n.name + " ''", "metrics"},
		{"aws-iam explain awsiamrole --namespace " + n.name + " r", "reports-reader"},
		{"aws-iam list --namespace " + n.name[:6], n.name},
		{"aws-iam list --output ''", "wide"},
		{"aws-iam grant ", "serviceaccount"},
		{"aws-iam grant pod --namespace " + n.name + " orders-", "orders-1"},
		{"aws-iam trust orders --for ''", "serviceaccount"},
		{"aws-iam trust orders --by ''", "external-id"},
		{"aws-iam trust orders --for serviceaccount --namespace " + n.name + " m", "metrics"},
		{"aws-iam migrate k", "kube2iam"},
		{"aws-iam list --context ''", "envtest"},
	} {
		got := n.shell("kubectl __complete " + strings.TrimSuffix(c.line, " ") + map[bool]string{true: " ''"}[strings.HasSuffix(c.line, " ")])
		found := false
		for line := range strings.Lines(got) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			found = found || name == c.want
		}
		if !found {
			t.Errorf("%q completes to\n%s", c.line, got)
		}
	}
}

func TestHelp(t *testing.T) {
	n := newNamespace(t)
	got := n.run("--help")
	for _, want := range []string{"kubectl aws-iam [command]", "explain", "list", "who", "check", "grant", "trust", "seed", "migrate", "--context", "--namespace"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("it lacks %q:\n%s", want, got.out)
		}
	}
	if got := n.run("--version"); got.out != "kubectl aws-iam version test\n" {
		t.Errorf("the version is %q", got.out)
	}
}

// TestDocumentation parses the plugin's command lines in the documentation.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("docs/kubectl-plugin.md") // from the repository's root: see runMain
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)(?:^ {4}(?:\$ )?|\| )kubectl aws-iam ([^#|\n]*)`).FindAllSubmatch(text, -1)
	if len(lines) < 6 {
		t.Errorf("it has %d command lines", len(lines))
	}
	for _, line := range lines {
		p := &plugin{IOStreams: genericiooptions.NewTestIOStreamsDiscard(), flags: genericclioptions.NewConfigFlags(true)}
		cmd, rest, err := p.command("test").Find(strings.Fields(string(line[1])))
		if err != nil {
			t.Errorf("%s: %v", line[0], err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", line[0], err)
		}
		if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil || !cmd.Runnable() {
			t.Errorf("%s: %v", line[0], err)
		}
	}
}
