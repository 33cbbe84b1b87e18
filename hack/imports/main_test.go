package main

import (
	"slices"
	"testing"
)

const module = "kube-aws-iam-controller"

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name        string
		path        string
		imports     []string
		testImports []string
		want        []string
	}{
		{
			name:    "the standard library is open to all",
			path:    "pkg/refresh",
			imports: []string{"time", "math/rand/v2"},
		},
		{
			name:    "what the row names may be imported",
			path:    "pkg/credentials",
			imports: []string{module + "/pkg/role", "github.com/aws/aws-sdk-go-v2/service/sts"},
		},
		{
			name:    "a library the row does not name may not",
			path:    "pkg/refresh",
			imports: []string{"k8s.io/utils/clock"},
			want:    []string{"pkg/refresh: may not import k8s.io/utils/clock (see hack/imports/table.go)"},
		},
		{
			name:    "nor may a package of our own",
			path:    "pkg/role",
			imports: []string{module + "/pkg/demand"},
			want:    []string{"pkg/role: may not import pkg/demand (see hack/imports/table.go)"},
		},
		{
			name:    "only one package knows the AWS SDK",
			path:    "controllers",
			imports: []string{"github.com/aws/aws-sdk-go-v2/service/sts"},
			want:    []string{"controllers: may not import github.com/aws/aws-sdk-go-v2/service/sts (see hack/imports/table.go)"},
		},
		{
			name:    "a path that merely starts alike is another path",
			path:    "pkg/policy",
			imports: []string{"k8s.io/apiserver/pkg/authorization"},
			want:    []string{"pkg/policy: may not import k8s.io/apiserver/pkg/authorization (see hack/imports/table.go)"},
		},
		{
			name:        "tests may use the double and any library",
			path:        "controllers",
			testImports: []string{module + "/pkg/credentials/ststest", "github.com/google/go-cmp/cmp"},
		},
		{
			name:    "what ships may not contain the double",
			path:    "controllers",
			imports: []string{module + "/pkg/credentials/ststest"},
			want:    []string{"controllers: may not import pkg/credentials/ststest (see hack/imports/table.go)"},
		},
		{
			name:        "tests point the same way as the code",
			path:        "pkg/role",
			testImports: []string{module + "/pkg/role", module + "/controllers"},
			want:        []string{"pkg/role: its tests may not import controllers (see hack/imports/table.go)"},
		},
		{
			name: "every package that ships has a row",
			path: "pkg/novelty",
			want: []string{"pkg/novelty: has no row in hack/imports/table.go that says what it may import"},
		},
		{
			name:    "what does not ship needs none",
			path:    "hack/novelty",
			imports: []string{module + "/pkg/credentials/ststest"},
		},
		{
			name: "no package is named after nothing",
			path: "hack/util",
			want: []string{"hack/util: name the package after what it is for"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := pkg{ImportPath: module + "/" + test.path, Imports: test.imports, XTestImports: test.testImports}
			p.Module.Path = module
			if got := check([]pkg{p}); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
