package app

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
)

// groupVersion is that of what the plugin prints as JSON or YAML. No API server knows it.
var groupVersion = schema.GroupVersion{Group: "kubectl.iam.amazonaws.com", Version: "v1"}

// The forms of output that are not JSON, YAML or a template.
const (
	outputTable = ""
	outputWide  = "wide"
	outputName  = "name"
)

// output is what a command prints, in all the forms that a user can ask for.
type output struct {
	// text prints it for people.
	text func(out io.Writer, wide, noHeaders bool) error
	// object is for -o json and yaml.
	object runtime.Object
	// names are for -o name, as <resource>/<name>.
	names []string
}

// outputFlags are the flags of a command that prints tables or objects.
type outputFlags struct {
	format    string
	noHeaders bool
	objects   *genericclioptions.JSONYamlPrintFlags
	// printer prints objects: one for all, which separates them.
	printer printers.ResourcePrinter
}

// addTo adds the flags to a command.
func (f *outputFlags) addTo(cmd *cobra.Command) {
	f.objects = genericclioptions.NewJSONYamlPrintFlags()
	cmd.Flags().StringVarP(&f.format, "output", "o", "", "Output format. One of: ("+strings.Join(f.formats(), ", ")+").")
	cmd.Flags().BoolVar(&f.noHeaders, "no-headers", false, "Print no column headers.")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(f.formats(), cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that does not exist
}

func (f *outputFlags) formats() []string {
	return append(f.objects.AllowedFormats(), outputName, outputWide)
}

// validate returns an error if there is no such format.
func (f *outputFlags) validate() error {
	if f.format != outputTable && !slices.Contains(f.formats(), f.format) {
		return fmt.Errorf("--output=%s is unknown: it takes %s", f.format, strings.Join(f.formats(), ", "))
	}
	return nil
}

// isTable reports whether a table is printed.
func (f *outputFlags) isTable() bool { return f.format == outputTable || f.format == outputWide }

// print prints an output in the form that the flags select.
func (f *outputFlags) print(out io.Writer, o *output) error {
	switch {
	case f.isTable():
		return o.text(out, f.format == outputWide, f.noHeaders)
	case f.format == outputName:
		for _, name := range o.names {
			if _, err := fmt.Fprintln(out, name); err != nil {
				return err
			}
		}
		return nil
	}
	if f.printer == nil {
		var err error
		if f.printer, err = f.objects.ToPrinter(f.format); err != nil {
			return err
		}
	}
	return f.printer.PrintObj(o.object, out)
}

// table returns a table of kubectl's kind as text. Its columns of a priority other than 0 are for
// -o wide.
func table(t *metav1.Table) func(out io.Writer, wide, noHeaders bool) error {
	return func(out io.Writer, wide, noHeaders bool) error {
		return printers.NewTablePrinter(printers.PrintOptions{Wide: wide, NoHeaders: noHeaders}).PrintObj(t, out)
	}
}

// column returns a column of a table. One that is wide is only in -o wide.
func column(name, description string, wide bool) metav1.TableColumnDefinition {
	c := metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
	if wide {
		c.Priority = 1
	}
	return c
}
