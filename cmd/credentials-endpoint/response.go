package main

import (
	"fmt"
	"time"
)

// The HTTP status codes of responses.
const (
	statusOK                 = 200
	statusBadRequest         = 400
	statusForbidden          = 403
	statusNotFound           = 404
	statusMethodNotAllowed   = 405
	statusHeadersTooLarge    = 431
	statusServiceUnavailable = 503
)

var statusText = map[int]string{
	statusOK:                 "OK",
	statusBadRequest:         "Bad Request",
	statusForbidden:          "Forbidden",
	statusNotFound:           "Not Found",
	statusMethodNotAllowed:   "Method Not Allowed",
	statusHeadersTooLarge:    "Request Header Fields Too Large",
	statusServiceUnavailable: "Service Unavailable",
}

// httpDate is the format of the header Date.
const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"

// response is an HTTP response with a JSON body.
type response struct {
	status     int
	body       []byte
	authorized bool // the request had the token
	close      bool // the connection
}

// append appends the response to a buffer as HTTP/1.1. Go's SDK parses an error only with exactly
// this Content-Type.
func (r response) append(to []byte, now time.Time) []byte {
	to = fmt.Appendf(to, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nCache-Control: no-store\r\n",
		r.status, statusText[r.status], now.UTC().Format(httpDate), len(r.body))
	if r.status == statusMethodNotAllowed {
		to = append(to, "Allow: GET\r\n"...)
	}
	if r.close {
		to = append(to, "Connection: close\r\n"...)
	}
	to = append(to, "\r\n"...)
	return append(to, r.body...)
}
