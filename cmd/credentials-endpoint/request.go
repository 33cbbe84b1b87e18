package main

import (
	"bufio"
	"errors"
	"net/textproto"
	"slices"
	"strings"
)

// request is what the endpoint uses of an HTTP request.
type request struct {
	method        string
	path          string
	authorization []string // the values of all Authorization headers
	// close is set if the connection cannot be used again: the client says so, or a body follows,
	// which is not read.
	close bool
}

var errMalformed = errors.New("malformed HTTP request")

// readRequest reads the request line and the headers of an HTTP/1.0 or HTTP/1.1 request. The error
// is errMalformed, or one of the connection.
//
// This package has its own few lines of HTTP, as with net/http, which always contains TLS and
// HTTP/2, the endpoint takes half as much memory again.
func readRequest(r *bufio.Reader) (request, error) {
	text := textproto.NewReader(r)
	line, err := text.ReadLine()
	if err != nil {
		return request{}, err
	}
	parts := strings.Split(line, " ")
	if len(parts) != 3 || parts[0] == "" || (parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0") {
		return request{}, errMalformed
	}
	header, err := text.ReadMIMEHeader()
	if protocol := textproto.ProtocolError(""); errors.As(err, &protocol) {
		return request{}, errMalformed
	}
	if err != nil {
		return request{}, err
	}
	if parts[2] == "HTTP/1.1" && len(header["Host"]) != 1 {
		return request{}, errMalformed
	}
	path, _, _ := strings.Cut(parts[1], "?")
	return request{
		method: parts[0], path: path, authorization: header["Authorization"],
		close: parts[2] == "HTTP/1.0" || hasBody(header) || asksToClose(header["Connection"]),
	}, nil
}

func hasBody(header textproto.MIMEHeader) bool {
	return len(header["Transfer-Encoding"]) > 0 || slices.ContainsFunc(header["Content-Length"], func(length string) bool { return length != "0" })
}

func asksToClose(connection []string) bool {
	for option := range strings.SplitSeq(strings.Join(connection, ","), ",") {
		if strings.EqualFold(strings.TrimSpace(option), "close") {
			return true
		}
	}
	return false
}
