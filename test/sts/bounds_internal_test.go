package sts

import (
	"testing"
	"time"
)

// It needs more calls than are fast over HTTP, and checks what is kept in memory.
func TestServer_MemoryIsBounded(t *testing.T) {
	const calls = 2*keptCalls + 1000
	now := time.Unix(1_800_000_000, 0)
	s := &Server{behavior: newBehavior(), keys: newKeyring([]byte("seed")), log: newCallLog()}
	s.SetClock(func() time.Time { now = now.Add(time.Second); return now })

	for n := range calls {
		s.record(Call{Operation: "AssumeRole", Duration: time.Duration(n)})
		if _, err := s.AddSession("arn:aws:iam::123456789012:role/app", "session", 15*time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	kept := s.Calls()
	if len(kept) != keptCalls || kept[0].Duration != calls-keptCalls || kept[keptCalls-1].Duration != calls-1 {
		t.Errorf("%d calls kept, want the newest %d in order", len(kept), keptCalls)
	}
	if len(s.log.calls) > 2*keptCalls {
		t.Errorf("%d calls in memory", len(s.log.calls))
	}
	if n := s.Counts()[Outcome{Operation: "AssumeRole"}]; n != calls {
		t.Errorf("%d calls counted of %d", n, calls)
	}
	if n, longest := len(s.keys.known), int((15*time.Minute+keyRetention+sweepInterval)/time.Second)+1; n > longest {
		t.Errorf("%d keys known, want at most the %d of the last 76 minutes", n, longest)
	}
}
