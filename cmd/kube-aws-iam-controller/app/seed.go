package app

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/seed"
)

// seedParts are the watch of the seed and its monitor. A nil pointer stands for no seed.
type seedParts struct {
	*seed.Watch
	*seed.Monitor
	name types.NamespacedName
}

// newSeed returns the parts for the seed of the options, or nil if there is none.
func newSeed(clientset kubernetes.Interface, recorder *events.Recorder, o *Options) *seedParts {
	if o.Seed.Name == "" {
		return nil
	}
	own := o.Credentials.BaseClient()
	watch := seed.NewWatch(clientset, o.Seed, o.Credentials.SetSeed, own.Base, o.Credentials.Clock(), o.Log)
	return &seedParts{watch, seed.NewMonitor(watch, own.Caller, recorder, o.Self), o.Seed}
}

// addTo adds the parts to a manager.
func (p *seedParts) addTo(m manager.Manager) error {
	if p == nil {
		return nil
	}
	return errors.Join(m.Add(p.Watch), m.Add(p.Monitor))
}

// reconciled returns what the reconciler uses of the seed.
func (p *seedParts) reconciled() seed.Source {
	if p == nil {
		return seed.Source{}
	}
	return seed.Source{Credentials: p.Credentials, Observe: p.Observe}
}

// known returns a channel that is closed once it is known whether the seed exists; nil without a
// seed.
func (p *seedParts) known() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.Known()
}

// Start implements source.Source: it enqueues the Secret now and after each change, as it is asked
// for while the controller runs.
func (p *seedParts) Start(_ context.Context, q controllers.Queue) error {
	p.Subscribe(func() { controllers.EnqueueSeed(q, p.name) })
	return nil
}

// WaitForSync implements source.SyncingSource: without a seed nothing can be done, and nothing is
// reported before that is known.
func (p *seedParts) WaitForSync(ctx context.Context) error {
	select {
	case <-p.Known():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
