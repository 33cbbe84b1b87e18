package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

const (
	// pollInterval is the time between two requests of wait.
	pollInterval = 20 * time.Millisecond
	// maxResponse is the most that is read of a response, in bytes.
	maxResponse = 2 * maxFileSize
)

// wait returns nil when the endpoint serves credentials to a client with the token. After the
// timeout it returns the reason why it does not. The kubelet then restarts the container, shows the
// reason in its state as PostStartHookError, and does not start the containers after it.
//
// The timeout must be short: while a postStart hook runs, the kubelet does not update the pod's
// volumes.
func wait(ctx context.Context, address string, secret secretVolume, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := errors.New("it did not respond")
	for {
		err := requestCredentials(ctx, address, secret.read().token.content)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && !isTimeout(err) {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the endpoint at %s served no credentials within %v: %w", address, timeout, last)
		case <-time.After(pollInterval):
		}
	}
}

// isTimeout reports whether the error is only that the time is over, which is no reason by itself.
func isTimeout(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}

// healthcheck returns nil if the endpoint responds. It does not require credentials, as a restart
// of the container does not bring them back.
func healthcheck(ctx context.Context, address string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status, _, err := get(ctx, address, healthPath, nil)
	if err == nil && status != statusOK {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		return fmt.Errorf("the endpoint at %s is not healthy: %w", address, err)
	}
	return nil
}

// requestCredentials returns nil if the endpoint responds with credentials, otherwise the
// endpoint's own reason.
func requestCredentials(ctx context.Context, address string, token []byte) error {
	status, body, err := get(ctx, address, "/", token)
	if err != nil || status == statusOK {
		return err
	}
	var failure struct{ Message string }
	if err := json.Unmarshal(body, &failure); err != nil || failure.Message == "" {
		return fmt.Errorf("it responded with status %d", status)
	}
	return errors.New(failure.Message)
}

// get sends one request, on a connection of its own. The token is the Authorization header, if it
// can be one.
func get(ctx context.Context, address, path string, token []byte) (status int, body []byte, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close() //nolint:errcheck // all that is needed was read
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request := "GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n"
	if len(token) > 0 && isHeaderValue(token) {
		request += "Authorization: " + string(token) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return 0, nil, err
	}
	return readResponse(bufio.NewReader(io.LimitReader(conn, maxResponse)))
}

// readResponse reads a response that ends with its connection.
func readResponse(r *bufio.Reader) (status int, body []byte, err error) {
	text := textproto.NewReader(r)
	line, err := text.ReadLine()
	if err != nil {
		return 0, nil, err
	}
	code, isHTTP := strings.CutPrefix(line, "HTTP/1.1 ")
	code, _, _ = strings.Cut(code, " ")
	status, err = strconv.Atoi(code)
	if !isHTTP || err != nil {
		return 0, nil, errors.New("the response is not HTTP/1.1")
	}
	if _, err := text.ReadMIMEHeader(); err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(r)
	return status, body, err
}
