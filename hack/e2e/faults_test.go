//go:build linux

package main

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/secret"
)

func TestClockOffset(t *testing.T) {
	for log, want := range map[string]time.Duration{
		`{"msg":"the machine's clock is 7m0s ahead of that of STS, which is used instead"}`: 7 * time.Minute,
		`{"msg":"the machine's clock is 6m59s behind that of STS, which is used instead"}`:  -(7*time.Minute - time.Second),
	} {
		if got, err := clockOffset(log); err != nil || got != want {
			t.Errorf("%v, %s, want %s", err, got, want)
		}
	}
	if _, err := clockOffset(`{"msg":"AWS identity"}`); err == nil {
		t.Error("no error for a log that says nothing of it")
	}
}

func TestASecretIsMendedWhenNothingIsMissing(t *testing.T) {
	u := newUser()
	good := func() *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{secret.AccessKeyIDAnnotation: "B", secret.RoleARNAnnotation: roleARN(u.role())}},
			Data:       map[string][]byte{secret.ExpireKey: []byte("2026-11-21T12:00:00Z"), secret.ContainerKey: []byte("{}")},
		}
	}
	if !whole(good(), u) {
		t.Error("a whole Secret is not whole")
	}
	for says, spoil := range map[string]func(*corev1.Secret){
		"no expiry":     func(s *corev1.Secret) { s.Data[secret.ExpireKey] = []byte("never") },
		"no file":       func(s *corev1.Secret) { delete(s.Data, secret.ContainerKey) },
		"no annotation": func(s *corev1.Secret) { s.Annotations[secret.RoleARNAnnotation] = "" },
	} {
		s := good()
		spoil(s)
		if whole(s, u) {
			t.Errorf("%s, and yet whole", says)
		}
	}
}
