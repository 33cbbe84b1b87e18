package app

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestNoSecretIsPrinted runs every command in every form of output, for an administrator who may
// read everything. It looks for all that the Secrets hold in what is printed, and in what the API
// server answers.
func TestNoSecretIsPrinted(t *testing.T) {
	n := newRoles(t)
	n.loginToAWS()
	id := keyOf(n.awaitSecret("aws-iam-orders"))
	arguments := map[string][]string{
		"list": nil, "explain pod": {"orders-1"}, "explain serviceaccount": {"metrics"}, "explain awsiamrole": {"reports-reader"},
		"who": {id, "--log", suite.controller.Log}, "check": nil,
		"grant pod": {"denied"}, "grant serviceaccount": {"metrics", "--role", "billing"},
		"trust": {"metrics", "metrics", "--for", "serviceaccount", "--principal", seedRole},
		"seed":  {seedRole, "--namespace", n.name}, "migrate": nil,
	}
	p := &plugin{IOStreams: genericiooptions.NewTestIOStreamsDiscard(), flags: genericclioptions.NewConfigFlags(true)}
	for _, cmd := range leaves(p.command("test")) {
		path := strings.TrimPrefix(cmd.CommandPath(), "kubectl aws-iam ")
		args, ok := arguments[path]
		if !ok {
			t.Errorf("there are no arguments for %s", path)
		}
		for _, format := range []string{"", "wide", "name", "json", "yaml", "kyaml"} {
			words := append(strings.Fields(path), args...)
			if cmd.Flags().Lookup("output") != nil {
				words = append(words, "--output="+format)
			}
			if got := n.run(words...); got.out == "" {
				t.Errorf("%q prints nothing: %s", words, got.err)
			}
		}
	}
	f := n.follow("-o", "json")
	f.sees(`"state": "Ready"`)
	f.ends()

	var secrets corev1.SecretList
	n.must(suite.Cluster.List(n.Context(), &secrets, client.InNamespace(n.name)))
	seen := suite.seen.String()
	for _, s := range secrets.Items {
		if !strings.Contains(seen, s.Annotations["iam.amazonaws.com/access-key-id"]) {
			t.Errorf("Secret %s was not looked at", s.Name)
		}
		for _, key := range slices.Sorted(maps.Keys(s.Data)) {
			if confidential := []string{"credentials", "credentials.json", "container.json", "endpoint-token"}; slices.Contains(confidential, key) &&
				containsAny(seen, s.Data[key]) {
				t.Errorf("key %s of Secret %s was printed or read", key, s.Name)
			}
		}
	}
	for issued := range suite.STS.IssuedSecrets() {
		if containsAny(seen, []byte(issued)) {
			t.Errorf("what STS issued was printed or read: look for its end, %q", issued[len(issued)-4:])
		}
	}
}

// leaves returns the commands that do something; not those of cobra itself.
func leaves(cmd *cobra.Command) (all []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		switch {
		case sub.Name() == "help" || sub.Name() == "completion":
		case sub.HasSubCommands():
			all = append(all, leaves(sub)...)
		default:
			all = append(all, sub)
		}
	}
	return all
}
