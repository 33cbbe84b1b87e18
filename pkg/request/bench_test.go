package request_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/request"
)

// realPod returns a typical pod of 10 KB of JSON, with probes, environment variables, volumes,
// status and managed fields, which requests nothing, and applies options to it.
func realPod(tb testing.TB, options ...podOption) *corev1.Pod {
	tb.Helper()
	text, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		tb.Fatal(err)
	}
	p := &corev1.Pod{}
	if err := json.Unmarshal(text, p); err != nil {
		tb.Fatal(err)
	}
	for _, option := range options {
		option(p)
	}
	return p
}

// realPods returns typical pods, by what they request.
func realPods(tb testing.TB) map[string]*corev1.Pod {
	tb.Helper()
	many := []podOption{projected("mesh", "ca", "token", "crl")}
	for i := range 40 {
		many = append(many, volume(fmt.Sprintf("other-%d", i), fmt.Sprintf("tls-%d", i)))
	}
	for i := range 10 {
		many = append(many, volume(fmt.Sprintf("role-%d", i), fmt.Sprintf("aws-iam-role-%d", i)))
	}
	return map[string]*corev1.Pod{
		"requests-nothing": realPod(tb),
		"requests-one":     realPod(tb, volume("role", "aws-iam-checkout"), container("c", mount("role", mountPath))),
		"requests-many":    realPod(tb, many...),
		"serviceaccount":   realPod(tb, volume("role", "aws-iam.checkout"), as("checkout"), container("c", mount("role", mountPath))),
	}
}

// The controller calls HasRequests for every pod of the cluster when it starts, and most request
// nothing.
func TestHasRequests_AllocatesNothing(t *testing.T) {
	ephemeral := realPod(t, ephemeralContainer("debug", env("tls"), envFrom("tls")), projected("more", "ca", "token"))
	for what, p := range map[string]*corev1.Pod{"a real pod": realPod(t), "an ephemeral container": ephemeral} {
		if request.HasRequests(p) {
			t.Fatal(what, "requests something")
		}
		if n := testing.AllocsPerRun(100, func() { request.HasRequests(p) }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkHasRequests(b *testing.B) {
	for what, p := range realPods(b) {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				request.HasRequests(p)
			}
		})
	}
}

func BenchmarkFromPod(b *testing.B) {
	for what, p := range realPods(b) {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				request.FromPod(p, mountPath)
			}
		})
	}
}

func BenchmarkFromServiceAccount(b *testing.B) {
	for what, account := range map[string]*metav1.PartialObjectMetadata{
		"asks-for-nothing": serviceAccount("app", "example.org/other", "x"),
		"asks-for-a-role":  serviceAccount("app", request.RoleAnnotation, "arn:aws:iam::123456789012:role/Stack-OrdersRole-1AB2C3"),
	} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				request.FromServiceAccount(account)
			}
		})
	}
}
