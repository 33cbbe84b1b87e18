package app

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
)

// list is the command list.
type list struct {
	*plugin

	output        outputFlags
	allNamespaces bool
	role          string
	expiring      time.Duration
	watch         bool
}

func newList(p *plugin) *cobra.Command {
	l := &list{plugin: p}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the roles in use, with their Secrets",
		Example: `  # The roles of the current namespace
  kubectl aws-iam list

  # All Secrets whose credentials expire within 20 minutes
  kubectl aws-iam list -A --expiring 20m`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return l.run(cmd) },
	}
	l.output.addTo(cmd)
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "List the roles of all namespaces.")
	cmd.Flags().StringVar(&l.role, "role", "", "List only this role, given by its name or ARN.")
	cmd.Flags().DurationVar(&l.expiring, "expiring", 0, "List only credentials that expire within this time, or have expired.")
	cmd.Flags().BoolVarP(&l.watch, "watch", "w", false, "After the list, print what changes, until the command is interrupted.")
	return cmd
}

func (l *list) run(cmd *cobra.Command) error {
	if err := l.output.validate(); err != nil {
		return err
	}
	c, namespace, err := l.open()
	if err != nil {
		return err
	}
	if l.allNamespaces {
		namespace = metav1.NamespaceAll
	}
	if l.watch {
		return l.follow(cmd.Context(), c, namespace)
	}
	found, refused, err := c.Roles(cmd.Context(), namespace)
	if err != nil {
		return err
	}
	l.warn(refused)
	now := l.time(c)
	usages := l.selected(found, now)
	if len(usages) == 0 && l.output.isTable() {
		l.note("No roles found%s.", in(namespace))
		return nil
	}
	o, err := l.render(usages, now)
	if err != nil {
		return err
	}
	return l.output.print(l.Out, o)
}

// selected returns the usages that the flags select.
func (l *list) selected(s *usage.Snapshot, now time.Time) []*usage.Usage {
	return slices.DeleteFunc(usage.Of(s, now), func(u *usage.Usage) bool { return !l.selects(u, now) })
}

func in(namespace string) string {
	if namespace == metav1.NamespaceAll {
		return ""
	}
	return " in " + namespace + " namespace"
}

// selects reports whether the flags select a usage.
func (l *list) selects(u *usage.Usage, now time.Time) bool {
	if l.role != "" && u.Role != l.role && !strings.HasSuffix(u.Role, "/"+l.role) {
		return false
	}
	return l.expiring == 0 || u.Expires != nil && u.Expires.Sub(now) < l.expiring
}

func (l *list) render(usages []*usage.Usage, now time.Time) (*output, error) {
	o := &output{text: table(l.table(usages, now))}
	objects := &unstructured.UnstructuredList{}
	objects.SetGroupVersionKind(groupVersion.WithKind("RoleUsageList"))
	for _, u := range usages {
		item, err := object(u)
		if err != nil {
			return nil, err
		}
		o.names = append(o.names, "secret/"+u.Secret)
		objects.Items = append(objects.Items, *item)
	}
	o.object = objects
	return o, nil
}

func object(u *usage.Usage) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(u)
	if err != nil {
		return nil, err
	}
	o := &unstructured.Unstructured{Object: content}
	o.SetGroupVersionKind(groupVersion.WithKind("RoleUsage"))
	return o, nil
}

func (l *list) table(usages []*usage.Usage, now time.Time) *metav1.Table {
	t := &metav1.Table{ColumnDefinitions: l.columns()}
	for _, u := range usages {
		t.Rows = append(t.Rows, metav1.TableRow{Cells: l.cells(u, now)})
	}
	return t
}

func (l *list) columns() []metav1.TableColumnDefinition {
	columns := []metav1.TableColumnDefinition{
		column("Secret", "The Secret that pods mount", false),
		column("Role", "The role's ARN, or what is asked for", false),
		column("Kind", "What says which role it is", false),
		column("Pods", "How many pods ask for it", false),
		column("Expires", "When the credentials expire", false),
		column("Age", "Age of the Secret", false),
		column("State", "State", false),
		column("Access Key ID", "As CloudTrail has it", true),
		column("Session", "The session's name, as CloudTrail has it", true),
		column("Consumers", "The pods that ask for it", true),
	}
	if l.allNamespaces {
		columns = append([]metav1.TableColumnDefinition{column("Namespace", "Namespace", false)}, columns...)
	}
	return columns
}

func (l *list) cells(u *usage.Usage, now time.Time) []any {
	cells := []any{
		u.Secret, orNone(u.Role), u.Kind, strconv.Itoa(len(u.Pods)), expiry(u.Expires, now), age(u.Created, now), u.State,
		orNone(u.AccessKeyID), orNone(u.Session), orNone(strings.Join(u.Pods, ",")),
	}
	if l.allNamespaces {
		cells = append([]any{u.Namespace}, cells...)
	}
	return cells
}

// none stands for an empty cell, and unknown for one that is not known, as in kubectl's tables.
const (
	none    = "<none>"
	unknown = "<unknown>"
)

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

func age(created *metav1.Time, now time.Time) string {
	if created == nil {
		return none
	}
	return duration.HumanDuration(now.Sub(created.Time))
}

// expiry returns how long credentials live, or how long ago they expired.
func expiry(expires *metav1.Time, now time.Time) string {
	switch {
	case expires == nil:
		return none
	case now.Before(expires.Time):
		return "in " + duration.HumanDuration(expires.Sub(now))
	default:
		return duration.HumanDuration(now.Sub(expires.Time)) + " ago"
	}
}
