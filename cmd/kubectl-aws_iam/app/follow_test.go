package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// following is a list --watch that runs.
type following struct {
	*namespace

	out, err buffer
	done     chan int
	stop     context.CancelFunc
}

func (n *namespace) follow(args ...string) *following {
	n.Helper()
	ctx, stop := context.WithCancel(n.Context())
	f := &following{namespace: n, done: make(chan int, 1), stop: stop}
	n.Cleanup(stop)
	p := &plugin{IOStreams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &f.out, ErrOut: &f.err}, flags: genericclioptions.NewConfigFlags(true), now: n.now}
	go func() {
		f.done <- p.run(ctx, "test", append([]string{"--kubeconfig", n.kubeconfig, "list", "--watch"}, args...))
	}()
	return f
}

// sees waits until a line of the output has these fields; a star stands for any.
func (f *following) sees(want string) {
	f.Helper()
	f.await(want, func() (bool, error) {
		for _, line := range fields(f.out.String()) {
			if match(line, strings.Fields(want)) {
				return true, nil
			}
		}
		return false, nil
	})
}

// ends interrupts it and returns the exit code.
func (f *following) ends() int {
	f.stop()
	code := <-f.done
	_, _ = suite.seen.Write([]byte(f.out.String() + f.err.String()))
	return code
}

func TestList_Watch(t *testing.T) {
	n := newRoles(t)
	f := n.follow()
	f.sees("aws-iam-billing billing Pod 1 <none> <none> Waiting")
	f.sees("aws-iam-orders * Pod 2 in * * Ready")
	n.create(n.pod("orders-3", "web", "aws-iam-orders"))
	f.sees("aws-iam-orders * Pod 3 in * * Ready")
	n.must(suite.Cluster.Delete(n.Context(), n.pod("denied", "web")))
	f.sees("aws-iam-billing billing Pod 1 <none> <none> Deleted")
	n.must(suite.Cluster.Delete(n.Context(), n.awsIAMRole("reports-reader", "")))
	f.sees("reports-reader * AWSIAMRole 0 in * * Unused")
	if code := f.ends(); code != 0 || f.err.String() != "" {
		t.Errorf("exit code %d: %s", code, f.err.String())
	}
	if n := strings.Count(f.out.String(), "SECRET"); n != 1 {
		t.Errorf("%d headers:\n%s", n, f.out.String())
	}
}

func TestList_WatchObjects(t *testing.T) {
	n := newRoles(t)
	f := n.follow("-o", "json", "--role", "orders")
	f.sees(`"state": "Ready"`)
	n.create(n.pod("orders-3", "web", "aws-iam-orders"))
	f.sees(`"orders-3"`)
	if code := f.ends(); code != 0 {
		t.Errorf("exit code %d: %s", code, f.err.String())
	}
	for decoder := json.NewDecoder(bytes.NewReader([]byte(f.out.String()))); ; {
		var u struct{ Kind, Secret string }
		err := decoder.Decode(&u)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || u.Kind != "RoleUsage" || u.Secret != "aws-iam-orders" {
			t.Fatalf("%+v, %v", u, err)
		}
	}
}

func TestList_WatchForbidden(t *testing.T) {
	n := newNamespace(t)
	f := n.as("stranger", "system:authenticated").follow()
	if code := <-f.done; code != 1 || !strings.Contains(f.err.String(), "error: ") || !strings.Contains(f.err.String(), "is forbidden") {
		t.Errorf("exit code %d: %s", code, f.err.String())
	}
}
