package app

import (
	"context"
	"reflect"
	"time"

	"github.com/liggitt/tabwriter"
	"k8s.io/cli-runtime/pkg/printers"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/cluster"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
)

// deleted is the state of a usage that is gone, in what list --watch prints.
const deleted = "Deleted"

// follow prints the usages that are selected, and then those that change.
func (l *list) follow(ctx context.Context, c *cluster.Cluster, namespace string) error {
	f := &follower{list: l, columns: printers.GetNewTabWriter(l.Out), printer: printers.NewTablePrinter(printers.PrintOptions{Wide: l.output.format == outputWide, NoHeaders: l.output.noHeaders})}
	return c.WatchRoles(ctx, namespace, func(s *usage.Snapshot) error {
		now := l.time(c)
		return f.print(f.changed(l.selected(s, now)), now)
	})
}

// follower prints what changes.
type follower struct {
	*list

	// printer and columns are one for all tables: they remember whether the headers were printed,
	// and how wide the columns are.
	printer printers.ResourcePrinter
	columns *tabwriter.Writer
	known   []*usage.Usage
}

// changed returns the usages that are not as they were, and those that are gone.
func (f *follower) changed(usages []*usage.Usage) (changed []*usage.Usage) {
	type name struct{ namespace, secret string }
	before := map[name]*usage.Usage{}
	for _, u := range f.known {
		before[name{u.Namespace, u.Secret}] = u
	}
	for _, u := range usages {
		key := name{u.Namespace, u.Secret}
		if !reflect.DeepEqual(before[key], u) {
			changed = append(changed, u)
		}
		delete(before, key)
	}
	for _, u := range f.known {
		if gone := before[name{u.Namespace, u.Secret}]; gone != nil {
			last := *gone
			last.State = deleted
			changed = append(changed, &last)
		}
	}
	f.known = usages
	return changed
}

// print prints usages: in other forms than a table one object after the other.
func (f *follower) print(usages []*usage.Usage, now time.Time) error {
	switch {
	case len(usages) == 0:
		return nil
	case f.output.isTable():
		if err := f.printer.PrintObj(f.table(usages, now), f.columns); err != nil {
			return err
		}
		return f.columns.Flush()
	}
	for _, u := range usages {
		o, err := object(u)
		if err != nil {
			return err
		}
		if err := f.output.print(f.Out, &output{object: o, names: []string{"secret/" + u.Secret}}); err != nil {
			return err
		}
	}
	return nil
}
