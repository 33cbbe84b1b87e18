package sts_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	ststest "kube-aws-iam-controller/test/sts"
)

func TestSetFault_ErrorAnswers(t *testing.T) {
	for fault, test := range map[ststest.Fault]struct {
		status int
		code   string
	}{
		ststest.Throttled:          {400, "Throttling"},
		ststest.InternalFailure:    {500, "InternalFailure"},
		ststest.ServiceUnavailable: {503, "ServiceUnavailable"},
	} {
		t.Run(fault.String(), func(t *testing.T) {
			srv := start(t)
			c := user(srv)
			srv.SetFault(fault)
			_, err := c.AssumeRole(t.Context(), request())
			wantError(t, err, test.status, test.code, "")
			srv.SetFault(ststest.NoFault)
			assume(t, c, request())
		})
	}
}

func TestServer_SettingsForSomeOperations(t *testing.T) {
	for name, configure := range map[string]func(*ststest.Server){
		"fault":   func(s *ststest.Server) { s.SetFault(ststest.Throttled, "AssumeRole") },
		"rate":    func(s *ststest.Server) { s.SetRateLimit(1, "AssumeRole") },
		"latency": func(s *ststest.Server) { s.SetLatency(time.Hour, "AssumeRole") },
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			fakeClock(srv)
			c := user(srv)
			configure(srv)
			for range 2 {
				if _, err := c.GetCallerIdentity(t.Context(), nil); err != nil {
					t.Error(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, first := c.AssumeRole(ctx, request())
			if _, second := c.AssumeRole(ctx, request()); first == nil && second == nil {
				t.Error("the setting does not apply to AssumeRole")
			}
		})
	}
}

func TestSetFault_ConnectionReset(t *testing.T) {
	srv := start(t)
	c := user(srv)
	srv.SetFault(ststest.ConnectionReset)
	_, err := c.AssumeRole(t.Context(), request())
	if err == nil || !strings.Contains(err.Error(), "connection reset") {
		t.Errorf("error is %v", err)
	}
	if calls := srv.Calls(); len(calls) != 1 || calls[0].Code != "ConnectionReset" {
		t.Errorf("calls are %+v", calls)
	}
}

func TestSetFault_HangEndsWithTheClient(t *testing.T) {
	srv := start(t)
	srv.SetFault(ststest.Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := user(srv).AssumeRole(ctx, request()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	if got := srv.Counts()[ststest.Outcome{Operation: "AssumeRole", Code: "Hang"}]; got != 1 {
		t.Errorf("%d hanging calls counted", got)
	}
}

func TestClose_EndsCallsThatHangOrWait(t *testing.T) {
	for name, configure := range map[string]func(*ststest.Server){
		"hang":    func(s *ststest.Server) { s.SetFault(ststest.Hang) },
		"latency": func(s *ststest.Server) { s.SetLatency(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := ststest.New()
			c := user(srv)
			arrived := make(chan struct{})
			srv.SetClock(sync.OnceValue(func() time.Time { close(arrived); return time.Now() }))
			configure(srv)
			answered := make(chan error)
			go func() {
				_, err := c.AssumeRole(context.Background(), request())
				answered <- err
			}()
			<-arrived
			srv.Close()
			if err := <-answered; err == nil {
				t.Error("the call was answered")
			}
		})
	}
}

func TestSetLatency(t *testing.T) {
	srv := start(t)
	c := user(srv)
	srv.SetLatency(30 * time.Millisecond)
	before := time.Now()
	assume(t, c, request())
	if took := time.Since(before); took < 30*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
	srv.SetLatency(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := c.AssumeRole(ctx, request()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
}

func TestThrottleNext(t *testing.T) {
	srv := start(t)
	c := user(srv)
	srv.ThrottleNext(2)
	for range 2 {
		_, err := c.AssumeRole(t.Context(), request())
		wantError(t, err, 400, "Throttling", "Rate exceeded")
	}
	assume(t, c, request())
}

func TestFaultNext_IsRetriedByTheSDK(t *testing.T) {
	for _, fault := range []ststest.Fault{ststest.Throttled, ststest.InternalFailure, ststest.ServiceUnavailable, ststest.ConnectionReset} {
		t.Run(fault.String(), func(t *testing.T) {
			srv := start(t)
			c := client(srv, srv.AddUser(account, "alice"), func(o *sts.Options) {
				o.Retryer = eager()
			})
			srv.FaultNext(2, fault)
			assume(t, c, request())
			if calls := srv.Calls(); len(calls) != 3 {
				t.Errorf("%d calls", len(calls))
			}
		})
	}
}

func TestSetRateLimit_FollowsTheClock(t *testing.T) {
	srv := start(t)
	clock := fakeClock(srv)
	c := user(srv)
	srv.SetRateLimit(3)
	passed := func() (n int) {
		for range 6 {
			if _, err := c.GetCallerIdentity(t.Context(), nil); err == nil {
				n++
			} else {
				wantError(t, err, 400, "Throttling", "Rate exceeded")
			}
		}
		return n
	}
	if n := passed(); n != 3 {
		t.Errorf("%d calls at once with a limit of 3 a second", n)
	}
	clock.Step(700 * time.Millisecond)
	if n := passed(); n != 2 {
		t.Errorf("%d calls 0.7 s later", n)
	}
	clock.Step(time.Hour)
	if n := passed(); n != 3 {
		t.Errorf("%d calls an hour later", n)
	}
	srv.SetRateLimit(0)
	if n := passed(); n != 6 {
		t.Errorf("%d of 6 calls without a limit", n)
	}
}

func TestSetFault_MalformedAnswers(t *testing.T) {
	srv := start(t)
	clock := fakeClock(srv)
	c := user(srv)

	srv.SetFault(ststest.MissingExpiration)
	if out := assume(t, c, request()); out.Credentials.Expiration != nil || out.Credentials.SecretAccessKey == nil {
		t.Errorf("expiration is %v", out.Credentials.Expiration)
	}
	srv.SetFault(ststest.MissingCredentials)
	if out := assume(t, c, request()); out.Credentials != nil {
		t.Error("credentials are there")
	}
	srv.SetFault(ststest.AlreadyExpired)
	out := assume(t, c, request())
	if !out.Credentials.Expiration.Before(clock.Now()) {
		t.Errorf("expiration is %v", out.Credentials.Expiration)
	}
	srv.SetFault(ststest.NoFault)
	_, err := client(srv, keysOf(out.Credentials)).GetCallerIdentity(t.Context(), nil)
	wantError(t, err, 403, "ExpiredToken", "")

	srv.SetFault(ststest.NotXML)
	if out, err := c.AssumeRole(t.Context(), request()); err == nil && out.Credentials != nil {
		t.Error("credentials out of HTML")
	}
}

func TestFault_String(t *testing.T) {
	for fault, want := range map[ststest.Fault]string{
		ststest.NoFault: "NoFault", ststest.Hang: "Hang", ststest.NotXML: "NotXML", -1: "Fault(-1)", 99: "Fault(99)",
	} {
		if got := fault.String(); got != want {
			t.Errorf("%d is called %s, want %s", int(fault), got, want)
		}
	}
}
