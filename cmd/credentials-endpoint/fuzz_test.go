package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
)

// FuzzRespond_NeedsTheToken requires that bytes without the token never get a key.
func FuzzRespond_NeedsTheToken(f *testing.F) {
	for _, seed := range []string{
		goodRequest, requestHead + "\r\n", "GET / HTTP/1.0\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		requestHead + "Authorization: " + goodToken[:42] + "\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		volume := newTestVolume(t)
		volume.mustPublish(t, goodFiles(t))
		h, _ := newTestHandler(volume)
		limit := &io.LimitedReader{R: bytes.NewReader(sent), N: maxHeaderBytes}
		got, _ := newServer(h).respond(&connection{}, bufio.NewReader(limit), limit)
		text := string(got.append(nil, now))
		if strings.Contains(text, secretKey) && !bytes.Contains(sent, []byte(goodToken)) {
			t.Errorf("%q got %s", sent, text)
		}
	})
}
