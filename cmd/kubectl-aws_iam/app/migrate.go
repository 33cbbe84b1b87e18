package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/migration"
)

// migrate is the command migrate.
type migrate struct {
	*plugin

	controller    controllerFlags
	allNamespaces bool
	dir           string
}

func newMigrate(p *plugin) *cobra.Command {
	m := &migrate{plugin: p}
	cmd := &cobra.Command{
		Use:   "migrate [kube2iam|kiam|irsa|upstream]",
		Short: "Print what workloads of another tool need to have their roles by this controller",
		Long: "Print by which tool each workload has its role today, and what it needs to have it by this controller, as a table in comments, " +
			"and then the manifests: rights that are missing, and the labels that have pods injected. It changes nothing. See docs/migration.md.",
		Example: `  # What do the workloads of this namespace need that have their roles by kube2iam?
  kubectl aws-iam migrate kube2iam

  # All namespaces, one file of manifests each
  kubectl aws-iam migrate --all-namespaces --output-dir manifests`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: migration.Tools,
		RunE: func(cmd *cobra.Command, args []string) error {
			return m.run(cmd.Context(), migration.Tool(strings.Join(args, "")))
		},
	}
	m.controller.addTo(p, cmd)
	cmd.Flags().BoolVarP(&m.allNamespaces, "all-namespaces", "A", false, "Read the workloads of all namespaces.")
	cmd.Flags().StringVar(&m.dir, "output-dir", "", "Folder for the manifests, one file for each namespace. Default: they are printed.")
	_ = cmd.MarkFlagDirname("output-dir") // fails only for a flag that does not exist
	return cmd
}

func (m *migrate) run(ctx context.Context, tool migration.Tool) error {
	at, err := m.controller.parse()
	if err != nil {
		return err
	}
	c, namespace, err := m.open()
	if err != nil {
		return err
	}
	if m.allNamespaces {
		namespace = metav1.NamespaceAll
	}
	s, err := c.Workloads(ctx, at, namespace)
	if err != nil {
		return err
	}
	uses := migration.Of(s, tool)
	if len(uses) == 0 {
		m.note("No workload has a role by another tool.")
		return nil
	}
	c.AddRights(ctx, s, uses)
	m.warnAboutRights(uses)
	m.noteWebhook(uses)
	return m.print(s, uses)
}

// warnAboutRights prints what the user may not ask about, once for each error.
func (m *migrate) warnAboutRights(uses []migration.Use) {
	seen := map[string]bool{}
	for i := range uses {
		for _, right := range uses[i].Rights {
			if right.Err != nil && !seen[right.Err.Error()] {
				seen[right.Err.Error()] = true
				m.note("warning: it is not known whether %s: %v", &right, right.Err)
			}
		}
	}
}

// noteWebhook says what comes before the manifests for users of IRSA.
func (m *migrate) noteWebhook(uses []migration.Use) {
	if slices.ContainsFunc(uses, func(u migration.Use) bool { return u.Tool == migration.IRSA && u.LabelNamespace }) {
		m.note("Before a namespace with IRSA gets its label, keep the webhook of IRSA away from its pods: see docs/migration.md, step 2.")
	}
}

func (m *migrate) print(s *migration.Snapshot, uses []migration.Use) error {
	var text bytes.Buffer
	if err := table(m.table(s, uses))(&text, false, false); err != nil {
		return err
	}
	if m.dir == "" {
		_, _ = fmt.Fprint(m.Out, "# "+strings.ReplaceAll(strings.TrimSuffix(text.String(), "\n"), "\n", "\n# ")+"\n") // what fails is returned below
		var all []runtime.Object
		for _, namespace := range migration.Namespaces(uses) {
			all = append(all, migration.Manifests(uses, namespace)...)
		}
		return writeYAML(m.Out, all)
	}
	if _, err := io.Copy(m.Out, &text); err != nil {
		return err
	}
	return m.writeFiles(uses)
}

// writeFiles writes a file for each namespace that needs anything.
func (m *migrate) writeFiles(uses []migration.Use) error {
	if err := os.MkdirAll(m.dir, 0o750); err != nil {
		return err
	}
	for _, namespace := range migration.Namespaces(uses) {
		objects := migration.Manifests(uses, namespace)
		if len(objects) == 0 {
			continue
		}
		var text bytes.Buffer
		if err := writeYAML(&text, objects); err != nil {
			return err
		}
		file := filepath.Join(m.dir, namespace+".yaml")
		if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
			return err
		}
		m.note("%s written", file)
	}
	return nil
}

// table returns one row for each role of a workload.
func (m *migrate) table(s *migration.Snapshot, uses []migration.Use) *metav1.Table {
	t := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		column("Namespace", "Namespace of the workload", false), column("Workload", "Kind and name", false),
		column("Today", "Tool by which it has the role", false), column("Role", "Name or ARN of the role", false),
		column("Secret", "Secret that its pods mount here", false), column("Needs", "What it needs here", false),
	}}
	for i := range uses {
		u := &uses[i]
		t.Rows = append(t.Rows, metav1.TableRow{Cells: []any{
			u.Namespace, strings.ToLower(u.Kind) + "/" + u.Name, string(u.Tool), u.Role, u.Secret, oneLine(strings.Join(needs(s, u), "; ")),
		}})
	}
	return t
}

// needs returns what a workload needs.
func needs(s *migration.Snapshot, u *migration.Use) (all []string) {
	if u.NeedsTrust(&s.Settings) {
		all = append(all, "trust in the controller")
	}
	if len(u.Rights) > 0 {
		all = append(all, "right")
	}
	if u.LabelNamespace || u.LabelAccount {
		all = append(all, "label")
	}
	if u.Tool != migration.Upstream {
		all = append(all, "restart")
	}
	if all = append(all, u.Problems...); len(all) == 0 {
		return []string{"nothing"}
	}
	return all
}
