package integration_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
	"kube-aws-iam-controller/test/env"
)

// The controller waits for an API server that is away when it starts: it is alive, not ready, and
// logs why.
func TestAPIServer_ComesUpLate(t *testing.T) {
	w := newTestEnv(t)
	late, health := freeAddress(t), freeAddress(t)
	cfg := rest.CopyConfig(asController)
	cfg.Host = "https://" + late
	waited := make(chan error, 1)
	go func() {
		waited <- env.AwaitWithin(t.Context(), patience, pollInterval, "alive, not ready, and a log of what it waits for", func() (bool, error) {
			log := written.String()
			return probe(t.Context(), health, "/healthz") == http.StatusOK && probe(t.Context(), health, "/readyz") == http.StatusServiceUnavailable &&
				strings.Contains(log, late+"/apis") && strings.Contains(log, "connection refused"), nil
		})
		forward(t, late)
	}()
	w.startAs(cfg, func(o *app.Options) { o.HealthAddress = health })
	w.must(<-waited)
	w.eventually("ready", func() bool {
		return ready(t.Context(), health) && probe(t.Context(), health, "/healthz") == http.StatusOK
	})
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
}

func TestAPIServer_WaitEndsWithTheContext(t *testing.T) {
	w := newTestEnv(t)
	nowhere := &rest.Config{Host: "http://127.0.0.1:1"}
	o := w.options()
	for _, c := range []struct {
		says, health, want string
		ctx                func() context.Context
	}{
		{"context canceled", "0", context.Canceled.Error(), func() context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		}},
		{"invalid address of the probes", "nowhere", "nowhere", t.Context},
	} {
		t.Run(c.says, func(t *testing.T) {
			o.HealthAddress = c.health
			if _, err := app.NewManager(c.ctx(), nowhere, &o); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), nowhere.Host) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

// forward lets the API server be reached at an address, until the test ends.
func forward(t *testing.T, address string) {
	t.Helper()
	api, err := url.Parse(admin.Host)
	if err != nil {
		t.Error(err)
		return
	}
	var listener net.Listener
	err = env.AwaitWithin(t.Context(), patience, pollInterval, "the address, which another program can have for a moment", func() (bool, error) {
		listener, err = net.Listen("tcp", address) //nolint:noctx // at once
		return err == nil, nil
	})
	if err != nil {
		panic(err) // the controller would wait without end
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", api.Host) //nolint:noctx // at once
			if err != nil {
				_ = from.Close()
				continue
			}
			go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
			go func() { _, _ = io.Copy(from, to); _ = from.Close() }()
		}
	}()
}
