package credentials_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
)

// wrong are local clocks, by how far they are ahead of that of STS.
var wrong = map[string]time.Duration{
	"seven minutes ahead": 7 * time.Minute, "seven minutes behind": -7 * time.Minute, "two hours ahead": 2 * time.Hour, "two hours behind": -2 * time.Hour,
}

// aheadOf sets STS's clock so that the local clock is ahead of it.
func aheadOf(srv *ststest.Server, ahead time.Duration) {
	srv.SetClock(func() time.Time { return time.Now().Add(-ahead) })
}

// wantNear checks that two times or durations differ by no more than the resolution of the Date
// header allows.
func wantNear(t *testing.T, what string, off time.Duration) {
	t.Helper()
	if off.Abs() > 2*time.Second {
		t.Errorf("%s is off by %s", what, off)
	}
}

// The local clock is wrong from the start. If it is off by more than STS accepts, one attempt is
// refused, by which the SDK notices; no other is.
func TestAssume_WithAWrongClock(t *testing.T) {
	for name, ahead := range wrong {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			aheadOf(srv, ahead)
			signIn(t, srv.AddUser(account, "controller"))
			local := newClock()
			var corrections []time.Duration
			client := newClient(t, func(o *credentials.Options) {
				o.Now = local.Now
				o.ClockCorrected = func(ahead time.Duration) { corrections = append(corrections, ahead) }
			})
			for range 3 {
				got := assume(t, client, session(t, appRole))
				wantNear(t, "the time of issue", got.Issued.Sub(local.Now().Add(-ahead)))
				wantNear(t, "the life", got.Expires.Sub(got.Issued)-time.Hour)
			}
			wantNear(t, "the clock", client.Clock().Now().Sub(local.Now().Add(-ahead)))
			wantNear(t, "the difference", client.Clock().Offset()-ahead)
			if len(corrections) != 1 {
				t.Errorf("the correction was reported %d times: %s", len(corrections), corrections)
			}
			want := []string{"GetCallerIdentity SignatureDoesNotMatch", "GetCallerIdentity", "AssumeRole", "AssumeRole", "AssumeRole"}
			if got := operations(srv); !slices.Equal(got, want) {
				t.Errorf("calls were %q", got)
			}
		})
	}
}

// An offset that STS accepts causes no refusal, and is corrected all the same.
func TestAssume_WrongClockThatSTSAccepts(t *testing.T) {
	srv := start(t)
	signIn(t, srv.AddUser(account, "controller"))
	srv.SetMaxSkew(15 * time.Minute)
	aheadOf(srv, -7*time.Minute)
	client := newClient(t)
	got := assume(t, client, session(t, appRole))
	wantNear(t, "the life", got.Expires.Sub(got.Issued)-time.Hour)
	if got, want := operations(srv), []string{"GetCallerIdentity", "AssumeRole"}; !slices.Equal(got, want) {
		t.Errorf("calls were %q", got)
	}
}

func TestClock_IsCorrectedByARefusal(t *testing.T) {
	srv := start(t)
	once(t)
	signIn(t, ststest.Keys{AccessKeyID: "AKIAUNKNOWN", SecretAccessKey: "unknown"})
	aheadOf(srv, 7*time.Minute)
	client := newClient(t)
	if _, err := client.Caller(t.Context()); err == nil {
		t.Fatal("unknown keys are taken")
	}
	wantNear(t, "the difference", client.Clock().Offset()-7*time.Minute)
}

// A proxy can answer in STS's place, or with an old answer of STS: neither sets the clock.
func TestClock_IsCorrectedBySTSOnly(t *testing.T) {
	for name, c := range map[string]struct {
		headers map[string]string
		want    time.Duration
	}{
		"STS":     {map[string]string{"X-Amzn-Requestid": "0fe5e1a2"}, 2 * time.Hour},
		"a proxy": {nil, 0},
		"a cache": {map[string]string{"X-Amzn-Requestid": "0fe5e1a2", "Age": "7200"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			once(t)
			signIn(t, srv.AddUser(account, "controller"))
			between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range c.headers {
					w.Header().Set(name, value)
				}
				w.Header().Set("Date", time.Now().Add(-2*time.Hour).UTC().Format(http.TimeFormat))
				w.WriteHeader(http.StatusForbidden)
			}))
			t.Cleanup(between.Close)
			t.Setenv("AWS_ENDPOINT_URL_STS", between.URL)
			client := newClient(t)
			if _, err := client.Caller(t.Context()); err == nil {
				t.Fatal("it takes a refusal for an answer")
			}
			wantNear(t, "the difference", client.Clock().Offset()-c.want)
		})
	}
}

