package controllers

import (
	"testing"
	"time"
)

func BenchmarkDecide(b *testing.B) {
	for want, s := range map[verb]state{
		keep:   good(func(s *state) { s.spread = 0.5 }),
		issue:  good(issuedAgo(40 * time.Minute)),
		refuse: good(missing, forbidden),
		remove: good(unwantedFor(time.Hour)),
	} {
		b.Run(want.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := decide(s); d.verb != want {
					b.Fatal(d.verb)
				}
			}
		})
	}
}
