package sts_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	ststest "kube-aws-iam-controller/test/sts"
)

func TestCallsAfter(t *testing.T) {
	srv := start(t)
	c := user(srv)
	assume(t, c, request())
	_, total := srv.CallsAfter(0)
	_, _ = c.GetCallerIdentity(t.Context(), nil)
	assume(t, c, request())

	calls, after := srv.CallsAfter(total)
	if len(calls) != 2 || after != total+2 || calls[0].Operation != "GetCallerIdentity" || calls[1].Operation != "AssumeRole" {
		t.Errorf("after %d calls there are %d of %d: %+v", total, len(calls), after, calls)
	}
	if calls, again := srv.CallsAfter(after); len(calls) != 0 || again != after {
		t.Errorf("after the last call there are %+v", calls)
	}
}

func TestCalls_RecordParametersAndOutcome(t *testing.T) {
	srv := start(t)
	clock := fakeClock(srv)
	alice := srv.AddUser(account, "alice")
	out := assume(t, client(srv, alice), request(lasting(1800), oneTag("kubernetes-namespace", "ns"), func(in *sts.AssumeRoleInput) {
		in.ExternalId = aws.String("cluster/ns")
	}))
	session := client(srv, keysOf(out.Credentials))
	srv.Deny(roleARN)
	_, _ = session.AssumeRole(t.Context(), request())
	_, _ = session.GetCallerIdentity(t.Context(), nil)

	const aliceARN, sessionARN = "arn:aws:iam::123456789012:user/alice", "arn:aws:sts::123456789012:assumed-role/app/cluster.ns.secret"
	now := clock.Now()
	want := []ststest.Call{
		{
			Time: now, Operation: "AssumeRole", Caller: aliceARN, CallerKeyID: alice.AccessKeyID, RoleARN: roleARN, SessionName: "cluster.ns.secret",
			Duration: 30 * time.Minute, ExternalID: "cluster/ns", Tags: map[string]string{"kubernetes-namespace": "ns"},
			AccessKeyID: *out.Credentials.AccessKeyId,
		},
		{
			Time: now, Operation: "AssumeRole", Caller: sessionARN, CallerRoleARN: roleARN, CallerKeyID: *out.Credentials.AccessKeyId, RoleARN: roleARN,
			SessionName: "cluster.ns.secret", Code: "AccessDenied",
		},
		{
			Time: now, Operation: "GetCallerIdentity", Caller: sessionARN, CallerRoleARN: roleARN,
			CallerKeyID: *out.Credentials.AccessKeyId,
		},
	}
	if got := srv.Calls(); !reflect.DeepEqual(got, want) {
		t.Errorf("calls are\n%+v\nwant\n%+v", got, want)
	}
	counts := map[ststest.Outcome]int{
		{Operation: "AssumeRole"}:                       1,
		{Operation: "AssumeRole", Code: "AccessDenied"}: 1,
		{Operation: "GetCallerIdentity"}:                1,
	}
	if got := srv.Counts(); !maps.Equal(got, counts) {
		t.Errorf("counts are %v, want %v", got, counts)
	}
}

func TestIssuedTo(t *testing.T) {
	srv := start(t)
	clock := fakeClock(srv)
	alice := srv.AddUser(account, "alice")
	out := assume(t, client(srv, alice), request(lasting(900)))
	got, known := srv.IssuedTo(*out.Credentials.AccessKeyId)
	want := ststest.Session{
		AccessKeyID: *out.Credentials.AccessKeyId,
		RoleARN:     roleARN,
		SessionName: "cluster.ns.secret",
		ARN:         "arn:aws:sts::123456789012:assumed-role/app/cluster.ns.secret",
		Issued:      clock.Now(),
		Expires:     clock.Now().Add(900 * time.Second).Truncate(time.Second),
	}
	if !known || got != want {
		t.Errorf("session is %+v, want %+v", got, want)
	}
	if _, known := srv.IssuedTo(alice.AccessKeyID); known {
		t.Error("a user's key is reported as a session")
	}
}

func TestIssuedSecrets_ListsAll(t *testing.T) {
	srv := start(t)
	clock := fakeClock(srv)
	alice := srv.AddUser(account, "alice")
	want := []string{alice.SecretAccessKey}
	for range 3 {
		keys := keysOf(assume(t, client(srv, alice), request()).Credentials)
		want = append(want, keys.SecretAccessKey, keys.SessionToken)
		clock.Step(24 * time.Hour) // secrets of forgotten keys too
	}
	if got := slices.Collect(srv.IssuedSecrets()); !slices.Equal(got, want) {
		t.Errorf("secrets are %v, want %v", got, want)
	}
	for n := range want {
		listed := 0
		for range srv.IssuedSecrets() {
			if listed++; listed > n {
				break
			}
		}
	}
}

func TestKeys_PrintWithoutSecrets(t *testing.T) {
	srv := start(t)
	keys, err := srv.AddSession(roleARN, "node", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(form, keys)
		if strings.Contains(text, keys.SecretAccessKey) || strings.Contains(text, keys.SessionToken) || !strings.Contains(text, keys.AccessKeyID) {
			t.Errorf("%s prints %s", form, text)
		}
	}
}

func TestServer_ConcurrentSettingsAndCalls(t *testing.T) {
	srv := start(t)
	keys := srv.AddUser(account, "alice")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c := client(srv, keys)
			for range 25 {
				_, _ = c.AssumeRole(context.Background(), request(oneTag("k", "v")))
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			srv.SetRateLimit(1000)
			srv.ThrottleNext(1)
			srv.SetFault(ststest.MissingExpiration)
			srv.SetLatency(time.Microsecond)
			srv.SetClock(time.Now)
			srv.Deny(roleARN)
			srv.Trust(roleARN, func(call ststest.Call) bool { call.Tags["k"] = "mine"; return true })
			srv.SetMaxSessionDuration(roleARN, time.Hour)
			srv.SetSessionLifetime(time.Minute)
			srv.Allow(roleARN)
			_, _ = srv.Calls(), srv.Counts()
		}
	})
	wg.Wait()
	total := 0
	for _, n := range srv.Counts() {
		total += n
	}
	if total != 100 || len(srv.Calls()) != 100 {
		t.Errorf("%d calls counted, %d remembered, of 100", total, len(srv.Calls()))
	}
}
