package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// The limits of the server, so that no client can take memory from it.
const (
	maxConnections = 64
	maxHeaderBytes = 8 << 10

	shutdownTimeout = 5 * time.Second
)

// timeouts are how long a connection waits for its client.
type timeouts struct {
	first   time.Duration // for the first byte
	idle    time.Duration // for the next request
	request time.Duration // for the rest of a request, and for the response
}

var defaultTimeouts = timeouts{first: 2 * time.Second, idle: 30 * time.Second, request: 2 * time.Second}

// checkLoopback returns an error unless the address is a loopback IP address with a port. A name is
// refused, as its address can change.
func checkLoopback(address string) error {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("--listen: %q is not an IP address with a port, such as 127.0.0.1:9912", address)
	}
	if !parsed.Addr().IsLoopback() {
		return fmt.Errorf("--listen: %s is not a loopback address, so other pods could reach it; use 127.0.0.1:%d", address, parsed.Port())
	}
	return nil
}

// limitMemory makes the garbage collector keep the heap small, on machines of any size. One
// processor is enough for thousands of requests a second.
func limitMemory() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(25)
}

// listen opens a loopback address.
func listen(ctx context.Context, address string) (net.Listener, error) {
	if err := checkLoopback(address); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: deferAccept}
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; is another endpoint in the pod, or the pod on the host's network?", err)
	}
	return listener, nil
}

// server serves HTTP on up to maxConnections connections. If all are taken, a new one takes the
// place of the oldest one that has not sent the token, so clients without the token cannot keep out
// those that have it.
type server struct {
	handler  *handler
	timeouts timeouts

	mu       sync.Mutex
	freed    sync.Cond // a connection ended, or can be evicted now
	stopping bool
	open     []*connection // the oldest first
	running  sync.WaitGroup
}

// connection is an open connection. The server's mutex guards its fields.
type connection struct {
	net.Conn

	authenticated bool // a request had the token
	// evictable is set while the server waits for a client that has not sent the token. It is not
	// set before the first read, which finds the request of a client that sends it at once, and
	// while a response is prepared, which no client can prolong.
	evictable bool
}

func newServer(h *handler) *server {
	s := &server{handler: h, timeouts: defaultTimeouts}
	s.freed.L = &s.mu
	return s
}

// serve accepts connections until the context ends, then waits for running requests, at most
// shutdownTimeout.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		_ = listener.Close() // Accept returns the error
		s.mu.Lock()
		defer s.mu.Unlock()
		s.freed.Signal()
	})
	defer stop()
	for {
		conn, err := listener.Accept()
		if err == nil && s.admit(ctx, conn) {
			continue
		}
		if ctx.Err() != nil {
			s.shutDown()
			return nil
		}
		return errors.Join(err, listener.Close())
	}
}

// admit serves a connection in the background as soon as it has a place, or closes it if the
// context ends before. It waits until an evicted connection has ended, so that the memory is
// bounded.
func (s *server) admit(ctx context.Context, accepted net.Conn) bool {
	conn := &connection{Conn: accepted}
	s.mu.Lock()
	defer s.mu.Unlock()
	for evicted := false; len(s.open) >= maxConnections && ctx.Err() == nil; s.freed.Wait() {
		evicted = evicted || s.evictOldest()
	}
	if ctx.Err() != nil {
		_ = conn.Close() // nothing was read from it
		return false
	}
	s.open = append(s.open, conn)
	s.running.Go(func() {
		s.serveConn(conn)
		_ = conn.Close() // the client has all, or is gone
		s.remove(conn)
	})
	return true
}

// evictOldest closes the oldest evictable connection, if there is one.
func (s *server) evictOldest() bool {
	for _, conn := range s.open {
		if conn.evictable {
			_ = conn.Close() // ends its reads and writes
			return true
		}
	}
	return false
}

func (s *server) remove(conn *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(c *connection) bool { return c == conn })
	s.freed.Signal()
}

// serveConn responds to one request after the other.
func (s *server) serveConn(conn *connection) {
	limit := &io.LimitedReader{R: conn}
	reader := bufio.NewReader(limit)
	var buffer []byte
	timeout := s.timeouts.first
	for s.await(conn, timeout) == nil {
		limit.N = maxHeaderBytes
		if _, err := reader.Peek(1); err != nil {
			return
		}
		if err := conn.SetDeadline(time.Now().Add(s.timeouts.request)); err != nil {
			return
		}
		response, ok := s.respond(conn, reader, limit)
		if !ok {
			return
		}
		buffer = response.append(buffer[:0], time.Now())
		if _, err := conn.Write(buffer); err != nil || response.close {
			return
		}
		timeout = s.timeouts.idle
	}
}

// await sets the time until which the next request must begin, unless the server is stopping.
func (s *server) await(conn *connection, timeout time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return net.ErrClosed
	}
	s.setEvictable(conn, true)
	return conn.SetReadDeadline(time.Now().Add(timeout))
}

// setEvictable makes a connection evictable, or not, if it has not sent the token.
func (s *server) setEvictable(conn *connection, evictable bool) {
	conn.evictable = evictable && !conn.authenticated
	if conn.evictable {
		s.freed.Signal()
	}
}

// respond reads a request and returns the response, if there is one.
func (s *server) respond(conn *connection, reader *bufio.Reader, limit *io.LimitedReader) (response, bool) {
	request, err := readRequest(reader)
	var r response
	switch {
	case err == nil:
		r = s.handle(conn, request)
	case limit.N == 0:
		r = s.handler.fail(headersTooLarge)
	case errors.Is(err, errMalformed):
		r = s.handler.fail(badRequest)
	default:
		return response{}, false
	}
	// What follows a request that is not a GET is not known.
	r.close = r.close || err != nil || request.close || request.method != "GET"
	return r, true
}

// handle returns the response to a request.
func (s *server) handle(conn *connection, request request) response {
	s.mu.Lock()
	s.setEvictable(conn, false)
	s.mu.Unlock()
	r := s.handler.respond(request)
	s.mu.Lock()
	defer s.mu.Unlock()
	conn.authenticated = conn.authenticated || r.authorized
	s.setEvictable(conn, true)
	r.close = s.busy(conn)
	return r
}

// busy reports whether a connection is not kept for a next request. Half of maxConnections are kept
// for clients that sent the token, as they are not evicted. Others are kept only while fewer are
// open, or one with a request after the other would never be evictable for long.
func (s *server) busy(conn *connection) bool {
	count := 0
	for _, other := range s.open {
		if other.authenticated || !conn.authenticated {
			count++
		}
	}
	return count > maxConnections/2
}

// shutDown ends connections that wait for a request, and waits for the others.
func (s *server) shutDown() {
	s.mu.Lock()
	s.stopping = true
	for _, conn := range s.open {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // only a closed connection has an error
	}
	s.mu.Unlock()
	finished := make(chan struct{})
	go func() {
		s.running.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(shutdownTimeout):
	}
}
