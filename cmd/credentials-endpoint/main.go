// Command credentials-endpoint gives the containers of a pod the credentials of a mounted Secret
// over HTTP, as a container credentials endpoint does, for images in which an SDK cannot run a
// credential_process. It runs as a native sidecar and listens on a loopback address only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set by the linker.
var version = "development"

const usage = `Usage: credentials-endpoint <command> [flags]

Commands:
  serve        serve the credentials of the mounted Secret on a loopback address
  wait         return when the endpoint serves credentials, for a postStart hook
  healthcheck  fail if the endpoint does not respond, for an exec probe

"credentials-endpoint <command> --help" lists the flags of a command.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// run runs a command and returns the exit code: 0 for success, 1 for a failure, 2 for a wrong
// command line.
func run(ctx context.Context, args []string, out io.Writer) int {
	o, err := parse(args, out)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		printText(out, "credentials-endpoint: "+err.Error()+"\n")
		return 2
	}
	if err := o.run(ctx, out); err != nil {
		printText(out, "credentials-endpoint: "+err.Error()+"\n")
		return 1
	}
	return 0
}

// printText prints to where errors are reported, so an error of its own has no place to go.
func printText(out io.Writer, text string) { _, _ = io.WriteString(out, text) }

// options are those of the command line.
type options struct {
	command string
	address string        // of the endpoint: a loopback address with a port
	secret  secretVolume  // not for healthcheck
	timeout time.Duration // not for serve
}

func parse(args []string, out io.Writer) (options, error) {
	if len(args) == 0 {
		printText(out, usage)
		return options{}, errors.New("a command is missing")
	}
	o := options{command: args[0]}
	flags := flag.NewFlagSet("credentials-endpoint "+o.command, flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.address, "listen", "127.0.0.1:9912", "loopback `address` of the endpoint, with a port")
	dir := "/meta/aws-iam"
	switch o.command {
	case "serve":
		flags.StringVar(&dir, "dir", dir, "`folder` at which the Secret is mounted")
	case "wait":
		flags.StringVar(&dir, "dir", dir, "`folder` at which the Secret is mounted")
		flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long to wait")
	case "healthcheck":
		flags.DurationVar(&o.timeout, "timeout", time.Second, "how long to wait for the response")
	case "help", "-h", "-help", "--help":
		printText(out, usage)
		return o, flag.ErrHelp
	default:
		printText(out, usage)
		return o, fmt.Errorf("%q is not a command", o.command)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	o.secret = secretVolume(dir)
	return o, checkLoopback(o.address)
}

func (o options) run(ctx context.Context, out io.Writer) error {
	switch o.command {
	case "wait":
		return wait(ctx, o.address, o.secret, o.timeout)
	case "healthcheck":
		return healthcheck(ctx, o.address, o.timeout)
	default:
		limitMemory()
		return serve(ctx, o.address, o.secret, slog.New(slog.NewTextHandler(out, nil)))
	}
}

// serve serves a Secret at an address until the context ends.
func serve(ctx context.Context, address string, secret secretVolume, log *slog.Logger) error {
	listener, err := listen(ctx, address)
	if err != nil {
		return err
	}
	log.Info("Serving credentials", "address", listener.Addr().String(), "dir", string(secret), "version", version)
	err = newServer(newHandler(secret, log)).serve(ctx, listener)
	if err == nil {
		log.Info("Stopped")
	}
	return err
}
