package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// Issuer returns the issuer of the cluster's ServiceAccount tokens.
func (c *Cluster) Issuer(ctx context.Context) (string, error) {
	answer, err := c.Kubernetes.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("the issuer of the cluster is not known: %w", err)
	}
	var configuration struct {
		Issuer string `json:"issuer"`
	}
	err = json.Unmarshal(answer, &configuration)
	return configuration.Issuer, err
}

// ControllerRole returns the role as which the controller assumes others, or "" if neither its
// flags, its environment, its ServiceAccount nor its seed say so.
func (c *Cluster) ControllerRole(ctx context.Context, i *diagnosis.Installation, base role.Base) string {
	if reference := i.Settings.AssumeRole; reference != "" {
		if arn, err := base.Resolve(reference); err == nil {
			return arn.String()
		}
		return reference
	}
	own := i.Settings.AnywhereRole
	if i.Seed.Value != nil {
		own = cmp.Or(own, i.Seed.Value.Annotations[secret.RoleARNAnnotation])
	}
	d := i.Deployment.Value
	if own != "" || d == nil {
		return own
	}
	if container := settings.Container(&d.Spec.Template.Spec); container != nil {
		for _, v := range container.Env {
			if v.Name == "AWS_ROLE_ARN" && v.Value != "" {
				return v.Value
			}
		}
	}
	account, err := c.metadataOf(ServiceAccounts, d.Namespace).Get(ctx, d.Spec.Template.Spec.ServiceAccountName, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return account.Annotations[request.RoleARNAnnotation]
}
