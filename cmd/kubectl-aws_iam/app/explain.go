package app

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/cluster"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/pkg/role"
)

// controllerFlags say where the controller is, and how it runs, where the plugin cannot read it.
type controllerFlags struct{ namespace, base string }

func (f *controllerFlags) addTo(p *plugin, cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.namespace, "controller-namespace", "", "Namespace of the controller. Default: it is looked for.")
	flags.StringVar(&f.base, "base-role-arn", "", "The controller's base role ARN, such as arn:aws:iam::123456789012:role/. Default: that of its Deployment.")
	_ = cmd.RegisterFlagCompletionFunc("controller-namespace", p.completeNames(cluster.Namespaces)) // fails only for a flag that does not exist
}

func (f *controllerFlags) parse() (cluster.Controller, error) {
	c := cluster.Controller{Namespace: f.namespace}
	if f.base == "" {
		return c, nil
	}
	base, err := role.ParseBase(f.base)
	if err != nil {
		return c, fmt.Errorf("--base-role-arn: %w", err)
	}
	c.Base = base
	return c, nil
}

// explain is the command explain.
type explain struct {
	*plugin

	controller controllerFlags
}

// reader reads what explains an object.
type reader func(c *cluster.Cluster, ctx context.Context, at cluster.Controller, namespace, name string) (*diagnosis.Snapshot, error)

func newExplain(p *plugin) *cobra.Command {
	e := &explain{plugin: p}
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Explain why a role arrives or does not",
		Long: "Explain why a role arrives or does not, as a chain of checks: ✓ in order, ✗ not in order, – not known or not reached. " +
			"The exit code is 1 if a check failed.",
		Example: `  # Why does this pod wait?
  kubectl aws-iam explain pod orders-6c9f7d5b8-x2x7k`,
	}
	e.controller.addTo(p, cmd)
	cmd.AddCommand(
		e.of("pod", []string{"pods", "po"}, "Pod", cluster.Pods, (*cluster.Cluster).ExplainPod),
		e.of("serviceaccount", []string{"serviceaccounts", "sa"}, "ServiceAccount", cluster.ServiceAccounts, (*cluster.Cluster).ExplainServiceAccount),
		e.of("awsiamrole", []string{"awsiamroles"}, "AWSIAMRole", cluster.AWSIAMRoles, (*cluster.Cluster).ExplainAWSIAMRole),
	)
	return cmd
}

// of returns the command that explains an object of a kind.
func (e *explain) of(resource string, aliases []string, kind string, names cluster.Kind, read reader) *cobra.Command {
	output := &outputFlags{}
	cmd := &cobra.Command{
		Use:               resource + " NAME",
		Aliases:           aliases,
		Short:             "Explain what of a role " + article(kind) + " has",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeNames(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.run(cmd.Context(), output, resource, kind, args[0], read)
		},
	}
	output.addTo(cmd)
	return cmd
}

func article(kind string) string {
	if kind[0] == 'A' {
		return "an " + kind
	}
	return "a " + kind
}

func (e *explain) run(ctx context.Context, output *outputFlags, resource, kind, name string, read reader) error {
	if err := output.validate(); err != nil {
		return err
	}
	at, err := e.controller.parse()
	if err != nil {
		return err
	}
	c, namespace, err := e.open()
	if err != nil {
		return err
	}
	s, err := read(c, ctx, at, namespace, name)
	if err != nil {
		return err
	}
	s.Now = e.time(c)
	return e.printReport(output, "Explanation", kind+" "+namespace+"/"+name, resource+"/"+name, diagnosis.Explain(s))
}
