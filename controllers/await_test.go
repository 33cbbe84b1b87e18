package controllers_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"kube-aws-iam-controller/controllers"
)

// An API server that is away when the controller starts is waited for: alive, not ready, and told in the log.
func TestTheAPIServerComesUpLate(t *testing.T) {
	w := newWorld(t)
	late, health := freePort(t), freePort(t)
	cfg := rest.CopyConfig(asController)
	cfg.Host = "https://" + late
	waited := make(chan error, 1)
	go func() {
		waited <- within(patience, func() error {
			if live, ready := status(health, "/healthz"), status(health, "/readyz"); live != http.StatusOK || ready != http.StatusServiceUnavailable {
				return errors.New("the probes of a controller that waits say otherwise")
			}
			if log := written.String(); !strings.Contains(log, late+"/apis") || !strings.Contains(log, "connection refused") {
				return errors.New("the log does not say what is waited for")
			}
			return nil
		})
		forward(t, late)
	}()
	w.startAs(cfg, func(o *controllers.Options) { o.HealthAddress = health })
	w.must(<-waited)
	w.eventually("ready", func() bool { return ready(health) && status(health, "/healthz") == http.StatusOK })
	w.pod("app", role("orders"))
	w.wait("aws-iam-orders")
}

func TestWaitingForTheAPIServerEnds(t *testing.T) {
	w := newWorld(t)
	nowhere := &rest.Config{Host: "http://127.0.0.1:1"}
	o := w.options()
	for _, c := range []struct {
		says, health, want string
		ctx                func() context.Context
	}{
		{"at a signal to end", "0", context.Canceled.Error(), func() context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		}},
		{"with an address of the probes that is none", "nowhere", "nowhere", t.Context},
	} {
		t.Run(c.says, func(t *testing.T) {
			o.HealthAddress = c.health
			if _, err := controllers.NewManager(c.ctx(), nowhere, o); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), nowhere.Host) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

// within waits until there is no error, and returns the last if that takes too long. Other than world.eventually it serves any goroutine.
func within(patience time.Duration, check func() error) (err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return nil
		}
	}
	return err
}

// status is what a path of a server answers, or 0.
func status(address, path string) int {
	answer, err := http.Get("http://" + address + path) //nolint:noctx // of the test's own server
	if err != nil {
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// forward lets the API server be reached at an address, until the test ends.
func forward(t *testing.T, address string) {
	t.Helper()
	api, err := url.Parse(admin.Host)
	if err != nil {
		t.Error(err)
		return
	}
	listener, err := net.Listen("tcp", address) //nolint:noctx // at once
	if err != nil {
		t.Error(err)
		return
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
