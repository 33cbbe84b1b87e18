package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/cluster"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/seed"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// seeding is the command seed.
type seeding struct {
	*plugin

	name          string
	seconds       int
	force, dryRun bool
}

func newSeed(p *plugin) *cobra.Command {
	s := &seeding{plugin: p}
	cmd := &cobra.Command{
		Use:   "seed [ROLE-ARN]",
		Short: "Give the controller its first credentials, or new ones after an outage",
		Long: "Assume the controller's role with your own AWS credentials and write the session into a Secret: the seed. " +
			"A controller with --seed-secret renews its credentials from it without end, by assuming the role again. " +
			"Without an ARN, the role and the Secret are those of the installed controller. " +
			"The namespace is kube-system by default. The role must trust you and itself.",
		Example: `  # The first credentials of a controller
  kubectl aws-iam seed arn:aws:iam::123456789012:role/kube-aws-iam-controller

  # New ones, as the installed controller needs them
  kubectl aws-iam seed`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), strings.Join(args, "")) },
	}
	flags := cmd.Flags()
	flags.StringVar(&s.name, "name", "", "Name of the Secret. Default: aws-iam-<name of the role>, or kube-aws-iam-controller-seed for a role with a path or with a name that no Secret can have.")
	flags.IntVar(&s.seconds, "duration", 3600, "Duration of the seed in seconds: 900 to 43200, at most what the role allows, and 3600 if you are a role yourself.")
	flags.BoolVar(&s.force, "force", false, "Overwrite a Secret that does not look like a seed.")
	flags.BoolVar(&s.dryRun, "dry-run", false, "Write nothing, but ask the API server whether it would accept the Secret.")
	_ = cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions) // fails only for a flag that does not exist
	return cmd
}

func (s *seeding) run(ctx context.Context, arn string) error {
	c, _, err := s.open()
	if err != nil {
		return err
	}
	t := &seed.Target{Namespace: *s.flags.Namespace, Name: s.name, Duration: time.Duration(s.seconds) * time.Second}
	if t.Role, err = s.role(ctx, c, t, arn); err != nil {
		return err
	}
	t.Namespace = cmp.Or(t.Namespace, metav1.NamespaceSystem)
	if err := t.Complete(); err != nil {
		return err
	}
	session, err := s.issue(ctx, t)
	if err != nil {
		return err
	}
	if err := s.write(ctx, c, t, session); err != nil {
		return err
	}
	return s.printNext(t, session)
}

// role returns the role of the seed: the given one, or that of the installed controller, whose
// namespace and name the target then has.
func (s *seeding) role(ctx context.Context, c *cluster.Cluster, t *seed.Target, given string) (role.ARN, error) {
	if given != "" {
		return role.ParseARN(given)
	}
	i := c.Installation(ctx, "", t.Namespace)
	known := i.Settings.Seed
	if known.Name == "" {
		return role.ARN{}, errors.New("which role? The installed controller has no --seed-secret. Give the ARN of its role, such as arn:aws:iam::123456789012:role/kube-aws-iam-controller")
	}
	t.Namespace, t.Name = known.Namespace, known.Name
	if i.Seed.Value != nil && i.Seed.Value.Annotations[secret.RoleARNAnnotation] != "" {
		return role.ParseARN(i.Seed.Value.Annotations[secret.RoleARNAnnotation])
	}
	name, named := strings.CutPrefix(known.Name, request.SecretPrefix)
	if !named || i.Settings.Base.IsZero() {
		return role.ARN{}, fmt.Errorf("which role? Secret %s does not say so. Give the ARN of the controller's role", known)
	}
	return i.Settings.Base.Resolve(name)
}

// issue assumes the role and checks that it can go on without the user.
func (s *seeding) issue(ctx context.Context, t *seed.Target) (*seed.Session, error) {
	user, err := seed.NewClient(ctx)
	if err != nil {
		return nil, err
	}
	s.note("Assuming %s as %s", t.Role, user.Caller)
	session, err := user.Assume(ctx, t.Role, t.Duration)
	if err != nil {
		return nil, err
	}
	tags, err := user.CheckTrust(ctx, t.Role, session, t.Namespace)
	if err == nil && !tags {
		s.note("Note: the role cannot tag its own sessions. For --session-tags, its statement about itself also needs sts:TagSession.")
	}
	return session, err
}

// write creates the Secret or changes it, if it looks like a seed.
func (s *seeding) write(ctx context.Context, c *cluster.Cluster, t *seed.Target, session *seed.Session) error {
	data, err := session.Data()
	if err != nil {
		return err
	}
	existing, err := c.SecretMetadata(ctx, t.Namespace, t.Name)
	switch {
	case apierrors.IsNotFound(err):
		return c.CreateSecret(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: t.Namespace, Name: t.Name}, Type: corev1.SecretTypeOpaque, StringData: data,
		}, s.dryRun)
	case err != nil:
		return err
	}
	if err := t.Check(existing); err != nil && !s.force {
		return fmt.Errorf("secret %s/%s does not look like a seed. %w If it is not needed, use --force; otherwise another --name", t.Namespace, t.Name, err)
	}
	err = c.PatchSecret(ctx, t.Namespace, t.Name, seed.Patch(existing, data), s.dryRun)
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%w. So the controller is running: check whether it still needs a seed", err)
	}
	return err
}

// printNext prints what to do next.
func (s *seeding) printNext(t *seed.Target, session *seed.Session) error {
	until := session.Expiration.UTC().Format(time.RFC3339)
	if s.dryRun {
		_, err := fmt.Fprintln(s.Out, "This was a dry run: nothing was written.")
		return err
	}
	place := t.Namespace + "/" + t.Name
	text := fmt.Sprintf("Secret %s is the seed, valid until %s. Next, unless the controller runs already:\n\n  kubectl apply -k config/overlays/seed\n\n", place, until)
	if place != "kube-system/aws-iam-kube-aws-iam-controller" {
		text += fmt.Sprintf("  # with these values in it:\n  --seed-secret=%[1]s\n  secretName: %[2]s\n  value: \"'%[1]s'\"\n", place, t.Name)
		if strings.HasPrefix(t.Name, request.SecretPrefix) {
			text += fmt.Sprintf("  resourceNames: [%s]\n", t.Role.Name())
		}
		text += "\n"
	}
	if strings.HasPrefix(t.Name, request.SecretPrefix) && t.HasPath() {
		text += fmt.Sprintf("The role has a path: its name resolves to it only with --base-role-arn=%s. Otherwise use a --name that does not begin with aws-iam-.\n",
			strings.TrimSuffix(t.Role.String(), t.Role.Name()))
	}
	_, err := fmt.Fprint(s.Out, text, "Start the controller before the seed expires; it renews the seed from then on. If the seed expires, run this again.\n")
	return err
}
