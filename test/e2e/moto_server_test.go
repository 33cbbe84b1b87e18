//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"kube-aws-iam-controller/test/e2e/node"
	"kube-aws-iam-controller/test/env"
)

const (
	// deploy-moto/kustomization.yaml names these, too.
	motoPort = "5000"
	motoURL  = "http://" + node.Address + ":" + motoPort

	// motoPolicy is all that moto's one user can do.
	motoPolicy = `{"Version": "2012-10-17", "Statement": [{
		"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::` + env.Account + `:role/` + motoPrefix + `*"
	}]}`
	// unsigned says for whose API a call is, without a signature.
	unsigned = "AWS4-HMAC-SHA256 Credential=none/20000101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none"
)

// startMoto starts moto as an account with one user, and returns a file with the user's keys. From
// then on moto verifies the signature and the token of every call, and accepts only keys that it
// has issued. It starts by accepting every call. Source: "IAM-like Access Control" in moto's
// documentation.
func startMoto(ctx context.Context, n *node.Node, server string) (keys string, err error) {
	if err := n.StartDaemon("moto", server, "--host="+node.Address, "--port="+motoPort); err != nil {
		return "", err
	}
	if err := env.Await(ctx, "moto answers", func() (bool, error) {
		_, err := postMoto(ctx, "/moto-api/reset", "")
		return err == nil, nil
	}); err != nil {
		return "", err
	}
	_, userErr := callIAM(ctx, "CreateUser", nil)
	_, policyErr := callIAM(ctx, "PutUserPolicy", url.Values{"PolicyName": {"assume"}, "PolicyDocument": {motoPolicy}})
	answer, keyErr := callIAM(ctx, "CreateAccessKey", nil)
	var issued struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	_, strictErr := postMoto(ctx, "/moto-api/reset-auth", "0")
	if err := errors.Join(userErr, policyErr, keyErr, strictErr, xml.Unmarshal(answer, &issued)); err != nil {
		return "", err
	}
	switch _, err := callIAM(ctx, "CreateAccessKey", nil); {
	case err == nil:
		return "", errors.New("moto verifies nothing: it accepts a call without a signature")
	case !strings.Contains(err.Error(), "InvalidClientTokenId"):
		return "", err
	}
	return credentialsFile(issued.ID, issued.Secret), nil
}

// callIAM calls moto's IAM about its one user.
func callIAM(ctx context.Context, action string, values url.Values) ([]byte, error) {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}, "UserName": {controllerName}}
	maps.Copy(form, values)
	return postMoto(ctx, "/", form.Encode())
}

// postMoto returns what moto answers, or an error with it if that is no success.
func postMoto(ctx context.Context, path, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, motoURL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if path == "/" {
		request.Header.Set("Authorization", unsigned)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request) // no proxy leads to it
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("moto: POST %s: %s: %s", path, answer.Status, text)
	}
	return text, nil
}
