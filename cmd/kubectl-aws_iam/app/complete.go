package app

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/cluster"
)

// completion completes an argument or the value of a flag.
type completion = cobra.CompletionFunc

// completeNames completes the first argument with the names of objects of a kind.
func (p *plugin) completeNames(kind cluster.Kind) completion {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, namespace, err := p.open()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names, err := c.Names(cmd.Context(), kind, namespace)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, begun) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlags completes the flags that all commands have.
func (p *plugin) completeFlags(root *cobra.Command) {
	_ = root.RegisterFlagCompletionFunc("namespace", p.completeNames(cluster.Namespaces)) // fails only for a flag that does not exist
	_ = root.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		config, err := p.flags.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for name := range config.Contexts {
			names = append(names, name)
		}
		slices.Sort(names)
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}
