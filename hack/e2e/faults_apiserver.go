//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// filter adds rules of iptables, or takes them away again.
func (c *cluster) filter(ctx context.Context, add bool, rules ...string) error {
	for _, rule := range rules {
		verb := "--delete"
		if add {
			verb = "--insert"
		}
		if err := c.command(ctx, "iptables", append([]string{"--wait", verb}, strings.Fields(rule)...)...); err != nil {
			return err
		}
	}
	return nil
}

// partition loses all packets between the leader and the API server, both ways.
func partition(ctx context.Context, f *fleet) (note string, err error) {
	old, err := f.leader(ctx)
	if err != nil {
		return "", err
	}
	rules := []string{"INPUT -s " + old.Status.PodIP + " -d " + apiAddress + " -j DROP", "OUTPUT -s " + apiAddress + " -d " + old.Status.PodIP + " -j DROP"}
	if err := f.filter(ctx, true, rules...); err != nil {
		return "", err
	}
	began := time.Now()
	if err := f.await(ctx, "another replica leads", func() (bool, error) {
		now, err := f.leader(ctx)
		return err == nil && now.UID != old.UID, client.IgnoreNotFound(err)
	}); err != nil {
		return "", err
	}
	took := time.Since(began)
	if err := f.follow(ctx, halfSession-took); err != nil {
		return "", err
	}
	if err := f.filter(ctx, false, rules...); err != nil {
		return "", err
	}
	return fmt.Sprintf("%.0f s, another led after %.0f s", time.Since(began).Seconds(), took.Seconds()), f.awaitController(ctx)
}

// apiServerRestarted kills the API server and starts it again at once, with a history that begins after all that its clients know.
func apiServerRestarted(ctx context.Context, f *fleet) (note string, err error) {
	again, err := f.halt(ctx, kubeAPIServer)
	if err != nil {
		return "", err
	}
	if err := f.compact(ctx); err != nil {
		return "", err
	}
	began := time.Now()
	if err := f.restartAPIServer(ctx, again); err != nil {
		return "", err
	}
	took := time.Since(began)
	return fmt.Sprintf("etcd compacted meanwhile, answered after %.0f s", took.Seconds()), f.follow(ctx, twoRenewals)
}

// longSession is how long sessions last where the Lease may have to pass on after the fault: the 16 s that this takes at the worst are little of half an
// hour, and more than there is to spare of half a minute.
const longSession = 3 * time.Minute

// apiServerAway kills the API server, and starts it again half a session later.
func apiServerAway(ctx context.Context, f *fleet) (note string, err error) {
	f.STS.SetSessionLifetime(longSession)
	if err := f.awaitFresh(ctx, longSession); err != nil {
		return "", err
	}
	restarts, err := f.restarts(ctx)
	if err != nil {
		return "", err
	}
	again, err := f.halt(ctx, kubeAPIServer)
	if err != nil {
		return "", err
	}
	began := time.Now()
	if err := f.follow(ctx, longSession/2); err != nil {
		return "", err
	}
	f.STS.SetSessionLifetime(sdkSession)
	if err := f.restartAPIServer(ctx, again); err != nil {
		return "", err
	}
	took := time.Since(began)
	// They would ask the API server again only after one or two minutes: that, too, is little of half an hour.
	for _, name := range []string{kubelet, kubeScheduler, kubeControllerManager} {
		again, err := f.halt(ctx, name)
		if err == nil {
			err = again()
		}
		if err != nil {
			return "", err
		}
	}
	if err := f.awaitController(ctx); err != nil {
		return "", err
	}
	err = f.await(ctx, "the kubelet tells that the leader ended once", func() (bool, error) {
		now, err := f.restarts(ctx)
		if now > restarts+1 {
			err = fmt.Errorf("controllers ended %d times, and not only the leader once", now-restarts)
		}
		return now == restarts+1, err
	})
	return fmt.Sprintf("away for %.0f s, with sessions of %s; the leader ended once, and waited", took.Seconds(), longSession), err
}

// restarts is how often a container of the controller was started again.
func (c *cluster) restarts(ctx context.Context) (restarts int32, err error) {
	running, err := c.replicas(ctx)
	for i := range running {
		for _, status := range running[i].Status.ContainerStatuses {
			restarts += status.RestartCount
		}
	}
	return restarts, err
}

// watchesReset compacts etcd and breaks every connection of pods with the API server, three times.
func watchesReset(ctx context.Context, f *fleet) (note string, err error) {
	rule := "INPUT -s " + pods + " -d " + apiAddress + " -p tcp -j REJECT --reject-with tcp-reset"
	refused := 0
	for range 3 {
		if err := f.compact(ctx); err != nil {
			return "", err
		}
		if err := f.filter(ctx, true, rule); err != nil {
			return "", err
		}
		if err := f.follow(ctx, 3*time.Second); err != nil { // the leader's Lease is renewed meanwhile
			return "", err
		}
		hit, err := f.hits(ctx)
		if err != nil || hit == 0 {
			return "", errors.Join(err, fmt.Errorf("%d packets were refused", hit))
		}
		refused += hit
		if err := f.filter(ctx, false, rule); err != nil {
			return "", err
		}
		if err := f.follow(ctx, 3*time.Second); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("three times 3 s, %d packets refused", refused), nil
}

// hits is how many packets the first rule of INPUT has seen.
func (c *cluster) hits(ctx context.Context) (packets int, err error) {
	rules, err := c.output(ctx, "iptables", "--wait", "--list-rules", "INPUT", "1", "--verbose")
	if err != nil {
		return 0, err
	}
	_, counters, _ := strings.Cut(rules, " -c ")
	_, err = fmt.Sscan(counters, &packets)
	return packets, err
}
