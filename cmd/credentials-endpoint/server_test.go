package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// start serves a volume on a free port until the test ends, or stop is called. It returns the
// address.
func start(t *testing.T, h *handler) (address string, stop func() error) {
	t.Helper()
	return startServer(t, newServer(h))
}

func startServer(t *testing.T, s *server) (address string, stop func() error) {
	t.Helper()
	listener, err := listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, listener) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { must(t, stop()) })
	return listener.Addr().String(), stop
}

func startGood(t *testing.T) (address string, stop func() error) {
	t.Helper()
	volume := newTestVolume(t)
	volume.mustPublish(t, goodFiles(t))
	h, _ := newTestHandler(volume)
	return start(t, h)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return conn
}

const (
	requestHead = "GET / HTTP/1.1\r\nHost: 127.0.0.1:9912\r\n"
	goodRequest = requestHead + "Authorization: " + goodToken + "\r\n\r\n"
)

func TestServe_GoClientKeepsItsConnection(t *testing.T) {
	address, _ := startGood(t)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	dialed := 0
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed++
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	for range 3 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", http.NoBody)
		must(t, err)
		request.Header.Set("Authorization", goodToken)
		response, err := (&http.Client{Transport: transport}).Do(request)
		must(t, err)
		body, err := io.ReadAll(response.Body)
		must(t, errors.Join(err, response.Body.Close()))
		if response.StatusCode != http.StatusOK || string(body) != containerJSON(t, now.Add(time.Hour)) {
			t.Errorf("got %s %s", response.Status, body)
		}
		for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if _, err := http.ParseTime(response.Header.Get("Date")); err != nil {
			t.Error(err)
		}
	}
	if dialed != 1 {
		t.Errorf("%d connections, want 1", dialed)
	}
}

func TestServe_Requests(t *testing.T) {
	address, _ := startGood(t)
	authorized := "Authorization: " + goodToken + "\r\n\r\n"
	for name, test := range map[string]struct {
		request string
		want    int
		open    bool // the connection, for another request
	}{
		"good":                      {goodRequest, 200, true},
		"with a query":              {"GET /?x=/y HTTP/1.1\r\nHost: x\r\n" + authorized, 200, true},
		"header in lower case":      {requestHead + strings.ToLower("Authorization:") + goodToken + "\r\n\r\n", 200, true},
		"spaces around the token":   {requestHead + "Authorization:  " + goodToken + "  \r\n\r\n", 200, true},
		"lines end in newlines":     {strings.ReplaceAll(goodRequest, "\r\n", "\n"), 200, true},
		"body of no bytes":          {requestHead + "Content-Length: 0\r\n" + authorized, 200, true},
		"asks to close":             {requestHead + "Connection: x, Close\r\n" + authorized, 200, false},
		"HTTP/1.0":                  {"GET / HTTP/1.0\r\n" + authorized, 200, false},
		"with a body":               {requestHead + "Content-Length: 3\r\n" + authorized, 200, false},
		"with a chunked body":       {requestHead + "Transfer-Encoding: chunked\r\n" + authorized, 200, false},
		"no token":                  {requestHead + "\r\n", 403, true},
		"token on the next line":    {requestHead + "Authorization:\r\n x\r\n" + "Authorization: " + goodToken + "\r\n\r\n", 400, false},
		"space before the colon":    {requestHead + "Authorization : " + goodToken + "\r\n\r\n", 400, false},
		"folded header":             {requestHead + "X: x\r\n Authorization: " + goodToken + "\r\n\r\n", 400, false},
		"two tokens":                {requestHead + "Authorization: " + goodToken + "\r\n" + "authorization: " + goodToken + "\r\n\r\n", 403, true},
		"proxy's header":            {requestHead + "Proxy-Authorization: " + goodToken + "\r\n\r\n", 403, true},
		"another path":              {"GET /x HTTP/1.1\r\nHost: x\r\n" + authorized, 404, true},
		"absolute URL":              {"GET http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n" + authorized, 404, true},
		"POST":                      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n" + authorized, 405, false},
		"OPTIONS":                   {"OPTIONS / HTTP/1.1\r\nHost: x\r\n" + authorized, 405, false},
		"no host":                   {"GET / HTTP/1.1\r\n" + authorized, 400, false},
		"two hosts":                 {requestHead + "Host: x\r\n" + authorized, 400, false},
		"HTTP/2":                    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, false},
		"TLS":                       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400, false},
		"no version":                {"GET /\r\n" + authorized, 400, false},
		"two spaces":                {"GET  / HTTP/1.1\r\nHost: x\r\n" + authorized, 400, false},
		"header without a colon":    {requestHead + "x\r\n" + authorized, 400, false},
		"header without a name":     {requestHead + ": x\r\n" + authorized, 400, false},
		"header of 8 KiB":           {requestHead + "X: " + strings.Repeat("x", maxHeaderBytes), 431, false},
		"8 KiB of headers":          {requestHead + strings.Repeat("X: x\r\n", maxHeaderBytes), 431, false},
		"request line of 8 KiB":     {"GET /" + strings.Repeat("x", maxHeaderBytes), 431, false},
		"token after 8 KiB of them": {requestHead + strings.Repeat("X: x\r\n", maxHeaderBytes) + authorized, 431, false},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, address)
			go func() { _, _ = io.WriteString(conn, test.request) }() // it can be cut off
			reader := bufio.NewReader(conn)
			response, err := http.ReadResponse(reader, nil)
			must(t, err)
			body, err := io.ReadAll(response.Body)
			must(t, errors.Join(err, response.Body.Close()))
			if response.StatusCode != test.want || response.Close == test.open {
				t.Errorf("got %s, close %v, and %s", response.Status, response.Close, body)
			}
			if got := bytes.Contains(body, []byte(secretKey)); got != (test.want == http.StatusOK) {
				t.Errorf("got %s", body)
			}
			if allow := response.Header.Get("Allow"); (allow == "GET") != (test.want == http.StatusMethodNotAllowed) {
				t.Errorf("allows %q", allow)
			}
			if test.open {
				checkStillServed(t, conn, reader)
			} else if _, err := reader.ReadByte(); err == nil {
				t.Error("the connection is still open")
			}
		})
	}
}

