package app

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Whatever many clients do with their connections, few are kept, and who asks is answered at once.
func TestHTTPServer_KeepsFewConnections(t *testing.T) {
	for name, request := range map[string]string{
		"that send nothing":                       "",
		"that send a part of a request":           "GET / HTTP/1.1\r\n",
		"that announce a body and do not send it": "GET / HTTP/1.1\r\nHost: probes\r\nContent-Length: 100\r\n\r\n",
		"that have been answered":                 "GET / HTTP/1.1\r\nHost: probes\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			limit := newConnectionLimit(maxConnections)
			most := 0
			s := httptest.NewUnstartedServer(nil)
			s.Config = newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
			s.Config.ConnState = func(c net.Conn, state http.ConnState) {
				limit.observe(c, state)
				limit.lock.Lock()
				defer limit.lock.Unlock()
				most = max(most, len(limit.open))
			}
			s.Start()
			t.Cleanup(s.Close)
			first := send(t, s, request)
			for range 1000 {
				send(t, s, request)
			}
			if status, _ := scrape(t, s.URL); status != http.StatusNoContent {
				t.Errorf("status %d", status)
			}
			_, _ = io.Copy(io.Discard, first) // until the server closes it
			limit.lock.Lock()
			defer limit.lock.Unlock()
			if most > maxConnections || len(limit.open) != limit.order.Len() {
				t.Errorf("%d connections were kept, and %d of %d are remembered", most, limit.order.Len(), len(limit.open))
			}
		})
	}
}

// pipe is a connection that can be closed.
type pipe struct {
	net.Conn

	closed bool
}

// Close implements net.Conn.
func (p *pipe) Close() error {
	p.closed = true
	return nil
}

func TestConnectionLimit_ClosesTheOneInWhichNothingHappened(t *testing.T) {
	l := newConnectionLimit(2)
	a, b, c := &pipe{}, &pipe{}, &pipe{}
	l.observe(a, http.StateNew)
	l.observe(b, http.StateNew)
	l.observe(a, http.StateActive)
	l.observe(c, http.StateNew)
	if a.closed || !b.closed || c.closed {
		t.Errorf("closed: %t, %t, %t", a.closed, b.closed, c.closed)
	}
	l.observe(b, http.StateClosed)
	l.observe(a, http.StateClosed)
	l.observe(c, http.StateClosed)
	if len(l.open) != 0 || l.order.Len() != 0 {
		t.Error("something is left")
	}
}

func TestConnectionLimit_IsForManyGoroutines(t *testing.T) {
	l := newConnectionLimit(10)
	var running sync.WaitGroup
	for range 100 {
		running.Go(func() {
			c := &pipe{}
			for _, state := range []http.ConnState{http.StateNew, http.StateActive, http.StateIdle, http.StateActive, http.StateClosed} {
				l.observe(c, state)
			}
		})
	}
	running.Wait()
	if len(l.open) != 0 || l.order.Len() != 0 {
		t.Error("something is left")
	}
}
