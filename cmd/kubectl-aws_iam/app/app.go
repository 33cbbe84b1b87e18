// Package app is the kubectl plugin: its commands, their flags, and what they print.
package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/cluster"
)

// errSilent is the error of a command that has printed why it fails.
var errSilent = errors.New("failed")

// Run runs the command that args name and returns the exit code of the process: 0, or 1 if the
// command failed, or found something that does not work.
func Run(ctx context.Context, version string, args []string, streams genericiooptions.IOStreams) int {
	p := &plugin{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true)}
	return p.run(ctx, version, args)
}

// plugin is what all commands share.
type plugin struct {
	genericiooptions.IOStreams

	flags *genericclioptions.ConfigFlags
	// now replaces the API server's clock in tests.
	now func() time.Time
}

// run is Run.
func (p *plugin) run(ctx context.Context, version string, args []string) int {
	root := p.command(version)
	root.SetArgs(args)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return 0
	case !errors.Is(err, errSilent):
		_, _ = fmt.Fprintln(p.ErrOut, "error:", err)
	}
	return 1
}

// command returns the root command.
func (p *plugin) command(version string) *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-aws_iam",
		Short:         "See and explain the AWS IAM roles of pods",
		Version:       version,
		SilenceErrors: true, // Run prints them
		SilenceUsage:  true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl aws-iam"},
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	root.CompletionOptions.HiddenDefaultCmd = true // kubectl completes by itself, see kubectl_complete-aws_iam
	p.flags.AddFlags(root.PersistentFlags())
	p.completeFlags(root)
	root.AddCommand(newList(p), newExplain(p), newWho(p), newCheck(p), newGrant(p), newTrust(p), newSeed(p), newMigrate(p))
	return root
}

// open returns the cluster and the namespace that the command line selects.
func (p *plugin) open() (c *cluster.Cluster, namespace string, err error) {
	if namespace, _, err = p.flags.ToRawKubeConfigLoader().Namespace(); err != nil {
		return nil, "", err
	}
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, "", err
	}
	c, err = cluster.New(config)
	return c, namespace, err
}

// time returns the time by the API server's clock.
func (p *plugin) time(c *cluster.Cluster) time.Time {
	if p.now != nil {
		return p.now()
	}
	return c.Now()
}

// note prints a line about what could not be found out.
func (p *plugin) note(format string, args ...any) {
	_, _ = fmt.Fprintf(p.ErrOut, format+"\n", args...)
}

// warn prints what the user may not read.
func (p *plugin) warn(refused []error) {
	for _, err := range refused {
		p.note("warning: %v", err)
	}
}