func checkStillServed(t *testing.T, conn net.Conn, reader *bufio.Reader) {
	t.Helper()
	_, err := io.WriteString(conn, goodRequest)
	must(t, err)
	response, err := http.ReadResponse(reader, nil)
	must(t, err)
	must(t, response.Body.Close())
	if response.StatusCode != http.StatusOK {
		t.Errorf("the next request got %s", response.Status)
	}
}

func TestServe_Pipelined(t *testing.T) {
	address, _ := startGood(t)
	conn := dial(t, address)
	const requests = 200 // much more than maxHeaderBytes in all
	go func() { _, _ = io.WriteString(conn, strings.Repeat(goodRequest, requests)) }()
	reader := bufio.NewReader(conn)
	for n := range requests {
		response, err := http.ReadResponse(reader, nil)
		must(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		must(t, errors.Join(err, response.Body.Close()))
		if response.StatusCode != http.StatusOK {
			t.Fatalf("request %d got %s", n, response.Status)
		}
	}
}

// startWithoutTimeouts starts a server that only ends a connection if it must.
func startWithoutTimeouts(t *testing.T) (address string) {
	t.Helper()
	volume := newTestVolume(t)
	volume.mustPublish(t, goodFiles(t))
	h, _ := newTestHandler(volume)
	s := newServer(h)
	s.timeouts = timeouts{first: time.Hour, idle: time.Hour, request: time.Hour}
	address, _ = startServer(t, s)
	return address
}

// exchange sends a request and returns the response's status and whether it ends the connection.
func exchange(t *testing.T, conn net.Conn, request string) (status int, closes bool) {
	t.Helper()
	_, err := io.WriteString(conn, request)
	must(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	must(t, errors.Join(err, response.Body.Close()))
	return response.StatusCode, response.Close
}

// Clients with the token cannot be evicted, so only half of the connections are kept for them.
func TestServe_KeepsHalfOfTheConnectionsForClientsWithTheToken(t *testing.T) {
	address := startWithoutTimeouts(t)
	for n := range 2 * maxConnections {
		status, closes := exchange(t, dial(t, address), goodRequest)
		if keep := n < maxConnections/2; status != http.StatusOK || closes == keep {
			t.Fatalf("connection %d got %d, close %v", n, status, closes)
		}
	}
}

// A client with the token is served at once while others, who never end a request, hold all
// connections, and open new ones in place of those that they lose. So is one that is kept.
func TestServe_EvictsClientsWithoutTheToken(t *testing.T) {
	for name, send := range map[string]string{
		"one byte":       "G",
		"half a request": requestHead,
		"no token":       requestHead + "\r\n",
		"many requests":  strings.Repeat(requestHead+"\r\n", 100),
	} {
		t.Run(name, func(t *testing.T) {
			address := startWithoutTimeouts(t)
			kept := dial(t, address)
			checkServed(t, kept)
			evicted := attack(t, 2*maxConnections, address, send)
			for range 20 {
				for range maxConnections / 4 { // the attackers are at work, not only at the start
					select {
					case <-evicted:
					case <-time.After(10 * time.Second):
						t.Fatal("no connection is evicted")
					}
				}
				checkServed(t, dial(t, address))
			}
			checkServed(t, kept)
		})
	}
}

func checkServed(t *testing.T, conn net.Conn) {
	t.Helper()
	if status, _ := exchange(t, conn, goodRequest); status != http.StatusOK {
		t.Fatalf("got %d", status)
	}
}

// attack holds as many connections as it can until the test ends. It sends on the channel for each
// connection that the server has ended.
func attack(tb testing.TB, clients int, address, send string) (evicted <-chan struct{}) {
	tb.Helper()
	ended := make(chan struct{})
	var attackers sync.WaitGroup
	tb.Cleanup(attackers.Wait)
	for range clients {
		attackers.Go(func() {
			for tb.Context().Err() == nil {
				hold(tb.Context(), address, send)
				select {
				case ended <- struct{}{}:
				default: // the test is at something else
				}
			}
		})
	}
	return ended
}

// hold holds a connection until the server or the context ends it.
func hold(ctx context.Context, address, send string) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // nothing is lost
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.WriteString(conn, send)
	_, _ = io.Copy(io.Discard, conn)
}

// What a client sends too slowly, or never, does not hold its connection.
func TestServeConn_TimesOut(t *testing.T) {
	for name, test := range map[string]struct {
		send string
		want time.Duration
	}{
		"nothing":            {"", defaultTimeouts.first},
		"half a request":     {requestHead, defaultTimeouts.request},
		"one request":        {goodRequest, defaultTimeouts.idle},
		"a request and more": {goodRequest + "GET", defaultTimeouts.request},
	} {
		t.Run(name, func(t *testing.T) {
			volume := newTestVolume(t)
			volume.mustPublish(t, goodFiles(t))
			h, _ := newTestHandler(volume)
			synctest.Test(t, func(t *testing.T) {
				client, conn := net.Pipe()
				ended := serveUntilEnd(h, conn)
				go func() { _, _ = io.Copy(io.Discard, client) }()
				_, err := io.WriteString(client, test.send)
				must(t, err)
				if got := <-ended; got != test.want {
					t.Errorf("ended after %v, want %v", got, test.want)
				}
				must(t, errors.Join(client.Close(), conn.Close()))
			})
		})
	}
}

// serveUntilEnd serves a connection in the background and sends how long that took.
func serveUntilEnd(h *handler, conn net.Conn) <-chan time.Duration {
	began, ended := time.Now(), make(chan time.Duration)
	go func() {
		newServer(h).serveConn(&connection{Conn: conn})
		ended <- time.Since(began)
	}()
	return ended
}

// A client that does not read its response does not hold its connection, either.
func TestServeConn_TimesOutWriting(t *testing.T) {
	volume := newTestVolume(t)
	volume.mustPublish(t, goodFiles(t))
	h, _ := newTestHandler(volume)
	synctest.Test(t, func(t *testing.T) {
		client, conn := net.Pipe()
		ended := serveUntilEnd(h, conn)
		_, err := io.WriteString(client, goodRequest)
		must(t, err)
		if got := <-ended; got != defaultTimeouts.request {
			t.Errorf("ended after %v, want %v", got, defaultTimeouts.request)
		}
		must(t, errors.Join(client.Close(), conn.Close()))
	})
}

func TestServe_StopsAfterRunningRequests(t *testing.T) {
	volume := newTestVolume(t)
	volume.mustPublish(t, goodFiles(t))
	h, _ := newTestHandler(volume)
	running, finish := make(chan struct{}), make(chan struct{})
	h.now = func() time.Time {
		running <- struct{}{}
		<-finish
		return now
	}
	address, stop := start(t, h)
	idle, busy := dial(t, address), dial(t, address)
	exchange(t, idle, "GET "+healthPath+" HTTP/1.1\r\nHost: x\r\n\r\n")
	_, err := io.WriteString(busy, goodRequest)
	must(t, err)
	<-running
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	if n, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("an idle connection got %d bytes and error %v, want its end", n, err)
	}
	select {
	case err := <-stopped:
		t.Errorf("it did not wait for the request, and ended with error %v", err)
	default:
	}
	close(finish)
	response, err := http.ReadResponse(bufio.NewReader(busy), nil)
	must(t, err)
	must(t, response.Body.Close())
	if response.StatusCode != http.StatusOK {
		t.Errorf("got %s", response.Status)
	}
	must(t, <-stopped)
	if _, err := new(net.Dialer).DialContext(t.Context(), "tcp", address); err == nil {
		t.Error("it still accepts connections")
	}
}

func TestServe_StopsWithAllConnectionsTaken(t *testing.T) {
	address, stop := startGood(t)
	var idle []net.Conn
	for range maxConnections {
		conn := dial(t, address)
		_, err := io.WriteString(conn, requestHead) // half a request, which nothing ends
		must(t, err)
		idle = append(idle, conn)
	}
	must(t, stop())
	for _, conn := range idle {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Fatal("a connection got a response")
		}
	}
}

func TestCheckLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:9912": true, "127.0.0.2:1": true, "[::1]:9912": true,
		"0.0.0.0:9912": false, "[::]:9912": false, ":9912": false, "10.0.0.1:9912": false, "169.254.170.2:80": false, "[fd00::1]:9912": false,
		"localhost:9912": false, "127.0.0.1": false, "127.0.0.1:http": false, "127.1:9912": false, "": false,
	} {
		if err := checkLoopback(address); (err == nil) != want {
			t.Errorf("%q: got error %v", address, err)
		}
	}
}

func TestListen_PortInUse(t *testing.T) {
	address, _ := startGood(t)
	if _, err := listen(t.Context(), address); err == nil || !strings.Contains(err.Error(), "host's network") {
		t.Errorf("got error %v", err)
	}
}
