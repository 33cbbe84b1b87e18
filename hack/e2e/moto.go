//go:build linux

package main

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

	"kube-aws-iam-controller/hack/sandbox"
)

const (
	// judge/kustomization.yaml names these, too.
	motoPort = "5000"
	motoURL  = "http://" + nodeAddress + ":" + motoPort

	// motoPolicy is all that moto's one user may do.
	motoPolicy = `{"Version": "2012-10-17", "Statement": [{
		"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::` + sandbox.Account + `:role/` + judgePrefix + `*"
	}]}`
	// notSigned tells moto whose API a call is for. It is nobody's signature.
	notSigned = "AWS4-HMAC-SHA256 Credential=nobody/20000101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none"
)

// startMoto starts moto as an account with one user, and returns a file with the user's keys. From then on moto verifies the signature and the token
// of every call, and knows no keys but those that it has issued; as it starts, it would let everybody in. Source: "IAM-like Access Control" in moto's
// documentation.
func (c *cluster) startMoto(ctx context.Context) (keys string, err error) {
	if err := c.daemon("moto", c.moto, "--host="+nodeAddress, "--port="+motoPort); err != nil {
		return "", err
	}
	if err := sandbox.Await(ctx, "moto answers", func() (bool, error) {
		_, err := postMoto(ctx, "/moto-api/reset", "")
		return err == nil, nil
	}); err != nil {
		return "", err
	}
	_, userErr := askIAM(ctx, "CreateUser", nil)
	_, policyErr := askIAM(ctx, "PutUserPolicy", url.Values{"PolicyName": {"assume"}, "PolicyDocument": {motoPolicy}})
	answer, keyErr := askIAM(ctx, "CreateAccessKey", nil)
	var issued struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	_, strictErr := postMoto(ctx, "/moto-api/reset-auth", "0")
	if err := errors.Join(userErr, policyErr, keyErr, strictErr, xml.Unmarshal(answer, &issued)); err != nil {
		return "", err
	}
	switch _, err := askIAM(ctx, "CreateAccessKey", nil); {
	case err == nil:
		return "", errors.New("moto judges nobody: it obeys a call that nobody has signed")
	case !strings.Contains(err.Error(), "InvalidClientTokenId"):
		return "", err
	}
	return credentialsFile(issued.ID, issued.Secret), nil
}

// askIAM calls moto's IAM about its one user.
func askIAM(ctx context.Context, action string, values url.Values) ([]byte, error) {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}, "UserName": {controllerName}}
	maps.Copy(form, values)
	return postMoto(ctx, "/", form.Encode())
}

// postMoto returns what moto answers, or an error that says it if that is no success.
func postMoto(ctx context.Context, path, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, motoURL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if path == "/" {
		request.Header.Set("Authorization", notSigned)
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
