package demand_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/demand"
)

// realPod is a pod as a cluster has them, 10 KB of JSON: probes, variables, volumes, status and managed fields, and no Secret of ours. Parts add to it.
func realPod(tb testing.TB, parts ...build) *corev1.Pod {
	tb.Helper()
	text, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		tb.Fatal(err)
	}
	p := &corev1.Pod{}
	if err := json.Unmarshal(text, p); err != nil {
		tb.Fatal(err)
	}
	for _, part := range parts {
		part(p)
	}
	return p
}

// realPods are those that the controller meets, by what they want.
func realPods(tb testing.TB) map[string]*corev1.Pod {
	tb.Helper()
	many := []build{projected("mesh", "ca", "token", "crl")}
	for i := range 40 {
		many = append(many, volume(fmt.Sprintf("other-%d", i), fmt.Sprintf("tls-%d", i)))
	}
	for i := range 10 {
		many = append(many, volume(fmt.Sprintf("role-%d", i), fmt.Sprintf("aws-iam-role-%d", i)))
	}
	return map[string]*corev1.Pod{
		"wants-nothing": realPod(tb),
		"wants-one":     realPod(tb, volume("role", "aws-iam-checkout"), container("c", mount("role", mountPath))),
		"wants-many":    realPod(tb, many...),
	}
}

// Every pod of the cluster goes through Wants when the controller starts, and most want nothing: they must leave nothing behind.
func TestWantsAllocatesNothing(t *testing.T) {
	ephemeral := realPod(t, ephemeralContainer("debug", env("tls"), envFrom("tls")), projected("more", "ca", "token"))
	for what, p := range map[string]*corev1.Pod{"a real pod": realPod(t), "an ephemeral container, too": ephemeral} {
		if demand.Wants(p) {
			t.Fatal(what, "wants something")
		}
		if n := testing.AllocsPerRun(100, func() { demand.Wants(p) }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkWants(b *testing.B) {
	for what, p := range realPods(b) {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				demand.Wants(p)
			}
		})
	}
}

func BenchmarkFromPod(b *testing.B) {
	for what, p := range realPods(b) {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				demand.FromPod(p, mountPath)
			}
		})
	}
}
