package app

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/access"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/cluster"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/request"
)

// grant is the command grant.
type grant struct {
	*plugin

	controller controllerFlags
}

func newGrant(p *plugin) *cobra.Command {
	g := &grant{plugin: p}
	cmd := &cobra.Command{
		Use:   "grant",
		Short: "Give the right to a role",
		Long: "Print the Role and the RoleBinding that a pod or a ServiceAccount lacks for its role, or create them with --apply. " +
			"It prints only a note if the right is there.",
		Example: `  # What does this pod lack?
  kubectl aws-iam grant pod orders-6c9f7d5b8-x2x7k

  # Give a ServiceAccount the right to a role
  kubectl aws-iam grant serviceaccount orders --role orders --apply`,
	}
	g.controller.addTo(p, cmd)
	cmd.AddCommand(
		g.to("pod", []string{"pods", "po"}, cluster.Pods, (*cluster.Cluster).ExplainPod),
		g.to("serviceaccount", []string{"serviceaccounts", "sa"}, cluster.ServiceAccounts, (*cluster.Cluster).ExplainServiceAccount),
	)
	return cmd
}

// to returns the command for a kind of objects.
func (g *grant) to(resource string, aliases []string, names cluster.Kind, read reader) *cobra.Command {
	output := &outputFlags{}
	var role string
	var apply bool
	cmd := &cobra.Command{
		Use:               resource + " NAME",
		Aliases:           aliases,
		Short:             "Give a " + resource + " the right to its role",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: g.completeNames(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.validate(); err != nil {
				return err
			}
			return g.run(cmd.Context(), output, args[0], role, apply, read)
		},
	}
	output.addTo(cmd)
	cmd.Flags().StringVar(&role, "role", "", "Name or ARN of the role. Default: the roles that the "+resource+" asks for.")
	cmd.Flags().BoolVar(&apply, "apply", false, "Create or change the Role and the RoleBinding.")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.NoFileCompletions) // fails only for a flag that does not exist
	return cmd
}

func (g *grant) run(ctx context.Context, output *outputFlags, name, role string, apply bool, read reader) error {
	at, err := g.controller.parse()
	if err != nil {
		return err
	}
	c, namespace, err := g.open()
	if err != nil {
		return err
	}
	s, err := read(c, ctx, at, namespace, name)
	if err != nil {
		return err
	}
	needed, err := g.needed(ctx, c, at, s, role)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(needed, func(r access.Right) bool {
		if r.Allowed {
			g.note("%s already.", &r)
		}
		return r.Allowed
	})
	if len(missing) > 0 && !slices.Contains(s.Settings.Modes, authorization.ModeRBAC) {
		return errors.New("a Role has no effect: --authorization-mode of the controller does not have RBAC; see docs/security.md")
	}
	if apply {
		return g.apply(ctx, c, missing)
	}
	return g.print(output, missing)
}

// needed returns the rights that the object of a Snapshot needs, to the role that was given or to
// those that it asks for.
func (g *grant) needed(ctx context.Context, c *cluster.Cluster, at cluster.Controller, s *diagnosis.Snapshot, role string) ([]access.Right, error) {
	if role != "" {
		right, _, err := c.Right(ctx, at, authorization.Subject{Namespace: s.Namespace, ServiceAccount: accountOf(s)}, role)
		return []access.Right{right}, err
	}
	if len(s.Asked) == 0 {
		return nil, errors.New("it asks for no role: give one with --role")
	}
	needed, err := c.Rights(ctx, s)
	if err == nil && len(needed) == 0 {
		g.note("No right is needed: with web identity, the role's trust policy decides. See kubectl aws-iam trust.")
	}
	return needed, err
}

// accountOf returns the ServiceAccount that a Snapshot is about.
func accountOf(s *diagnosis.Snapshot) string {
	if s.Pod != nil {
		return request.ServiceAccountName(s.Pod)
	}
	return s.Account.Name
}

func (g *grant) apply(ctx context.Context, c *cluster.Cluster, missing []access.Right) error {
	for i := range missing {
		role, binding := missing[i].Grant()
		if err := c.Apply(ctx, role, binding); err != nil {
			return err
		}
		g.note("Role and RoleBinding %s/%s applied: %s.", role.Namespace, role.Name, &missing[i])
	}
	return nil
}

func (g *grant) print(f *outputFlags, missing []access.Right) error {
	if len(missing) == 0 {
		return nil
	}
	var o output
	var objects []runtime.Object
	all := &metav1.List{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "List"}}
	for i := range missing {
		if missing[i].Err != nil {
			g.note("warning: it is not known whether %s: %v", &missing[i], missing[i].Err)
		}
		role, binding := missing[i].Grant()
		objects = append(objects, role, binding)
		all.Items = append(all.Items, runtime.RawExtension{Object: role}, runtime.RawExtension{Object: binding})
		o.names = append(o.names, "role.rbac.authorization.k8s.io/"+role.Name, "rolebinding.rbac.authorization.k8s.io/"+binding.Name)
	}
	o.object = all
	o.text = func(out io.Writer, _, _ bool) error { return writeYAML(out, objects) }
	return f.print(g.Out, &o)
}

// writeYAML writes objects as documents of YAML.
func writeYAML(out io.Writer, objects []runtime.Object) error {
	printer := &printers.YAMLPrinter{}
	for _, o := range objects {
		if err := printer.PrintObj(o, out); err != nil {
			return err
		}
	}
	return nil
}
