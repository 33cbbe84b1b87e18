package policy_test

import (
	"context"
	"testing"

	"kube-aws-iam-controller/pkg/policy"
)

// The last of several patterns matches, or none.
func BenchmarkNamespace(b *testing.B) {
	for name, annotations := range map[string]map[string]string{
		"globs":      {policy.AllowedRolesAnnotation: `["reports", "team-*", "arn:aws:iam::123456789012:role/shared/*", "batch-*-reader", "orders*"]`},
		"expression": {policy.PermittedAnnotation: `(?:reports|team-.*|orders)`},
		"refused":    {policy.AllowedRolesAnnotation: `["reports", "team-*", "batch-*-reader"]`},
	} {
		authorize := policy.Namespace(func(context.Context, string) (map[string]string, error) { return annotations, nil })
		asked := request(b, "orders")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if v, err := authorize(b.Context(), asked); err != nil || v.Allowed != (name != "refused") {
					b.Fatal(v, err)
				}
			}
		})
	}
}
