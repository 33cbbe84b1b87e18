package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/secret/keys"
)

func TestRun_CommandLine(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":               {nil, 2, "a command is missing"},
		"another command":       {[]string{"server"}, 2, `"server" is not a command`},
		"flag in its place":     {[]string{"--listen=127.0.0.1:9912"}, 2, "is not a command"},
		"another flag":          {[]string{"serve", "--port=1"}, 2, "not defined: -port"},
		"word":                  {[]string{"serve", "now"}, 2, `"now" is not a flag`},
		"not loopback":          {[]string{"serve", "--listen=0.0.0.0:9912"}, 2, "not a loopback address"},
		"all addresses":         {[]string{"serve", "--listen=:9912"}, 2, "not an IP address"},
		"wait not at loopback":  {[]string{"wait", "--listen=10.0.0.1:80"}, 2, "not a loopback address"},
		"help":                  {[]string{"--help"}, 0, "healthcheck"},
		"help of serve":         {[]string{"serve", "--help"}, 0, "/meta/aws-iam"},
		"nothing listens":       {[]string{"healthcheck", "--listen=127.0.0.1:1"}, 1, "refused"},
		"nothing to wait for":   {[]string{"wait", "--listen=127.0.0.1:1", "--timeout=10ms"}, 1, "127.0.0.1:1"},
		"serve a port it lacks": {[]string{"serve", "--listen=127.0.0.1:99999"}, 2, "not an IP address with a port"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if code := run(t.Context(), test.args, &out); code != test.code || !strings.Contains(out.String(), test.want) {
				t.Errorf("got %d and %q, want %d and %q", code, out.String(), test.code, test.want)
			}
		})
	}
}

// The three commands together, as in a pod.
func TestRun_ServeWaitHealthcheck(t *testing.T) {
	volume := newTestVolume(t)
	volume.mustPublish(t, map[string]string{keys.EndpointToken: goodToken, keys.ContainerJSON: containerJSON(t, time.Now().Add(time.Hour))})
	ctx, terminate := context.WithCancel(t.Context())
	log, out := io.Pipe()
	code := make(chan int)
	go func() { code <- run(ctx, []string{"serve", "--listen=127.0.0.1:0", "--dir=" + volume.dir}, out) }()
	line, err := bufio.NewReader(log).ReadString('\n')
	must(t, err)
	go func() { _, _ = io.Copy(io.Discard, log) }()
	_, rest, _ := strings.Cut(line, "address=")
	address, _, _ := strings.Cut(rest, " ")
	if host, _, err := net.SplitHostPort(address); host != "127.0.0.1" || err != nil {
		t.Fatalf("logged %q", line)
	}
	for _, args := range [][]string{
		{"wait", "--listen=" + address, "--dir=" + volume.dir},
		{"healthcheck", "--listen=" + address},
	} {
		var out strings.Builder
		if code := run(ctx, args, &out); code != 0 || out.Len() > 0 {
			t.Errorf("%s: got %d and %q", args[0], code, out.String())
		}
	}
	terminate()
	if got := <-code; got != 0 {
		t.Errorf("serve ended with %d", got)
	}
}
