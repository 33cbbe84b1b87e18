//go:build linux

package node

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// containerdSocket is where containerd listens; the kubelet's settings name it, too.
const containerdSocket = "/run/containerd/containerd.sock"

// probeTimeout bounds one check whether something is ready: a program that does not answer yet is
// called again.
const probeTimeout = 10 * time.Second

// containerdReady returns a condition for env.Await: containerd answers the calls of the
// Container Runtime Interface. It listens before that, and the kubelet ends if its first call is
// refused.
//
// The call is gRPC by hand: HTTP/2 without TLS, and an empty message after its prefix. Source:
// "gRPC over HTTP2" in the documentation of gRPC.
func containerdReady(ctx context.Context) func() (bool, error) {
	var http2 http.Protocols
	http2.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &http2, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", containerdSocket)
	}}
	return func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		const emptyMessage = "\x00\x00\x00\x00\x00"
		request, err := http.NewRequestWithContext(ctx, http.MethodPost,
			"http://containerd/runtime.v1.RuntimeService/Status", bytes.NewBufferString(emptyMessage))
		if err != nil {
			return false, err
		}
		request.Header.Set("Content-Type", "application/grpc")
		request.Header.Set("TE", "trailers")
		answer, err := transport.RoundTrip(request)
		if err != nil {
			return false, nil // not yet
		}
		defer answer.Body.Close() //nolint:errcheck // it was read
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return false, nil // not yet
		}
		return answer.Header.Get("Grpc-Status")+answer.Trailer.Get("Grpc-Status") == "0", nil
	}
}
