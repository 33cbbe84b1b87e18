package main

import (
	"context"
	"time"

	"kube-aws-iam-controller/hack/sandbox"
)

// settle is how long memory is left to come to rest before it is read.
const settle = 10 * time.Second

// resident is the memory after everything is in place, and the most there ever was.
func (p *process) resident(ctx context.Context) (now, peak int64, err error) {
	if err := sandbox.Pause(ctx, settle); err != nil {
		return 0, 0, err
	}
	return p.memory()
}

// ordinaryPods is what pods cost that want nothing, and Secrets beside them.
func ordinaryPods(ctx context.Context, w *world) ([]figure, error) {
	const pods = 50_000
	p, names, err := w.serving(ctx, manyTeams)
	if err != nil {
		return nil, err
	}
	empty, _, err := p.resident(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.end(p); err != nil {
		return nil, err
	}
	if err := w.load(ctx, pods); err != nil {
		return nil, err
	}
	p, toReady, err := w.start(ctx)
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
	if _, _, err := w.burstOf(ctx, manySecrets, names); err != nil {
		return nil, err
	}
	now, peak, err := p.resident(ctx)
	return append(figures,
		mebibytes("then 4,000 Secrets: resident memory", now).atMost(110).upstream("678 MiB"),
		mebibytes("then 4,000 Secrets: peak", peak),
	), err
}

// simulatedPods is the same of a cluster that is too big for this machine: an API server that is the real one but for its pods.
func simulatedPods(ctx context.Context, w *world) ([]figure, error) {
	p, toReady, err := w.startAmong(ctx, 200_000)
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
