package env

import (
	"context"
	"encoding/json"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	ststest "kube-aws-iam-controller/test/sts"
)

// TrustAPIServer has STS trust the tokens of an API server, by the keys that the API server
// publishes. It returns the API server's name in them.
func TrustAPIServer(ctx context.Context, cfg *rest.Config, sts *ststest.Server) (issuer string, err error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	get := func(path string) ([]byte, error) { return client.RESTClient().Get().AbsPath(path).DoRaw(ctx) }
	document, err := get("/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var discovered struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(document, &discovered); err != nil {
		return "", err
	}
	if document, err = get("/openid/v1/jwks"); err != nil {
		return "", err
	}
	keys, err := ststest.ParseJWKS(document)
	if err != nil {
		return "", err
	}
	sts.TrustIssuer(discovered.Issuer, keys)
	return discovered.Issuer, nil
}
