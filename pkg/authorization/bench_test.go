package authorization_test

import (
	"context"
	"testing"

	"kube-aws-iam-controller/pkg/authorization"
)

// BenchmarkNamespace decides by several patterns, of which only the last one matches, or none.
func BenchmarkNamespace(b *testing.B) {
	for name, annotations := range map[string]map[string]string{
		"globs":      {authorization.AllowedRolesAnnotation: `["reports", "team-*", "arn:aws:iam::123456789012:role/shared/*", "batch-*-reader", "orders*"]`},
		"expression": {authorization.PermittedAnnotation: `(?:reports|team-.*|orders)`},
		"denied":     {authorization.AllowedRolesAnnotation: `["reports", "team-*", "batch-*-reader"]`},
	} {
		authorize := authorization.Namespace(func(context.Context, string) (map[string]string, error) { return annotations, nil })
		asked := request(b, "orders")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d, err := authorize(b.Context(), asked); err != nil || d.Allowed != (name != "denied") {
					b.Fatal(d, err)
				}
			}
		})
	}
}
