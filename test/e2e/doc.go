// Package e2e tests the controller on a cluster with real nodes, where programs that use the AWS
// SDKs read the files of its Secrets in pods.
//
// Its tests need the build tag e2e, and what make e2e-setup builds. make e2e does both. Each runs
// by its name:
//
//	go test -tags e2e -v -timeout 1h ./test/e2e -run TestPromise
//
// They run on a cluster of one node that package node starts on this machine, which needs root, or
// on the cluster of E2E_KUBECONFIG, where they skip what needs the local node. The environment
// variables are in options.go.
package e2e
