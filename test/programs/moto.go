package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"kube-aws-iam-controller/test/env"
)

// moto is a running moto, which has a bucket with an object.
type moto struct {
	url  *url.URL
	stop func()
}

func startMoto(ctx context.Context, server string) (_ *moto, err error) {
	address, err := env.FreeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(address, ":")
	m := &moto{url: &url.URL{Scheme: "http", Host: address}}
	log := filepath.Join(os.TempDir(), "kube-aws-iam-controller-moto.log")
	if m.stop, err = start(ctx, log, os.Environ(), server, "--host=127.0.0.1", "--port="+port); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.stop()
		}
	}()
	if err := env.Await(ctx, "moto answers", func() (bool, error) {
		return m.call(ctx, http.MethodPost, "/moto-api/reset", "") == nil, nil
	}); err != nil {
		return nil, err
	}
	return m, errors.Join(m.call(ctx, http.MethodPut, "/trial", location), m.call(ctx, http.MethodPut, "/trial/object", "content"))
}

const location = "<CreateBucketConfiguration><LocationConstraint>" + region + "</LocationConstraint></CreateBucketConfiguration>"

// call calls moto's S3 without a signature, which it does not need.
func (m *moto) call(ctx context.Context, method, path, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, m.url.String()+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("moto: %s %s: %s: %s (%w)", method, path, answer.Status, text, err)
	}
	return nil
}
