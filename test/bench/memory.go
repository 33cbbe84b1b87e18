package main

import (
	"context"
	"time"

	"kube-aws-iam-controller/test/env"
)

// settle is the pause before memory is read, so that it is stable.
const settle = 10 * time.Second

// resident returns the resident memory after a pause, and its peak.
func (p *process) resident(ctx context.Context) (now, peak int64, err error) {
	if err := env.Pause(ctx, settle); err != nil {
		return 0, 0, err
	}
	return p.memory()
}

// ordinaryPods measures the memory for pods that request nothing, and for Secrets beside them.
func ordinaryPods(ctx context.Context, c *cluster) ([]figure, error) {
	const pods = 50_000
	p, names, err := c.serving(ctx, manyTeams)
	if err != nil {
		return nil, err
	}
	empty, _, err := p.resident(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.end(p); err != nil {
		return nil, err
	}
	if err := c.load(ctx, pods, ordinaryInEtcd); err != nil {
		return nil, err
	}
	p, toReady, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	full, peak, err := p.resident(ctx)
	if err != nil {
		return nil, err
	}
	figures := []figure{
		mebibytes("resident memory", full).atMost(70).upstream("559 MiB"),
		mebibytes("resident memory without them", empty),
		mebibytes("resident memory, peak", peak),
		figure{Name: "for each such pod", Value: round(float64(full-empty) / pods), Unit: "bytes"}.atMost(100),
		seconds("to ready", toReady),
	}
	if _, _, err := c.burstOf(ctx, manySecrets, names); err != nil {
		return nil, err
	}
	now, peak, err := p.resident(ctx)
	return append(figures,
		mebibytes("then 4,000 Secrets: resident memory", now).atMost(110).upstream("678 MiB"),
		mebibytes("then 4,000 Secrets: peak", peak),
	), err
}

// simulatedPods measures the same in a cluster that is too big for this machine: the API server is
// the real one, but its pods are generated.
func simulatedPods(ctx context.Context, c *cluster) ([]figure, error) {
	p, toReady, err := c.startAmong(ctx, 200_000)
	if err != nil {
		return nil, err
	}
	now, peak, err := p.resident(ctx)
	return []figure{
		mebibytes("resident memory", now).atMost(90),
		mebibytes("resident memory, peak", peak),
		seconds("to ready", toReady).atMost(60),
	}, err
}
