//go:build linux

package node

import (
	"context"
	"fmt"
	"strings"
)

// Drop returns the rules of iptables that drop all packets between a pod and the API server.
func Drop(podIP string) []string {
	return []string{
		"INPUT -s " + podIP + " -d " + APIAddress + " -j DROP",
		"OUTPUT -s " + APIAddress + " -d " + podIP + " -j DROP",
	}
}

// Reset returns the rule of iptables that resets every connection of a pod to the API server.
func Reset() string {
	return "INPUT -s " + PodRange + " -d " + APIAddress + " -p tcp -j REJECT --reject-with tcp-reset"
}

// AddRules puts rules of iptables before all others.
func (*Node) AddRules(ctx context.Context, rules ...string) error {
	return iptables(ctx, "--insert", rules)
}

// DeleteRules deletes what AddRules has added.
func (*Node) DeleteRules(ctx context.Context, rules ...string) error {
	return iptables(ctx, "--delete", rules)
}

func iptables(ctx context.Context, verb string, rules []string) error {
	for _, rule := range rules {
		if err := run(ctx, "iptables", append([]string{"--wait", verb}, strings.Fields(rule)...)...); err != nil {
			return err
		}
	}
	return nil
}

// MatchedPackets returns how many packets the first rule of INPUT has matched.
func (*Node) MatchedPackets(ctx context.Context) (packets int, err error) {
	rules, err := output(ctx, "iptables", "--wait", "--list-rules", "INPUT", "1", "--verbose")
	if err != nil {
		return 0, err
	}
	_, counters, _ := strings.Cut(rules, " -c ")
	_, err = fmt.Sscan(counters, &packets)
	return packets, err
}
