package refresh_test

import (
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/refresh"
)

func BenchmarkDue(b *testing.B) {
	l := lasting(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		l.Due(30*time.Minute, 0.5)
	}
}

func BenchmarkSpread(b *testing.B) {
	l := lasting(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		refresh.Spread("payments/aws-iam-checkout", l)
	}
}
