package app

import (
	"container/list"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// What any client of the controller's HTTP servers can take.
const (
	// requestTimeout is how long the reading of a request may take, and how long its answer with
	// the client's reading of it. It is as long as Prometheus waits by default.
	requestTimeout = 10 * time.Second
	// maxHeader is how long a request's header may be, in bytes. The longest tokens of
	// ServiceAccounts have some kilobytes.
	maxHeader = 16 << 10
	// maxConnections is how many connections a server keeps. Each takes up to some tens of
	// kilobytes.
	maxConnections = 128
)

// addServer lets the manager serve a handler at an address from its start on, leader or not; at
// "0" or "" it does not. If secure is not nil, it is by HTTPS.
func addServer(ctx context.Context, m manager.Manager, name, address string, handler http.Handler, secure *tls.Config) error {
	if address == "" || address == "0" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("cannot serve %s: %w", name, err)
	}
	if secure != nil {
		listener = tls.NewListener(listener, secure)
	}
	server := newHTTPServer(handler)
	server.ErrorLog = slog.NewLogLogger(logr.ToSlogHandler(m.GetLogger().WithValues("server", name)), slog.LevelDebug) // any client can cause errors
	return m.Add(&manager.Server{Name: name, Server: server, Listener: listener})
}

// newHTTPServer returns a server that any number of clients can ask in any way without taking
// more than a bounded amount of memory.
func newHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:        handler,
		MaxHeaderBytes: maxHeader,
		ReadTimeout:    requestTimeout,
		WriteTimeout:   requestTimeout,
		IdleTimeout:    90 * time.Second, // as http.Transport
		ConnState:      newConnectionLimit(maxConnections).observe,
	}
}

// connectionLimit closes connections of a server when there are too many: the one in which
// nothing happens for the longest time. So a client that opens many connections and holds them
// does not keep out one that opens a connection and asks at once, as the kubelet and Prometheus
// do.
type connectionLimit struct {
	limit int

	lock sync.Mutex
	open map[net.Conn]*list.Element
	// order has the open connections, that with the oldest change of its state first.
	order *list.List
}

func newConnectionLimit(limit int) *connectionLimit {
	return &connectionLimit{limit: limit, open: map[net.Conn]*list.Element{}, order: list.New()}
}

// observe is http.Server's ConnState.
func (l *connectionLimit) observe(c net.Conn, state http.ConnState) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.forget(c)
	if state == http.StateClosed || state == http.StateHijacked {
		return
	}
	l.open[c] = l.order.PushBack(c)
	if len(l.open) > l.limit {
		oldest, _ := l.order.Front().Value.(net.Conn)
		l.forget(oldest)
		closeNow(oldest)
	}
}

// forget drops a connection. The lock is held.
func (l *connectionLimit) forget(c net.Conn) {
	if e := l.open[c]; e != nil {
		l.order.Remove(e)
		delete(l.open, c)
	}
}

// closeNow closes a connection without the farewell of TLS, for which it would wait.
func closeNow(c net.Conn) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	_ = c.Close() // there is nothing to do about one that is closed already
}
