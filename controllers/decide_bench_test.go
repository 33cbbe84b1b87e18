package controllers

import (
	"testing"
	"time"
)

func BenchmarkDecide(b *testing.B) {
	for want, s := range map[action]state{
		actionNone:   good(func(s *state) { s.spread = 0.5 }),
		actionIssue:  good(issuedAgo(40 * time.Minute)),
		actionReject: good(missing, forbidden),
		actionDelete: good(unusedFor(time.Hour)),
	} {
		b.Run(want.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := decide(&s); d.action != want {
					b.Fatal(d.action)
				}
			}
		})
	}
}
