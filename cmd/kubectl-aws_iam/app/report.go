package app

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/diagnosis"
)

// reportOutput returns a report as output: a title, its sections, and the command that comes next.
// name is what it is about, as <resource>/<name>.
func reportOutput(kind, title, name string, r *diagnosis.Report) (*output, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(r)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(groupVersion.WithKind(kind))
	_ = unstructured.SetNestedField(content, name, "about") // the root is an object
	_ = unstructured.SetNestedField(content, r.Works(), "works")
	return &output{object: object, names: []string{name}, text: func(out io.Writer, wide, noHeaders bool) error {
		if !noHeaders {
			if _, err := fmt.Fprintln(out, title); err != nil {
				return err
			}
		}
		return writeReport(out, r, wide)
	}}, nil
}

// printReport prints a report. The error is errSilent if a check failed.
func (p *plugin) printReport(f *outputFlags, kind, title, name string, r *diagnosis.Report) error {
	o, err := reportOutput(kind, title, name, r)
	if err != nil {
		return err
	}
	if err := f.print(p.Out, o); err != nil {
		return err
	}
	if !r.Works() {
		return errSilent
	}
	return nil
}

// writeReport writes a report for people: with wide, each check that failed with its own command.
func writeReport(out io.Writer, r *diagnosis.Report, wide bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i := range r.Sections {
		s := &r.Sections[i]
		_, _ = fmt.Fprintf(w, "\n%s\n", s.Title) // what fails is returned by Flush
		for j := range s.Checks {
			c := &s.Checks[j]
			_, _ = fmt.Fprintf(w, "  %s %s\t%s\n", c.Status.Mark(), c.Name, oneLine(c.Message))
			if wide && c.Next != "" {
				_, _ = fmt.Fprintf(w, "  \t→ %s\n", oneLine(c.Next))
			}
		}
	}
	if r.Next != "" {
		_, _ = fmt.Fprintf(w, "\nNext:\n  %s\n", strings.ReplaceAll(r.Next, "\n", "\n  "))
	}
	return w.Flush()
}

// oneLine returns a text without line breaks, which others may have written.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
