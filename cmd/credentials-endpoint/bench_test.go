package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/secret/keys"
)

// BenchmarkServe measures the endpoint as a process of its own, as it ships, with the largest
// session token: 2,000 requests a second on four connections. On Linux:
//
//	go test ./cmd/credentials-endpoint -run '^$' -bench Serve -benchtime 20000x
func BenchmarkServe(b *testing.B) {
	p := startProcess(b)
	const connections, perSecond = 4, 2000
	var mu sync.Mutex
	var latencies []time.Duration
	var clients sync.WaitGroup
	b.ResetTimer()
	for n := range connections {
		clients.Go(func() {
			client := http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			began := time.Now()
			for i := n; i < b.N; i += connections {
				time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / perSecond)))
				took, err := p.request(b, &client)
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				latencies = append(latencies, took)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	b.StopTimer()
	slices.Sort(latencies)
	b.ReportMetric(float64(latencies[len(latencies)*99/100].Microseconds()), "us-p99")
	p.report(b)
}

// BenchmarkServe_Flood measures the memory that clients without the token can take, and how long a
// client with the token waits meanwhile, on a new connection for each request. The others send one
// byte, or as many headers as a request can have, and connect again when they are cut off.
//
//	go test ./cmd/credentials-endpoint -run '^$' -bench Serve_Flood -benchtime 50x
func BenchmarkServe_Flood(b *testing.B) {
	headers := []byte(requestHead)
	for n := 0; len(headers) < maxHeaderBytes; n++ {
		headers = fmt.Appendf(headers, "%x:\n", n)
	}
	for name, send := range map[string]string{"byte": "G", "headers": string(headers[:maxHeaderBytes-10])} {
		for _, clients := range []int{256, 2000} {
			b.Run(fmt.Sprintf("%s-%d", name, clients), func(b *testing.B) { benchmarkFlood(b, clients, send) })
		}
	}
}

func benchmarkFlood(b *testing.B, clients int, send string) {
	b.Helper()
	p := startProcess(b)
	evicted := attack(b, clients, p.address, send)
	for range 2 * maxConnections { // until all connections are taken
		<-evicted
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var latencies []time.Duration
	for b.Loop() {
		took, err := p.request(b, &client)
		if err != nil {
			b.Error(err)
		}
		latencies = append(latencies, took)
	}
	slices.Sort(latencies)
	b.ReportMetric(float64(latencies[len(latencies)/2].Milliseconds()), "ms-median")
	b.ReportMetric(float64(latencies[len(latencies)-1].Milliseconds()), "ms-max")
	p.report(b)
}

// process is a running endpoint.
type process struct {
	*exec.Cmd

	address string
	started time.Duration // from its start until it serves credentials
}

// startProcess builds and starts the endpoint.
func startProcess(b *testing.B) *process {
	b.Helper()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		b.Skip("needs Linux")
	}
	binary := filepath.Join(b.TempDir(), "credentials-endpoint")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".") //nolint:gosec // a path of the test
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	dir := b.TempDir()
	token := strings.Repeat("t", 4096) // STS's longest
	content := strings.Replace(containerJSON(b, time.Now().Add(time.Hour)), "session-token", token, 1)
	must(b, os.WriteFile(filepath.Join(dir, keys.EndpointToken), []byte(goodToken), 0o600))
	must(b, os.WriteFile(filepath.Join(dir, keys.ContainerJSON), []byte(content), 0o600))
	address := freeAddress(b)
	p := &process{exec.CommandContext(b.Context(), binary, "serve", "--listen="+address, "--dir="+dir), address, 0} //nolint:gosec // paths of the test
	began := time.Now()
	must(b, p.Start())
	b.Cleanup(func() { _ = p.Wait() }) // the context has killed it
	must(b, wait(b.Context(), address, secretVolume(dir), 10*time.Second))
	p.started = time.Since(began)
	return p
}

func freeAddress(b *testing.B) string {
	b.Helper()
	listener, err := listen(b.Context(), "127.0.0.1:0")
	must(b, err)
	must(b, listener.Close())
	return listener.Addr().String()
}

// request gets the credentials once and returns how long it took.
func (p *process) request(b *testing.B, client *http.Client) (time.Duration, error) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+p.address+"/", http.NoBody)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", goodToken)
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", response.Status)
	}
	return time.Since(began), err
}

// report reports the time to start, and the resident memory, now and at most since then.
func (p *process) report(b *testing.B) {
	b.Helper()
	b.ReportMetric(float64(p.started.Milliseconds()), "ms-start")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	must(b, err)
	for line := range bytes.Lines(status) {
		fields := strings.Fields(string(line))
		if unit := map[string]string{"VmRSS:": "KiB", "VmHWM:": "KiB-peak"}[fields[0]]; unit != "" {
			kibibytes, err := strconv.ParseFloat(fields[1], 64)
			must(b, err)
			b.ReportMetric(kibibytes, unit)
		}
	}
}
