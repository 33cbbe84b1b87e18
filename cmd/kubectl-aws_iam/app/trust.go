package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/access"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/cluster"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
)

// trust is the command trust.
type trust struct {
	*plugin

	controller               controllerFlags
	kind, by                 string
	principal, id, issuerURL string
}

func newTrust(p *plugin) *cobra.Command {
	t := &trust{plugin: p}
	cmd := &cobra.Command{
		Use:   "trust ROLE NAME --for pod|serviceaccount",
		Short: "Print the trust policy that lets a pod or a ServiceAccount have a role",
		Long: "Print the trust policy of a role that lets a pod or a ServiceAccount have it, and no other namespace. " +
			"ROLE is the role's name or ARN, NAME that of the pod or the ServiceAccount. It changes nothing in AWS.",
		Example: `  # What trust policy does the role need for this ServiceAccount?
  kubectl aws-iam trust orders --for serviceaccount orders

  # The same, by an ExternalId
  kubectl aws-iam trust orders --for serviceaccount orders --by external-id`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) != 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names := cluster.Pods
			if t.kind == kindAccount {
				names = cluster.ServiceAccounts
			}
			return p.completeNames(names)(cmd, nil, begun)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return t.run(cmd.Context(), args[0], args[1]) },
	}
	t.controller.addTo(p, cmd)
	flags := cmd.Flags()
	flags.StringVar(&t.kind, "for", "", "Kind of NAME. One of: (pod, serviceaccount).")
	flags.StringVar(&t.by, "by", "", "What the policy knows the pods by. One of: (session-name, tags, external-id, web-identity). "+
		"Default: web-identity if the controller uses it for ServiceAccounts, otherwise session-name.")
	flags.StringVar(&t.principal, "principal", "", "ARN of the controller's role. Default: as the Deployment, its ServiceAccount or its seed say.")
	flags.StringVar(&t.id, "external-id", "", "ExternalId of the role, if --external-id-file of the controller has one.")
	flags.StringVar(&t.issuerURL, "issuer", "", "Issuer of the cluster's tokens. Default: as the API server says.")
	_ = cmd.MarkFlagRequired("for") // these fail only for a flag that does not exist
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{kindPod, kindAccount}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions([]string{
		string(access.BySession), string(access.ByTags), string(access.ByExternalID), string(access.ByWebIdentity),
	}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// The kinds of --for.
const (
	kindPod     = "pod"
	kindAccount = "serviceaccount"
)

func (t *trust) run(ctx context.Context, reference, name string) error {
	read, ok := map[string]reader{kindPod: (*cluster.Cluster).ExplainPod, kindAccount: (*cluster.Cluster).ExplainServiceAccount}[t.kind]
	if !ok {
		return fmt.Errorf("--for=%s is unknown: it takes pod, serviceaccount", t.kind)
	}
	at, err := t.controller.parse()
	if err != nil {
		return err
	}
	c, namespace, err := t.open()
	if err != nil {
		return err
	}
	s, err := read(c, ctx, at, namespace, name)
	if err != nil {
		return err
	}
	arn, err := s.Settings.Base.Resolve(reference)
	if err != nil {
		return err
	}
	wanted, err := t.trusted(s, arn)
	if err != nil {
		return err
	}
	by := t.chosen(s, wanted)
	if err := t.complete(ctx, c, s, by, wanted); err != nil {
		return err
	}
	policy, err := wanted.Policy(by)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(t.Out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(policy)
}

// trusted returns who asks for the role: the Secrets of a pod, or the ServiceAccount's own.
func (t *trust) trusted(s *diagnosis.Snapshot, arn role.ARN) (*access.Trust, error) {
	wanted := &access.Trust{
		Role: arn, SourceIdentity: s.Settings.RolesAnywhere, Audience: s.Settings.Audiences[0],
		Template: credentials.SessionTemplate{ClusterName: s.Settings.ClusterName, ExternalID: s.Settings.ExternalID, Tags: s.Settings.SessionTags},
	}
	for i := range s.Asked {
		a := &s.Asked[i]
		if a.Role != arn {
			continue
		}
		account := a.ServiceAccount()
		wanted.Users = append(wanted.Users, credentials.User{Namespace: s.Namespace, Secret: a.Request.Secret, ServiceAccount: account})
		wanted.Account = cmp.Or(wanted.Account, account)
		if slices.Contains(s.Settings.Audiences, a.Audience) {
			wanted.Audience = a.Audience
		}
	}
	switch {
	case len(wanted.Users) > 0:
	case s.Account == nil:
		return nil, fmt.Errorf("pod %s does not ask for %s: see kubectl aws-iam explain pod %s", s.Pod.Name, arn, s.Pod.Name)
	default:
		t.note("ServiceAccount %s does not ask for %s yet: see its annotation %s.", s.Account.Name, arn, request.RoleAnnotation)
		wanted.Account = s.Account.Name
		wanted.Users = []credentials.User{{Namespace: s.Namespace, Secret: request.ServiceAccountPrefix + s.Account.Name, ServiceAccount: s.Account.Name}}
	}
	return wanted, nil
}

// chosen returns by what the policy limits the role.
func (t *trust) chosen(s *diagnosis.Snapshot, wanted *access.Trust) access.By {
	switch {
	case t.by != "":
		return access.By(t.by)
	case s.Settings.WebIdentity && wanted.Account != "" && len(wanted.Users) == 1:
		return access.ByWebIdentity
	}
	return access.BySession
}

// complete adds what the policy needs to name the controller, or the cluster.
func (t *trust) complete(ctx context.Context, c *cluster.Cluster, s *diagnosis.Snapshot, by access.By, wanted *access.Trust) (err error) {
	if s.Deployment.Value == nil {
		t.note("warning: the controller's Deployment was not found, so its flags are taken to be the defaults")
	}
	if by == access.ByWebIdentity {
		if wanted.Issuer = t.issuerURL; wanted.Issuer == "" {
			wanted.Issuer, err = c.Issuer(ctx)
		}
		return err
	}
	if wanted.Principal = cmp.Or(t.principal, c.ControllerRole(ctx, &s.Installation, s.Settings.Base)); wanted.Principal == "" {
		return errors.New("the role of the controller is not known: give its ARN with --principal")
	}
	if t.id != "" {
		wanted.ID = t.id
	} else if s.Settings.ExternalIDFile != "" && by == access.ByExternalID {
		t.note("warning: the controller has --external-id-file=%s; if it has another ExternalId for the role, give that with --external-id", s.Settings.ExternalIDFile)
	}
	return nil
}
