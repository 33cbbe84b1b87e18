package app

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"kube-aws-iam-controller/test/env"
)

// flood answers with more than the buffers of a connection hold.
func flood(answering *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answering.Add(1)
		defer answering.Add(-1)
		block := make([]byte, 64<<10)
		for range 1024 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
}

// send opens a connection and sends something, and reads nothing.
func send(t *testing.T, s *httptest.Server, request string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return c
}

// get is a request for metrics.
const get = "GET /metrics HTTP/1.1\r\nHost: metrics\r\n\r\n"

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// scrape returns the status of a request whose answer is read, and how long the answer is; 0 if
// the server closes the connection.
func scrape(t *testing.T, url string) (status int, size int64) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, 0
	}
	defer func() { _ = response.Body.Close() }()
	size, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, size
}

// serveMetrics serves a handler with the limits of the metrics, but another time.
func serveMetrics(t *testing.T, limit time.Duration, handler http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config = newHTTPServer(limitInFlight(maxScrapes, handler))
	s.Config.ReadTimeout, s.Config.WriteTimeout = limit, limit
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func TestMetrics_ManyClientsThatDoNotReadAreRefused(t *testing.T) {
	var answering atomic.Int64
	s := serveMetrics(t, time.Hour, flood(&answering))
	goroutines, heap := runtime.NumGoroutine(), env.LiveHeap()
	var held []net.Conn
	for range maxScrapes {
		held = append(held, send(t, s, get))
	}
	eventually(t, "as many are answered as may be", func() bool { return answering.Load() == maxScrapes })
	for range 296 { // in turn, as who opens more connections at once closes those before
		held = append(held, send(t, s, get))
		if status, _ := scrape(t, s.URL); status != http.StatusServiceUnavailable {
			t.Fatalf("one more gets status %d", status)
		}
	}
	eventually(t, "all others are left", func() bool { return runtime.NumGoroutine() < goroutines+5*maxScrapes })
	grown := int64(env.LiveHeap()) - int64(heap) //nolint:gosec // a heap is smaller
	t.Logf("%d clients take %d goroutines and %d KiB", len(held), runtime.NumGoroutine()-goroutines, grown>>10)
	if grown > 2<<20 {
		t.Errorf("%d bytes are in use for them", grown)
	}
}

func TestMetrics_ClientsThatDoNotReadAreLeft(t *testing.T) {
	var answering atomic.Int64
	s := serveMetrics(t, 50*time.Millisecond, flood(&answering))
	for range 300 {
		send(t, s, get)
	}
	eventually(t, "others are answered again", func() bool {
		status, _ := scrape(t, s.URL)
		return status == http.StatusOK
	})
	eventually(t, "the answer to none is waited for", func() bool { return answering.Load() == 0 })
}

func TestMetrics_ClientsThatDoNotSendAreLeft(t *testing.T) {
	var reading atomic.Int64
	s := serveMetrics(t, 50*time.Millisecond, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reading.Add(1)
		defer reading.Add(-1)
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	c := send(t, s, "GET /metrics HTTP/1.1\r\nHost: metrics\r\nContent-Length: 1000000\r\n\r\n")
	if _, err := io.Copy(io.Discard, c); err != nil { // until the server closes it
		t.Error(err)
	}
	if n := reading.Load(); n != 0 {
		t.Errorf("%d are waited for", n)
	}
}

func TestMetrics_ClientsThatReadGetAll(t *testing.T) {
	var answering atomic.Int64
	s := serveMetrics(t, requestTimeout, flood(&answering))
	for range 3 { // on one connection
		if status, size := scrape(t, s.URL); status != http.StatusOK || size != 64<<20 {
			t.Errorf("status %d, %d bytes", status, size)
		}
	}
}
