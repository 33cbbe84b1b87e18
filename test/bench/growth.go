package main

import (
	"context"
	"fmt"
	"time"
)

// growthCases returns cases that measure how cost grows with pods that request nothing, and with
// Secrets.
func growthCases() []benchCase {
	var all []benchCase
	for _, pods := range []int{1_000, 10_000, 50_000, 200_000} {
		all = append(all, benchCase{fmt.Sprintf("%d pods", pods), inCluster(unaudited, amongPods(pods))})
	}
	for _, secrets := range []int{100, 1_000, 4_000, 10_000} {
		all = append(all, benchCase{fmt.Sprintf("%d Secrets", secrets), inCluster(audited, withSecrets(secrets))})
	}
	return all
}

func amongPods(pods int) func(context.Context, *cluster) ([]figure, error) {
	return func(ctx context.Context, c *cluster) ([]figure, error) {
		p, toReady, err := c.startAmong(ctx, pods)
		if err != nil {
			return nil, err
		}
		cpu, err := p.cpu()
		if err != nil {
			return nil, err
		}
		now, peak, err := p.resident(ctx)
		return grown(pods, "pod",
			mebibytes("resident memory", now),
			mebibytes("resident memory, peak", peak),
			seconds("to ready", toReady),
			seconds("CPU until ready", cpu),
		), err
	}
}

func withSecrets(secrets int) func(context.Context, *cluster) ([]figure, error) {
	return func(ctx context.Context, c *cluster) ([]figure, error) {
		p, names, err := c.serving(ctx, manyTeams, "--sts-qps=2000")
		if err != nil {
			return nil, err
		}
		before, err := p.cpu()
		if err != nil {
			return nil, err
		}
		_, written, err := c.burstOf(ctx, secrets, names)
		if err != nil {
			return nil, err
		}
		after, err := p.cpu()
		if err != nil {
			return nil, err
		}
		now, peak, err := p.resident(ctx)
		if err != nil {
			return nil, err
		}
		if err := c.end(p); err != nil {
			return nil, err
		}
		restarted, err := c.restarted(ctx)
		return grown(secrets, "Secret", append([]figure{
			mebibytes("resident memory", now),
			mebibytes("resident memory, peak", peak),
			seconds("all written", written),
			seconds("CPU until all written", after-before),
		}, restarted...)...), err
	}
}

// restarted measures a start while all Secrets are valid.
func (c *cluster) restarted(ctx context.Context) ([]figure, error) {
	if _, err := c.audit.since(); err != nil {
		return nil, err
	}
	p, toReady, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	asked, err := c.quiet(ctx)
	if err != nil {
		return nil, err
	}
	now, _, err := p.resident(ctx)
	return []figure{
		seconds("restart: to ready", toReady),
		number("restart: SubjectAccessReviews", float64(asked[reviews])),
		mebibytes("restart: resident memory", now),
	}, err
}

// grown records in figures the number and kind of the objects that they were measured with.
func grown(n int, of string, figures ...figure) []figure {
	for i := range figures {
		figures[i].Of, figures[i].N = of, n
	}
	return figures
}

// line is a linear fit of the figures of one name: the value at zero, and the increase for each.
type line struct {
	name, of, unit string
	at0, each      float64
}

// fit returns a least-squares line for the figures of each name that were measured at several
// sizes.
func fit(figures []figure) []line {
	var lines []line
	seen := map[string]bool{}
	for _, f := range figures {
		if f.Of == "" || seen[f.Of+f.Name] {
			continue
		}
		seen[f.Of+f.Name] = true
		var n, x, y, xx, xy float64
		for _, g := range figures {
			if g.Of == f.Of && g.Name == f.Name {
				n, x, y, xx, xy = n+1, x+float64(g.N), y+g.Value, xx+float64(g.N)*float64(g.N), xy+float64(g.N)*g.Value
			}
		}
		each := (n*xy - x*y) / (n*xx - x*x)
		lines = append(lines, line{f.Name, f.Of, f.Unit, (y - each*x) / n, each})
	}
	return lines
}

func (l line) String() string {
	unit, each := l.unit, l.each
	switch unit {
	case "MiB":
		unit, each = "KiB", each*1024
	case "s":
		unit, each = "ms", each*float64(time.Second/time.Millisecond)
	}
	return fmt.Sprintf("%s: %.3g %s and %.3g %s for each %s", l.name, l.at0, l.unit, each, unit, l.of)
}
