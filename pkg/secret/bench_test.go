package secret_test

import (
	"strings"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/secret"
)

// realisticCredentials returns credentials as long as those of STS, whose tokens have about a
// thousand characters.
func realisticCredentials() credentials.Credentials {
	c := testCredentials(time.Hour)
	c.SecretAccessKey = credentials.Redact(strings.Repeat("k", 40))
	c.SessionToken = credentials.Redact(strings.Repeat("t", 1000))
	return c
}

func BenchmarkRender(b *testing.B) {
	to, c := target(b), realisticCredentials()
	b.ReportAllocs()
	for b.Loop() {
		secret.Render(to, c, nil)
	}
}

func BenchmarkRead(b *testing.B) {
	s := secret.Render(target(b), realisticCredentials(), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := secret.Read(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadLifetime(b *testing.B) {
	s := secret.Render(target(b), realisticCredentials(), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := secret.ReadLifetime(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIntact(b *testing.B) {
	to, c := target(b), realisticCredentials()
	s := reduced(secret.Render(to, c, nil), to)
	b.ReportAllocs()
	for b.Loop() {
		if !secret.Intact(s, to) {
			b.Fatal("is not intact")
		}
	}
}

func BenchmarkReduce(b *testing.B) {
	to := target(b)
	s := secret.Render(to, realisticCredentials(), nil)
	data := s.Data
	b.ReportAllocs()
	for b.Loop() {
		s.Data, s.StringData = data, nil
		secret.Reduce(s, to.Files)
	}
}
