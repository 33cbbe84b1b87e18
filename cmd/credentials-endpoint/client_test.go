package main

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/secret/keys"
)

func TestWait_UntilTheEndpointListens(t *testing.T) {
	volume := newTestVolume(t)
	volume.mustPublish(t, goodFiles(t))
	listener, err := listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	waited := make(chan error, 1)
	go func() { waited <- wait(t.Context(), address, secretVolume(volume.dir), 10*time.Second) }()

	h, _ := newTestHandler(volume)
	listener, err = listen(t.Context(), address)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- newServer(h).serve(ctx, listener) }()
	must(t, <-waited)
	stop()
	must(t, <-served)
}

func TestWait_UntilThereAreCredentials(t *testing.T) {
	volume := newTestVolume(t)
	files := goodFiles(t)
	volume.mustPublish(t, map[string]string{keys.EndpointToken: goodToken})
	h, _ := newTestHandler(volume)
	requested := make(chan struct{}, 1000)
	h.now = func() time.Time {
		select {
		case requested <- struct{}{}:
		default:
		}
		return now
	}
	address, _ := start(t, h)
	waited := make(chan error, 1)
	go func() { waited <- wait(t.Context(), address, secretVolume(volume.dir), 10*time.Second) }()
	<-requested
	volume.mustPublish(t, files)
	must(t, <-waited)
}

// The kubelet shows what wait reports in an event: it is the reason that the endpoint has.
func TestWait_ReportsTheReason(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no token":        {map[string]string{keys.ContainerJSON: containerJSON(t, now.Add(time.Hour))}, "endpoint-token cannot be read: no such file"},
		"invalid token":   {map[string]string{keys.EndpointToken: "a\r\nHost: x"}, "endpoint-token is not"},
		"no credentials":  {map[string]string{keys.EndpointToken: goodToken}, "container.json cannot be read: no such file"},
		"half-written":    {map[string]string{keys.EndpointToken: goodToken, keys.ContainerJSON: "{"}, "container.json has no complete credentials"},
		"expired already": {map[string]string{keys.EndpointToken: goodToken, keys.ContainerJSON: containerJSON(t, now)}, "expired at 2026-01-02T03:04:05Z"},
	} {
		t.Run(name, func(t *testing.T) {
			volume := newTestVolume(t)
			volume.mustPublish(t, test.files)
			h, _ := newTestHandler(volume)
			ctx, cancel := context.WithCancel(t.Context())
			var calls atomic.Int32
			h.now = func() time.Time {
				if calls.Add(1) == 3 { // there are at most two for each request: the first was answered
					cancel()
				}
				return now
			}
			address, _ := start(t, h)
			err := wait(ctx, address, secretVolume(volume.dir), time.Minute)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

// A restart does not bring credentials back, so their absence must not make the kubelet restart the
// container.
func TestHealthcheck_NeedsNoCredentials(t *testing.T) {
	h, log := newTestHandler(newTestVolume(t))
	address, _ := start(t, h)
	must(t, healthcheck(t.Context(), address, 10*time.Second))
	if log.String() != "" {
		t.Errorf("logged %s", log)
	}
}

func TestHealthcheck_FailsWithoutAResponse(t *testing.T) {
	for name, response := range map[string]string{
		"silence":     "",
		"another":     "SSH-2.0-OpenSSH\r\n",
		"not healthy": "HTTP/1.1 500 Internal Server Error\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := listen(t.Context(), "127.0.0.1:0")
			must(t, err)
			defer listener.Close() //nolint:errcheck // it is not used any more
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, response)
				if response != "" {
					_ = conn.Close()
				}
			}()
			if err := healthcheck(t.Context(), listener.Addr().String(), 100*time.Millisecond); err == nil {
				t.Error("got no error")
			}
		})
	}
}
