package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"kube-aws-iam-controller/test/env"
)

// process is a running controller that can be measured. It reads /proc: the benchmark is for Linux.
type process struct {
	*env.Controller
	began   time.Time
	address string // of the health probes
}

// ready waits until the controller says that it is, and returns how long after its start that was.
func (p *process) ready(ctx context.Context) (time.Duration, error) {
	err := env.Await(ctx, "the controller is ready", func() (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/readyz", nil)
		if err != nil {
			return false, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil //nolint:nilerr // not up yet
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK, nil
	})
	return time.Since(p.began), err
}

// memory is the resident memory in bytes, now and at most since the start.
func (p *process) memory() (now, peak int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(status) {
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kibibytes, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		switch string(fields[0]) {
		case "VmRSS:":
			now = kibibytes << 10
		case "VmHWM:":
			peak = kibibytes << 10
		}
	}
	return now, peak, nil
}

// ticksPerSecond is the unit of CPU times in /proc: it is 100 on every architecture that Go
// supports.
const ticksPerSecond = 100

// cpu is the processor time that the controller has used.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in brackets, which can hold any character.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	user, userErr := strconv.ParseInt(string(fields[11]), 10, 64)
	system, systemErr := strconv.ParseInt(string(fields[12]), 10, 64)
	if userErr != nil || systemErr != nil {
		return 0, fmt.Errorf("/proc/%d/stat is of another form", p.Pid)
	}
	return time.Duration(user+system) * time.Second / ticksPerSecond, nil
}
