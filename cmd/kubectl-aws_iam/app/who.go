package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/cluster"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/keylog"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
)

// who is the command who.
type who struct {
	*plugin

	output outputFlags
	log    string
}

func newWho(p *plugin) *cobra.Command {
	w := &who{plugin: p}
	cmd := &cobra.Command{
		Use:   "who KEYID",
		Short: "Find the Secret and the pods of an access key that CloudTrail names",
		Long: "Find the Secret and the pods of an access key that CloudTrail names in userIdentity.accessKeyId. Without --namespace it looks in all namespaces. " +
			"A Secret names only its current key: the controller's log names the earlier ones.",
		Example: `  # The current key of a Secret
  kubectl aws-iam who ASIAIOSFODNN7EXAMPLE

  # An earlier one
  kubectl logs -n kube-system -l application=kube-aws-iam-controller --tail -1 | kubectl aws-iam who ASIAIOSFODNN7EXAMPLE --log -`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return w.run(cmd.Context(), args[0]) },
	}
	w.output.addTo(cmd)
	cmd.Flags().StringVar(&w.log, "log", "", "File with the controller's log, or - for standard input.")
	return cmd
}

// keyUsage is who has, or had, an access key.
type keyUsage struct {
	AccessKeyID string `json:"accessKeyID"`
	Namespace   string `json:"namespace"`
	Secret      string `json:"secret"`
	// Current reports whether the Secret still has the key.
	Current bool         `json:"current"`
	Role    string       `json:"role"`
	Session string       `json:"session"`
	Issued  *metav1.Time `json:"issued,omitempty"`
	// Replaced is when the Secret got another key. Pods can use an earlier one until it expires.
	Replaced *metav1.Time `json:"replaced,omitempty"`
	Expires  *metav1.Time `json:"expires,omitempty"`
	// Pods are the pods that ask for the Secret now; PodsThen is how many did when the key was
	// issued, as the log has it.
	Pods     []string `json:"pods,omitempty"`
	PodsThen *int64   `json:"podsThen,omitempty"`
}

// keyForm is the form of access key IDs. Source: the API reference of STS, Credentials.
var keyForm = regexp.MustCompile(`^\w{16,128}$`)

func (w *who) run(ctx context.Context, id string) error {
	if err := w.output.validate(); err != nil {
		return err
	}
	if !keyForm.MatchString(id) {
		return fmt.Errorf("%q is not the ID of an access key, such as ASIAIOSFODNN7EXAMPLE", id)
	}
	entry, err := w.findInLog(id)
	if err != nil {
		return err
	}
	c, found, err := w.read(ctx)
	if err != nil {
		return err
	}
	k := join(id, found, entry)
	if k == nil {
		return w.unknownKey(id)
	}
	o, err := w.render(k, w.time(c))
	if err != nil {
		return err
	}
	return w.output.print(w.Out, o)
}

// findInLog returns what the log says about a key, or nil.
func (w *who) findInLog(id string) (*keylog.Entry, error) {
	var in io.Reader
	switch w.log {
	case "":
		return nil, nil
	case "-":
		in = w.In
	default:
		file, err := os.Open(w.log)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	return keylog.Find(in, id)
}

// read reads the roles of all namespaces, or of one if a flag names it or the user may read no
// more.
func (w *who) read(ctx context.Context) (*cluster.Cluster, []*usage.Usage, error) {
	c, namespace, err := w.open()
	if err != nil {
		return nil, nil, err
	}
	if *w.flags.Namespace == "" {
		s, refused, err := c.Roles(ctx, metav1.NamespaceAll)
		if err == nil && s.SecretsKnown {
			w.warn(refused)
			return c, usage.Of(s, w.time(c)), nil
		}
		w.note("warning: only namespace %s is searched, as you may not list the Secrets of all", namespace)
	}
	s, refused, err := c.Roles(ctx, namespace)
	if err != nil {
		return nil, nil, err
	}
	w.warn(refused)
	return c, usage.Of(s, w.time(c)), nil
}

// join joins what Secrets and the log say about a key; nil if both say nothing.
func join(id string, found []*usage.Usage, entry *keylog.Entry) *keyUsage {
	if i := slices.IndexFunc(found, func(u *usage.Usage) bool { return u.AccessKeyID == id }); i >= 0 {
		u := found[i]
		return &keyUsage{
			AccessKeyID: id, Namespace: u.Namespace, Secret: u.Secret, Current: true, Role: u.Role, Session: u.Session,
			Issued: u.Issued, Expires: u.Expires, Pods: u.Pods, PodsThen: podsThen(entry),
		}
	}
	if entry == nil {
		return nil
	}
	k := &keyUsage{
		AccessKeyID: id, Namespace: entry.Namespace, Secret: entry.Secret, Role: entry.Role, Session: entry.Session,
		Issued: timeOf(entry.Issued), Replaced: timeOf(entry.Replaced), Expires: timeOf(entry.Expires), PodsThen: podsThen(entry),
	}
	for _, u := range found {
		if u.Namespace == k.Namespace && u.Secret == k.Secret {
			k.Pods = u.Pods
		}
	}
	return k
}

func podsThen(entry *keylog.Entry) *int64 {
	if entry == nil {
		return nil
	}
	n := int64(entry.Pods)
	return &n
}

func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &metav1.Time{Time: t}
}

// unknownKey returns the error about a key that was not found.
func (w *who) unknownKey(id string) error {
	switch {
	case strings.HasPrefix(id, "AKIA"):
		return fmt.Errorf("%s is a key of an IAM user: the controller issues sessions, whose keys begin with ASIA", id)
	case w.log == "":
		return errors.New("no Secret has this key now. If it was renewed since, the controller's log names it (--log)")
	default:
		return errors.New("no Secret has this key now, and the log does not name it")
	}
}

func (w *who) render(k *keyUsage, now time.Time) (*output, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(k)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(groupVersion.WithKind("KeyUsage"))
	return &output{object: object, names: []string{"secret/" + k.Secret}, text: func(out io.Writer, _, _ bool) error {
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, line := range k.lines(now) {
			_, _ = fmt.Fprintf(t, "%s:\t%s\n", line[0], line[1]) // what fails is returned by Flush
		}
		return t.Flush()
	}}, nil
}

// lines returns what is printed for people, as names and values.
func (k *keyUsage) lines(now time.Time) [][2]string {
	state := "current"
	if !k.Current {
		state = "an earlier key"
	}
	lines := [][2]string{
		{"Access Key ID", k.AccessKeyID + " (" + state + ")"},
		{"Secret", k.Namespace + "/" + k.Secret},
		{"Role", orNone(k.Role)},
		{"Session", orNone(k.Session)},
		{"Issued", when(k.Issued, now)},
	}
	if k.Replaced != nil {
		lines = append(lines, [2]string{"Replaced", when(k.Replaced, now)})
	}
	lines = append(lines, [2]string{"Expires", when(k.Expires, now)})
	if k.PodsThen != nil {
		lines = append(lines, [2]string{"Pods at issue", strconv.FormatInt(*k.PodsThen, 10)})
	}
	return append(lines, [2]string{"Pods now", cmp.Or(strings.Join(k.Pods, ", "), none)})
}

// when returns a time, and how long ago it was.
func when(t *metav1.Time, now time.Time) string {
	switch {
	case t == nil:
		return unknown
	case t.After(now):
		return fmt.Sprintf("%s (in %s)", t.UTC().Format(time.RFC3339), duration.HumanDuration(t.Sub(now)))
	default:
		return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), duration.HumanDuration(now.Sub(t.Time)))
	}
}
