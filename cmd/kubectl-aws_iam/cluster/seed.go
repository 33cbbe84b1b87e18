package cluster

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubernetesscheme "k8s.io/client-go/kubernetes/scheme"
)

// metadataOnly makes the API server answer with the metadata of what was created.
const metadataOnly = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// SecretMetadata returns the metadata of a Secret.
func (c *Cluster) SecretMetadata(ctx context.Context, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	return c.metadataOf(Secrets, namespace).Get(ctx, name, metav1.GetOptions{})
}

// CreateSecret creates a Secret. With dryRun, the API server only says whether it would accept it.
func (c *Cluster) CreateSecret(ctx context.Context, s *corev1.Secret, dryRun bool) error {
	return c.Kubernetes.CoreV1().RESTClient().Post().Namespace(s.Namespace).Resource("secrets").SetHeader("Accept", metadataOnly).
		VersionedParams(&metav1.CreateOptions{DryRun: dry(dryRun), FieldManager: fieldManager}, kubernetesscheme.ParameterCodec).
		Body(s).Do(ctx).Error()
}

// PatchSecret changes a Secret by a strategic merge patch, as CreateSecret creates it.
func (c *Cluster) PatchSecret(ctx context.Context, namespace, name string, patch map[string]any, dryRun bool) error {
	text, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = c.metadataOf(Secrets, namespace).Patch(ctx, name, types.StrategicMergePatchType, text, metav1.PatchOptions{DryRun: dry(dryRun), FieldManager: fieldManager})
	return err
}

func dry(run bool) []string {
	if run {
		return []string{metav1.DryRunAll}
	}
	return nil
}