// Without an answer the local clock stays trusted.
func TestClock_StaysWithoutAnAnswer(t *testing.T) {
	srv := start(t)
	once(t)
	signIn(t, srv.AddUser(account, "controller"))
	aheadOf(srv, 7*time.Minute)
	srv.SetFault(ststest.ConnectionReset)
	client := newClient(t)
	if _, err := client.Caller(t.Context()); err == nil || client.Clock().Offset() != 0 {
		t.Errorf("it is off by %s, and %v", client.Clock().Offset(), err)
	}
}

func TestClock_TrustsALocalClockThatIsSetRight(t *testing.T) {
	srv := start(t)
	signIn(t, srv.AddUser(account, "controller"))
	srv.SetMaxSkew(0)
	aheadOf(srv, 7*time.Minute)
	local := newClock()
	var corrections []time.Duration
	client := newClient(t, func(o *credentials.Options) {
		o.Now = local.Now
		o.ClockCorrected = func(ahead time.Duration) { corrections = append(corrections, ahead) }
	})
	assume(t, client, session(t, appRole))
	srv.SetClock(time.Now) // whichever of the two clocks is set
	assume(t, client, session(t, appRole))
	if len(corrections) != 2 || corrections[0] == 0 || corrections[1] != 0 || !client.Clock().Now().Equal(local.Now()) {
		t.Errorf("corrections are %s, and it is off by %s", corrections, client.Clock().Offset())
	}
}

// CheckClock notices a step of the local clock while there are no calls, whether STS answers it at
// once or not.
func TestCheckClock_NoticesAStep(t *testing.T) {
	for name, ahead := range wrong {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			once(t)
			signIn(t, srv.AddUser(account, "controller"))
			srv.SetMaxSkew(0)
			local := newClock()
			client := newClient(t, func(o *credentials.Options) {
				o.Now, o.Elapsed = local.Now, func() time.Duration { return 0 }
			})
			check := func(calls int, off time.Duration, sure bool) {
				t.Helper()
				before := len(srv.Calls())
				client.CheckClock(t.Context())
				wantNear(t, "the difference", client.Clock().Offset()-off)
				if client.Clock().Trusted() != sure {
					t.Errorf("it is sure: %t", !sure)
				}
				if n := len(srv.Calls()) - before; n != calls {
					t.Errorf("%d calls, want %d", n, calls)
				}
			}
			check(0, 0, true) // there was no call yet
			assume(t, client, session(t, appRole))
			check(0, 0, true)
			local.Step(ahead)
			srv.SetFault(ststest.ConnectionReset)
			check(1, 0, false)
			if _, err := client.Caller(t.Context()); err != nil {
				t.Error("who the controller is was forgotten:", err)
			}
			srv.SetFault(ststest.NoFault)
			check(1, ahead, true)
			check(0, ahead, true)
			local.Step(-ahead)
			check(1, 0, true)
			check(0, 0, true)
		})
	}
}

// The controller's own credentials are kept for their whole life by STS's clock.
func TestIntermediateRole_WrongClockCostsNoSessions(t *testing.T) {
	for name, ahead := range wrong {
		t.Run(name, func(t *testing.T) {
			const hub = "arn:aws:iam::210987654321:role/hub"
			srv := start(t)
			srv.SetMaxSkew(0)
			aheadOf(srv, ahead)
			signIn(t, srv.AddUser(account, "controller"))
			client := newClient(t, func(o *credentials.Options) {
				o.Intermediate = credentials.Session{Role: arn(t, hub), Name: "controller"}
			})
			for range 3 {
				assume(t, client, session(t, appRole))
			}
			if got, want := operations(srv), []string{"AssumeRole", "GetCallerIdentity", "AssumeRole", "AssumeRole", "AssumeRole"}; !slices.Equal(got, want) {
				t.Errorf("calls were %q", got)
			}
		})
	}
}

// By a clock that is ahead a valid seed looks expired, which only an answer of STS can disprove.
func TestSeed_ExpiryIsNotJudgedByAWrongClock(t *testing.T) {
	for name, ahead := range wrong {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			aheadOf(srv, ahead)
			s := seed(t, srv, ownRole)
			s.Credentials.Issued, s.Credentials.Expires = s.Credentials.Issued.Add(-ahead), s.Credentials.Expires.Add(-ahead)
			client := newClient(t, seeded)
			client.SetSeed(s)
			assume(t, client, session(t, appRole))

			aheadOf(srv, ahead-2*time.Hour) // now it has expired
			for range 2 {
				if _, err := client.Assume(t.Context(), session(t, appRole)); err == nil {
					t.Fatal("credentials without any of its own")
				}
			}
			calls := len(srv.Calls())
			_, err := client.Caller(t.Context())
			wantError(t, srv, err, credentials.Absent, "SeedExpired", "expired at", "run the script")
			if n := len(srv.Calls()); n != calls {
				t.Errorf("%d more calls for what is known", n-calls)
			}
		})
	}
}
