//go:build linux

// Command e2e puts the controller on trial on a real node: API server, controller manager, scheduler, kubelet and containerd run on this machine,
// and the project's own image is deployed on them by its own manifests. It needs root.
//
// All of it lives in namespaces of its own (mounts, network, processes). When the trial ends, in whatever way, the kernel takes it down.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
)

// options are what the command line says.
type options struct {
	assets     string
	image      string
	clockImage string
	busybox    string
	sdks       string
	moto       string
	logs       string
	docs       string
	cgroup     string
	only       string
}

// The program starts itself anew for each of these, which come before the flags.
const (
	asInit   = "init"   // the first process of the namespaces
	asInside = "inside" // what brings the cluster up and tries the controller in it
)

func main() {
	stage, args := "", os.Args[1:]
	if len(args) > 0 && (args[0] == asInit || args[0] == asInside) {
		stage, args = args[0], args[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var err error
	switch stage {
	case asInit:
		err = runInit(ctx, args)
	case asInside:
		err = runInside(ctx, args)
	default:
		err = runOutside(ctx, args)
	}
	if err != nil {
		if ended := (&endedError{}); errors.As(err, &ended) {
			os.Exit(ended.code) //nolint:gocritic // the process has told why
		}
		fmt.Fprintln(os.Stderr, "e2e: "+err.Error())
		os.Exit(1)
	}
}

func parse(args []string) (options, *regexp.Regexp, error) {
	var o options
	flags := flag.NewFlagSet("e2e", flag.ContinueOnError)
	flags.StringVar(&o.assets, "assets", "", "`folder` with the programs of Kubernetes, and etcd")
	flags.StringVar(&o.image, "image", "bin/e2e/image.tar", "the controller's image: an OCI archive")
	flags.StringVar(&o.clockImage, "clock-image", "bin/e2e/clock.tar", "the same, with a clock that can be wrong (clock.sh)")
	flags.StringVar(&o.busybox, "busybox", "/bin/busybox", "a static busybox")
	flags.StringVar(&o.sdks, "sdks", "bin/e2e/sdks", "`folder` with one folder for each program that uses an SDK")
	flags.StringVar(&o.moto, "moto", "", "moto's `server`; without it the trial judge is skipped")
	flags.StringVar(&o.logs, "logs", "bin/e2e/logs", "`folder` for logs, which are kept")
	flags.StringVar(&o.only, "run", "", "run only the trials whose name matches this `expression`")
	flags.StringVar(&o.docs, "docs", "", "`folder` whose tables are to be those of this run")
	flags.StringVar(&o.cgroup, "cgroup", "", "cgroup for the pods; set by the program itself")
	if err := flags.Parse(args); err != nil {
		return o, nil, err
	}
	if flags.NArg() > 0 {
		return o, nil, fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	switch {
	case o.assets == "":
		return o, nil, errors.New("--assets is missing")
	case o.docs != "" && o.only != "":
		return o, nil, errors.New("the docs have the tables of a whole run: leave out --run (RUN) or --docs (DOCS)")
	}
	chosen, err := regexp.Compile(o.only)
	if err == nil && !slices.ContainsFunc(trials, func(t trial) bool { return chosen.MatchString(t.name) }) {
		err = fmt.Errorf("no trial is called %q", o.only)
	}
	return o, chosen, err
}

// trial is one thing that is tried out on the cluster.
type trial struct {
	name string
	run  func(context.Context, *cluster) error
}

var trials = []trial{
	{"promise", promise},
	{"judge", judge},
	during("API server away", apiServerAway), // first, as its sessions last longer, into the next trial
	during("controller killed", kills),
	during("leader partitioned", partition),
	during("API server restarted", apiServerRestarted),
	during("watches reset", watchesReset),
	during("STS down", stsDown),
	during("STS hangs", stsHangs),
	during("STS slow", stsSlow),
	during("STS throttles", stsThrottles),
	during("clock ahead", clockAhead),
	during("clock behind", clockBehind),
	during("burst", burst),
	during("by hand", byHand),
	during("sdks", sdks), // at last, as the rotations before count
}

func runInside(ctx context.Context, args []string) error {
	o, chosen, err := parse(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &cluster{options: o, fail: cancel}
	defer c.kill()
	if err = c.up(ctx); err == nil {
		err = c.try(ctx, chosen)
	}
	if err = errors.Join(err, c.keepLogs()); err == nil {
		err = c.writeDocs()
	}
	if err == nil {
		title("Passed")
		return nil
	}
	fmt.Fprintf(os.Stderr, "\nlogs are in %s\n", c.logs)
	if cause := context.Cause(ctx); cause != nil {
		return cause // what follows from it says less
	}
	return err
}

// try runs the trials that were chosen, and reports on the fleet, if there was one.
func (c *cluster) try(ctx context.Context, chosen *regexp.Regexp) (err error) {
	for _, t := range trials {
		if err == nil && chosen.MatchString(t.name) {
			title(t.name)
			if err = t.run(ctx, c); err != nil {
				err = fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}
	switch {
	case c.fleet == nil:
	case err == nil:
		title("after that")
		err = c.fleet.finish(ctx)
	default:
		c.fleet.end()
		c.fleet.report()
	}
	return err
}

func title(s string) { fmt.Printf("\n== %s\n", s) }
