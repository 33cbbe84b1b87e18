package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/test/env"
)

const region = "eu-central-1"

// volume is a folder that is written as the kubelet writes the volume of a Secret.
type volume struct {
	dir    string
	secret *corev1.Secret
}

// publish replaces the Secret by one with these credentials, as the controller renders it.
func (v *volume) publish(c credentials.Credentials) error {
	arn, err := role.ParseARN("arn:aws:iam::" + env.Account + ":role/program")
	if err != nil {
		return err
	}
	v.secret = secret.Render(secret.Target{
		Name:    types.NamespacedName{Namespace: "default", Name: "aws-iam-program"},
		Session: credentials.Session{Role: arn, Name: "program", Duration: time.Hour},
		Files:   secret.Files{MountPath: v.dir, Region: region},
	}, c, v.secret)
	return v.write(c.AccessKeyID)
}

// write writes the files into a new folder, and replaces the link to the old one.
func (v *volume) write(version string) error {
	data, next := filepath.Join(v.dir, "..data"), filepath.Join(v.dir, "..data_tmp")
	if err := os.MkdirAll(filepath.Join(v.dir, ".."+version), 0o700); err != nil {
		return err
	}
	for name, content := range v.secret.Data {
		if err := os.WriteFile(filepath.Join(v.dir, ".."+version, name), content, 0o600); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(v.dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return errors.Join(os.Symlink(".."+version, next), os.Rename(next, data))
}
