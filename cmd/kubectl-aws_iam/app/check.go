package app

import (
	"context"

	"github.com/spf13/cobra"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
)

// check is the command check.
type check struct {
	*plugin

	controller    controllerFlags
	output        outputFlags
	metadataImage string
}

func newCheck(p *plugin) *cobra.Command {
	c := &check{plugin: p}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the installation of the controller",
		Long: "Check the installation of the controller: ✓ in order, ✗ not in order, – not known or not used. It changes nothing; " +
			"--metadata-image starts a pod. " +
			"The exit code is 1 if a check failed.",
		Example: `  # With the command that comes next for each check that failed
  kubectl aws-iam check -o wide`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	c.controller.addTo(p, cmd)
	c.output.addTo(cmd)
	cmd.Flags().StringVar(&c.metadataImage, "metadata-image", "", "Start a pod of this image, which must have curl, in the namespace, to find out whether it reaches the metadata service of its node.")
	return cmd
}

func (c *check) run(ctx context.Context) error {
	if err := c.output.validate(); err != nil {
		return err
	}
	at, err := c.controller.parse()
	if err != nil {
		return err
	}
	cluster, namespace, err := c.open()
	if err != nil {
		return err
	}
	s := cluster.CheckInstallation(ctx, at)
	if c.metadataImage != "" {
		reached := cluster.ReachesMetadata(ctx, namespace, c.metadataImage)
		s.Metadata = &reached
	}
	s.Now = c.time(cluster)
	name, title := "deployment/", "No controller found"
	if d := s.Deployment.Value; d != nil {
		name, title = name+d.Name, "Deployment "+d.Namespace+"/"+d.Name
	}
	return c.printReport(&c.output, "Installation", title, name, diagnosis.CheckInstallation(s))
}
