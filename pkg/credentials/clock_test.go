package credentials_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/credentials/ststest"
)

// wrong are the machines' clocks of these tests, by how much they are ahead of that of STS.
var wrong = map[string]time.Duration{
	"seven minutes ahead": 7 * time.Minute, "seven minutes behind": -7 * time.Minute, "two hours ahead": 2 * time.Hour, "two hours behind": -2 * time.Hour,
}

// aheadOf sets STS's clock, so that the machine's is ahead of it.
func aheadOf(srv *ststest.Server, ahead time.Duration) {
	srv.SetClock(func() time.Time { return time.Now().Add(-ahead) })
}

// wantNear checks that two times or durations differ by no more than what the Date header leaves open.
func wantNear(t *testing.T, what string, off time.Duration) {
	t.Helper()
	if off.Abs() > 2*time.Second {
		t.Errorf("%s is off by %s", what, off)
	}
}

// The machine's clock is wrong from the start. One attempt is refused where it is off by more than STS takes, as the SDK finds that out by it; and no other.
func TestAWrongClockHarmsNothing(t *testing.T) {
	for says, ahead := range wrong {
		t.Run(says, func(t *testing.T) {
			srv := start(t)
			aheadOf(srv, ahead)
			signIn(t, srv.AddUser(account, "controller"))
			machine := newClock()
			var told []time.Duration
			client := newClient(t, func(o *credentials.Options) {
				o.Now = machine.Now
				o.ClockCorrected = func(ahead time.Duration) { told = append(told, ahead) }
			})
			for range 3 {
				got := assume(t, client, session(t, appRole))
				wantNear(t, "the time of issue", got.Issued.Sub(machine.Now().Add(-ahead)))
				wantNear(t, "the life", got.Expires.Sub(got.Issued)-time.Hour)
			}
			wantNear(t, "the clock", client.Clock().Now().Sub(machine.Now().Add(-ahead)))
			wantNear(t, "the difference", client.Clock().Ahead()-ahead)
			if len(told) != 1 {
				t.Errorf("the difference was told %d times: %s", len(told), told)
			}
			want := []string{"GetCallerIdentity SignatureDoesNotMatch", "GetCallerIdentity", "AssumeRole", "AssumeRole", "AssumeRole"}
			if got := operations(srv); !slices.Equal(got, want) {
				t.Errorf("calls were %q", got)
			}
		})
	}
}

// Within what STS takes nothing is refused, and the clock is set right all the same.
func TestAWrongClockThatSTSTakes(t *testing.T) {
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

func TestARefusalTellsTheTime(t *testing.T) {
	srv := start(t)
	once(t)
	signIn(t, ststest.Keys{AccessKeyID: "AKIAUNKNOWN", SecretAccessKey: "unknown"})
	aheadOf(srv, 7*time.Minute)
	client := newClient(t)
	if _, err := client.Caller(t.Context()); err == nil {
		t.Fatal("unknown keys are taken")
	}
	wantNear(t, "the difference", client.Clock().Ahead()-7*time.Minute)
}

// Whoever stands between may answer in STS's place, or with what STS said long ago: that tells no time.
func TestOnlySTSTellsTheTime(t *testing.T) {
	for says, c := range map[string]struct {
		headers map[string]string
		want    time.Duration
	}{
		"STS":     {map[string]string{"X-Amzn-Requestid": "0fe5e1a2"}, 2 * time.Hour},
		"a proxy": {nil, 0},
		"a cache": {map[string]string{"X-Amzn-Requestid": "0fe5e1a2", "Age": "7200"}, 0},
	} {
		t.Run(says, func(t *testing.T) {
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
			wantNear(t, "the difference", client.Clock().Ahead()-c.want)
		})
	}
}

// Without an answer there is nothing but the machine's clock.
func TestNoAnswerTellsNoTime(t *testing.T) {
	srv := start(t)
	once(t)
	signIn(t, srv.AddUser(account, "controller"))
	aheadOf(srv, 7*time.Minute)
	srv.SetFault(ststest.ConnectionReset)
	client := newClient(t)
	if _, err := client.Caller(t.Context()); err == nil || client.Clock().Ahead() != 0 {
		t.Errorf("it is off by %s, and %v", client.Clock().Ahead(), err)
	}
}

func TestAClockThatIsSetRight(t *testing.T) {
	srv := start(t)
	signIn(t, srv.AddUser(account, "controller"))
	srv.SetMaxSkew(0)
	aheadOf(srv, 7*time.Minute)
	machine := newClock()
	var told []time.Duration
	client := newClient(t, func(o *credentials.Options) {
		o.Now = machine.Now
		o.ClockCorrected = func(ahead time.Duration) { told = append(told, ahead) }
	})
	assume(t, client, session(t, appRole))
	srv.SetClock(time.Now) // it is all the same which of the two clocks is set
	assume(t, client, session(t, appRole))
	if len(told) != 2 || told[0] == 0 || told[1] != 0 || !client.Clock().Now().Equal(machine.Now()) {
		t.Errorf("told %s, and it is off by %s", told, client.Clock().Ahead())
	}
}

// A clock that is set while nobody asks STS for anything is noticed by the check, whether STS answers to that at once or not.
func TestAClockThatIsSetWhileAllIsQuiet(t *testing.T) {
	for says, ahead := range wrong {
		t.Run(says, func(t *testing.T) {
			srv := start(t)
			once(t)
			signIn(t, srv.AddUser(account, "controller"))
			srv.SetMaxSkew(0)
			machine := newClock()
			client := newClient(t, func(o *credentials.Options) {
				o.Now, o.Elapsed = machine.Now, func() time.Duration { return 0 }
			})
			check := func(calls int, off time.Duration, sure bool) {
				t.Helper()
				before := len(srv.Calls())
				client.CheckClock(t.Context())
				wantNear(t, "the difference", client.Clock().Ahead()-off)
				if client.Clock().Sure() != sure {
					t.Errorf("it is sure: %t", !sure)
				}
				if n := len(srv.Calls()) - before; n != calls {
					t.Errorf("%d calls, want %d", n, calls)
				}
			}
			check(0, 0, true) // nothing was asked yet
			assume(t, client, session(t, appRole))
			check(0, 0, true)
			machine.Advance(ahead)
			srv.SetFault(ststest.ConnectionReset)
			check(1, 0, false)
			if _, err := client.Caller(t.Context()); err != nil {
				t.Error("who the controller is was forgotten:", err)
			}
			srv.SetFault(ststest.NoFault)
			check(1, ahead, true)
			check(0, ahead, true)
			machine.Advance(-ahead)
			check(1, 0, true)
			check(0, 0, true)
		})
	}
}

// What the controller has of its own is kept for as long as it lives by STS's clock.
func TestAWrongClockCostsNoIntermediateSessions(t *testing.T) {
	for says, ahead := range wrong {
		t.Run(says, func(t *testing.T) {
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

// By a clock that is ahead a good seed looks expired, and nobody but STS can tell that it is not.
func TestASeedIsNotJudgedByAWrongClock(t *testing.T) {
	for says, ahead := range wrong {
		t.Run(says, func(t *testing.T) {
			srv := start(t)
			aheadOf(srv, ahead)
			s := seed(t, srv, ownRole)
			s.Credentials.Issued, s.Credentials.Expires = s.Credentials.Issued.Add(-ahead), s.Credentials.Expires.Add(-ahead)
			client := newClient(t, seeded)
			client.Plant(s)
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
