//go:build e2e && linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/test/e2e/node"
)

// leaderPartitioned drops all packets between the leader and the API server, both ways.
func (f *fleet) leaderPartitioned(tb testing.TB) (note string) {
	tb.Helper()
	f.awaitController(tb) // the trial before may have killed the leader a moment ago
	old, err := f.getLeader()
	f.check(tb, err)
	rules := node.Drop(old.Status.PodIP)
	f.check(tb, f.node.AddRules(f.ctx, rules...))
	began := time.Now()
	f.await(tb, "another replica leads", func() (bool, error) {
		now, err := f.getLeader()
		return err == nil && now.UID != old.UID, client.IgnoreNotFound(err)
	})
	took := time.Since(began)
	f.follow(tb, f.halfSession()-took)
	f.check(tb, f.node.DeleteRules(f.ctx, rules...))
	note = fmt.Sprintf("%.0f s, another led after %.0f s", time.Since(began).Seconds(), took.Seconds())
	f.awaitController(tb)
	return note
}

// apiServerRestarted kills the API server and starts it again at once, with a history that begins
// after all that its clients have seen.
func (f *fleet) apiServerRestarted(tb testing.TB) (note string) {
	tb.Helper()
	restart, err := f.node.Halt(f.ctx, node.APIServer)
	f.check(tb, err)
	f.check(tb, f.node.Compact(f.ctx))
	began := time.Now()
	f.check(tb, restart())
	f.check(tb, f.node.AwaitAPIServer(f.ctx))
	took := time.Since(began)
	f.follow(tb, f.twoRenewals())
	return fmt.Sprintf("etcd compacted meanwhile, answered after %.0f s", took.Seconds())
}

// longSession is how long sessions last where the Lease can have to pass on after the fault: the
// 16 s that this takes at the worst are little of half an hour, and more than there is to spare of
// half a minute.
const longSession = 3 * time.Minute

// apiServerAway kills the API server, and starts it again half a session later.
func (f *fleet) apiServerAway(tb testing.TB) (note string) {
	tb.Helper()
	f.STS.SetSessionLifetime(longSession)
	f.awaitFresh(tb, longSession)
	restarts, err := f.countRestarts()
	f.check(tb, err)
	restart, err := f.node.Halt(f.ctx, node.APIServer)
	f.check(tb, err)
	began := time.Now()
	f.follow(tb, longSession/2)
	f.STS.SetSessionLifetime(f.Session)
	f.check(tb, restart())
	f.check(tb, f.node.AwaitAPIServer(f.ctx))
	took := time.Since(began)
	// By themselves they would call the API server again only after one or two minutes: that, too,
	// is little of half an hour.
	for _, name := range []string{node.Kubelet, node.Scheduler, node.ControllerManager} {
		f.check(tb, f.node.Restart(f.ctx, name))
	}
	f.awaitController(tb)
	f.await(tb, "the kubelet reports that the leader ended once", func() (bool, error) {
		now, err := f.countRestarts()
		if now > restarts+1 {
			err = fmt.Errorf("controllers ended %d times, and not only the leader once", now-restarts)
		}
		return now == restarts+1, err
	})
	return fmt.Sprintf("away for %.0f s, with sessions of %s; the leader ended once, and waited", took.Seconds(), longSession)
}

// resetTime is for how long connections are reset, and are not: the leader's Lease is renewed
// meanwhile.
const resetTime = 3 * time.Second

// watchesReset compacts etcd and breaks every connection of pods with the API server, three times.
func (f *fleet) watchesReset(tb testing.TB) (note string) {
	tb.Helper()
	rule := node.Reset()
	refused := 0
	for range 3 {
		f.check(tb, f.node.Compact(f.ctx))
		f.check(tb, f.node.AddRules(f.ctx, rule))
		f.follow(tb, resetTime)
		matched, err := f.node.MatchedPackets(f.ctx)
		f.check(tb, err)
		if matched == 0 {
			tb.Fatal("no packet was refused")
		}
		refused += matched
		f.check(tb, f.node.DeleteRules(f.ctx, rule))
		f.follow(tb, resetTime)
	}
	return fmt.Sprintf("three times %.0f s, %d packets refused", resetTime.Seconds(), refused)
}
