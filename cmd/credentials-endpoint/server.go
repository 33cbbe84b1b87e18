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
	"sync"
	"time"
)

// The limits of the server, so that no client can take memory from it.
const (
	maxConnections = 64
	maxHeaderBytes = 8 << 10

	newTimeout      = 2 * time.Second  // for the first byte of a connection
	idleTimeout     = 30 * time.Second // for the next request
	requestTimeout  = 2 * time.Second  // for the rest of a request, and for the response
	shutdownTimeout = 5 * time.Second
)

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
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; is another endpoint in the pod, or the pod on the host's network?", err)
	}
	return listener, nil
}

// server serves HTTP on up to maxConnections connections. Others wait in the kernel's queue.
type server struct {
	handler *handler
	slots   chan struct{} // one element for each open connection, and for the next

	mu       sync.Mutex
	stopping bool
	open     map[net.Conn]struct{}
	running  sync.WaitGroup
}

func newServer(h *handler) *server {
	return &server{handler: h, slots: make(chan struct{}, maxConnections), open: map[net.Conn]struct{}{}}
}

// serve accepts connections until the context ends, then waits for running requests, at most
// shutdownTimeout.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() }) // Accept returns the error
	defer stop()
	for {
		conn, err := s.accept(ctx, listener)
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close() // nothing was read from it
			}
			s.shutDown()
			return nil
		}
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		s.start(conn)
	}
}

// accept waits for a free slot, then for a connection.
func (s *server) accept(ctx context.Context, listener net.Listener) (net.Conn, error) {
	select {
	case s.slots <- struct{}{}:
		return listener.Accept()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start serves a connection in the background.
func (s *server) start(conn net.Conn) {
	s.mu.Lock()
	s.open[conn] = struct{}{}
	s.mu.Unlock()
	s.running.Go(func() {
		s.serveConn(conn)
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
		<-s.slots
		_ = conn.Close() // the client has all, or is gone
	})
}

// serveConn responds to one request after the other.
func (s *server) serveConn(conn net.Conn) {
	limit := &io.LimitedReader{R: conn}
	reader := bufio.NewReader(limit)
	var buffer []byte
	timeout := newTimeout
	for s.await(conn, timeout) == nil {
		limit.N = maxHeaderBytes
		if _, err := reader.Peek(1); err != nil {
			return
		}
		if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
			return
		}
		response, ok := s.respond(reader, limit)
		if !ok {
			return
		}
		buffer = response.append(buffer[:0], time.Now())
		if _, err := conn.Write(buffer); err != nil || response.close {
			return
		}
		timeout = idleTimeout
	}
}

// await sets the time until which the next request must begin, unless the server is stopping.
func (s *server) await(conn net.Conn, timeout time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return net.ErrClosed
	}
	return conn.SetReadDeadline(time.Now().Add(timeout))
}

// respond reads a request and returns the response, if there is one.
func (s *server) respond(reader *bufio.Reader, limit *io.LimitedReader) (response, bool) {
	request, err := readRequest(reader)
	var r response
	switch {
	case err == nil:
		r = s.handler.respond(request)
	case limit.N == 0:
		r = s.handler.fail(headersTooLarge)
	case errors.Is(err, errMalformed):
		r = s.handler.fail(badRequest)
	default:
		return response{}, false
	}
	// What follows a request that is not a GET is not known.
	r.close = err != nil || request.close || request.method != "GET" || s.busy()
	return r, true
}

// busy reports whether so many connections are open that none is kept for a next request. So idle
// ones never keep new ones out.
func (s *server) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open) > maxConnections/2
}

// shutDown ends connections that wait for a request, and waits for the others.
func (s *server) shutDown() {
	s.mu.Lock()
	s.stopping = true
	for conn := range s.open {
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
