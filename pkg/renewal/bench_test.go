package renewal_test

import (
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/renewal"
)

func BenchmarkDue(b *testing.B) {
	l := lasting(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		l.Due(30*time.Minute, 0.5)
	}
}

func BenchmarkJitter(b *testing.B) {
	l := lasting(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		renewal.Jitter("payments/aws-iam-checkout", l)
	}
}
