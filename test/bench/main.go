// Command bench measures the controller at the size of big clusters: a real API server and etcd, an
// STS double that takes 30 ms, and the controller's own binary with the flags and the rights of the
// manifests. It prints one table, beside the result of the last run that was committed.
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
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"kube-aws-iam-controller/test/env"
)

// bench holds the options that all cases share.
type bench struct {
	controller string
	verbose    bool
}

func main() {
	var b bench
	flag.StringVar(&b.controller, "controller", "bin/kube-aws-iam-controller", "the controller's binary")
	flag.BoolVar(&b.verbose, "verbose", false, "print the controller's log when a case fails")
	only := flag.String("run", "", "run only the cases whose name matches this expression")
	out := flag.String("json", "bin/performance.json", "file to write the figures to")
	last := flag.String("last", "docs/performance.json", "figures to compare with")
	growth := flag.Bool("growth", false, "measure instead how cost grows with the size of the cluster")
	flag.Parse()

	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cases := cases
	if *growth {
		cases = growthCases()
	}
	if err := run(ctx, &b, cases, *only, *out, *last); err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1) //nolint:gocritic // everything is cleaned up by run
	}
}

// benchCase is one thing that is measured.
type benchCase struct {
	name    string
	measure func(context.Context, *bench) ([]figure, error)
}

func run(ctx context.Context, b *bench, cases []benchCase, only, out, last string) (err error) {
	dir, err := os.MkdirTemp("", "kube-aws-iam-controller-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := env.Isolate(dir); err != nil {
		return err
	}
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	before, err := readFigures(last)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	measured := slices.DeleteFunc(slices.Clone(cases), func(c benchCase) bool { return !chosen.MatchString(c.name) })
	t := &table{before: before}
	if err := measure(ctx, b, measured, t); err != nil {
		return err
	}
	if only == "" {
		return writeFigures(out, t.figures)
	}
	others, err := readFigures(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return writeFigures(out, mergeFigures(cases, others, t.figures))
}

// measure measures one case after the other, and prints as it goes.
func measure(ctx context.Context, b *bench, cases []benchCase, t *table) error {
	began := time.Now()
	t.head()
	for _, c := range cases {
		figures, err := c.measure(ctx, b)
		for i := range figures {
			figures[i].Case = c.name
			t.row(figures[i])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	fmt.Printf("\n%d s in all; %s\n", int(time.Since(began).Seconds()), t.verdict())
	for _, l := range fit(t.figures) {
		fmt.Println(l)
	}
	return nil
}
