// Command programs runs programs that use AWS with the files of a Secret, as docs/programs.md says,
// and checks which of them use new credentials before the old ones expire. It prints a row for each
// program and form.
//
// Each folder beside this file has a build.sh, which builds a program into a folder, with the file
// run: that calls AWS every second. Calls go to moto, through a proxy that sees whose they are.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"kube-aws-iam-controller/test/env"
)

const (
	// first is the life of the first session. It ends five seconds after what the files say, at
	// most: a tenth of it.
	first = 50 * time.Second
	// settled is how long after its first call a program gets the second session: Terraform calls
	// as one process, and then for long as another.
	settled = 10 * time.Second
	// later is how long after the end of the first session a program can take to use the second.
	later = 20 * time.Second
	// enough is the number of calls with the second session after which a case ends.
	enough = 2
)

// bench is what all cases share.
type bench struct {
	dir      string // of temporary files
	builds   string // has a folder for each program that was built
	endpoint string // the binary of credentials-endpoint
	moto     *moto
}

func main() {
	builds := flag.String("builds", "bin/programs", "folder with the programs, as they were built")
	endpoint := flag.String("endpoint", "bin/credentials-endpoint", "binary of credentials-endpoint")
	server := flag.String("moto", "moto_server", "command that starts moto")
	only := flag.String("run", "", "run only this program")
	parallel := flag.Int("parallel", 3, "cases at a time")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	selected := slices.DeleteFunc(slices.Clone(cases), func(c programCase) bool { return *only != "" && c.program != *only })
	if err := run(ctx, &bench{builds: *builds, endpoint: *endpoint}, *server, selected, *parallel); err != nil {
		fmt.Fprintln(os.Stderr, "programs: "+err.Error())
		os.Exit(1) //nolint:gocritic // everything is cleaned up by run
	}
}

func run(ctx context.Context, b *bench, server string, cases []programCase, parallel int) (err error) {
	if b.dir, err = os.MkdirTemp("", "kube-aws-iam-controller-programs-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.moto, err = startMoto(ctx, server); err != nil {
		return err
	}
	defer b.moto.stop()

	fmt.Println("| program | version | form | new credentials are used | calls refused |\n|---|---|---|---|---|")
	var all sync.WaitGroup
	failures, slots := make([]error, len(cases)), make(chan struct{}, parallel)
	for i, c := range cases {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			failures[i] = b.report(ctx, c)
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

// report runs a case and prints its row. The error says what is not as expected.
func (b *bench) report(ctx context.Context, c programCase) error {
	version, err := os.ReadFile(filepath.Join(b.builds, c.program, "version"))
	if errors.Is(err, os.ErrNotExist) {
		fmt.Printf("| %s | – | %s | SKIPPED: it is not built | |\n", c.program, c.name)
		return nil
	}
	dir, dirErr := os.MkdirTemp(b.dir, c.program+"-")
	if err := errors.Join(err, dirErr); err != nil {
		return err
	}
	o, log, err := b.try(ctx, c, dir)
	if err == nil && o.follows() != c.follows {
		err = fmt.Errorf("it should be %t that it follows", c.follows)
	}
	fmt.Printf("| %s | %s | %s | %s | %d |\n", c.program, strings.TrimSpace(string(version)), c.name, o, o.refused)
	if err != nil {
		return fmt.Errorf("%s with %s: %w\n%s", c.program, c.name, err, lastLines(log))
	}
	return nil
}

// outcome is what a program did with the second session, and how many of its calls with the first
// one were refused.
type outcome struct {
	used    bool
	after   time.Duration // from the publication to the first call
	refused int
}

func (o outcome) follows() bool { return o.used && o.refused == 0 }

func (o outcome) String() string {
	if !o.used {
		return "never"
	}
	return fmt.Sprintf("after %d s", int(o.after.Seconds()))
}

// try starts the program, and publishes the second session after the first call.
func (b *bench) try(ctx context.Context, c programCase, dir string) (o outcome, log []byte, err error) {
	d := newAWSDouble(b.moto.url)
	defer d.Close()
	v := &volume{dir: filepath.Join(dir, "meta")}
	if err := v.publish(d.issue(first)); err != nil {
		return o, nil, err
	}
	variables, stop, err := b.environment(ctx, c, v.dir, d.URL)
	if err != nil {
		return o, nil, err
	}
	defer stop()
	logFile := filepath.Join(dir, "log")
	stopProgram, err := start(ctx, logFile, variables, "sh", filepath.Join(b.builds, c.program, "run"))
	if err != nil {
		return o, nil, err
	}
	o, err = rotate(ctx, d, v)
	stopProgram()
	log, logErr := os.ReadFile(logFile) //nolint:gosec // its own file
	return o, log, errors.Join(err, logErr)
}

func rotate(ctx context.Context, d *awsDouble, v *volume) (o outcome, err error) {
	if err := env.AwaitWithin(ctx, first, poll, "the program calls with the first session", func() (bool, error) {
		return d.session(0).accepted > 0, nil
	}); err != nil {
		return o, err
	}
	if err := errors.Join(env.Pause(ctx, settled), v.publish(d.issue(time.Hour))); err != nil {
		return o, err
	}
	published, end := time.Now(), d.session(0).Expires.Add(later)
	err = env.AwaitWithin(ctx, time.Until(end), poll, "", func() (bool, error) { return d.session(1).accepted >= enough, nil })
	before, after := d.session(0), d.session(1)
	o.used, o.refused = err == nil, before.refused
	if o.used {
		o.after = after.first.Sub(published)
	} else if before.refused == 0 && ctx.Err() == nil {
		return o, errors.New("the program no longer calls")
	}
	return o, ctx.Err()
}

const poll = 100 * time.Millisecond

// environment returns the variables of a container, and starts its sidecar.
func (b *bench) environment(ctx context.Context, c programCase, dir, url string) (variables []string, stop func(), err error) {
	home := filepath.Join(filepath.Dir(dir), "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, nil, err
	}
	address, err := env.FreeAddress()
	if err != nil {
		return nil, nil, err
	}
	variables = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region, "AWS_ENDPOINT_URL=" + url,
	}
	replace := strings.NewReplacer("$DIR", dir, "$ENDPOINT", address)
	for _, variable := range c.variables {
		variables = append(variables, replace.Replace(variable))
	}
	stop, err = start(ctx, filepath.Join(filepath.Dir(dir), "endpoint.log"), variables, b.endpoint, "serve", "--listen="+address, "--dir="+dir)
	return variables, stop, err
}

// start starts a command and returns a function that ends it and what it has started.
func start(ctx context.Context, logFile string, variables []string, name string, args ...string) (stop func(), err error) {
	log, err := os.Create(logFile) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, name, args...) //nolint:gosec // the caller's own command
	command.Env, command.Stdout, command.Stderr = variables, log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	if err := errors.Join(command.Start(), log.Close()); err != nil {
		return nil, err
	}
	return func() {
		_ = command.Cancel()
		_ = command.Wait()
	}, nil
}

func lastLines(log []byte) string {
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
