package chart_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readSchema reads values.schema.json.
func readSchema(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(folder + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// property returns the schema of a value, by its path.
func property(t *testing.T, schema map[string]any, path ...string) map[string]any {
	t.Helper()
	for _, step := range path {
		properties, _ := schema["properties"].(map[string]any)
		next, ok := properties[step].(map[string]any)
		if !ok {
			t.Fatalf("values.schema.json has no %s of %s", step, strings.Join(path, "."))
		}
		schema = next
	}
	return schema
}

// flagsOf returns the schemas of the values in flags.
func flagsOf(t *testing.T, schema map[string]any) map[string]any {
	t.Helper()
	flags, _ := property(t, schema, "flags")["properties"].(map[string]any)
	return flags
}

// enumOf returns the values of all enums in a schema, sorted.
func enumOf(schema any) []string {
	var values []string
	switch s := schema.(type) {
	case []any:
		for _, each := range s {
			values = append(values, enumOf(each)...)
		}
	case map[string]any:
		for key, each := range s {
			list, ok := each.([]any)
			if !ok || key != "enum" {
				values = append(values, enumOf(each)...)
				continue
			}
			for _, value := range list {
				values = append(values, fmt.Sprint(value))
			}
		}
	}
	slices.Sort(values)
	return values
}

// program is the path of the controller's program.
type program string

// buildProgram builds the controller's program.
func buildProgram(t *testing.T) program {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	goRun(t, "-C", "../..", "build", "-o", file, "./cmd/"+name)
	return program(file)
}

// refusal returns the line in which the program refuses its flags, or "" if it accepts them. There
// is no cluster, for which it looks when it has validated them.
func (p program) refusal(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), string(p), args...) //nolint:gosec // the test has built it
	command.Env = []string{"KUBECONFIG=" + filepath.Join(t.TempDir(), "none")}
	out, err := command.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		t.Fatalf("%s does not end with an error: %v", command, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := lines[len(lines)-1]
	if strings.Contains(last, "no Kubernetes cluster to work on") {
		return ""
	}
	return last
}

// The lists of values in the program's words: in errors of its own flags, and in the usage of those
// of controller-runtime.
var (
	inError = regexp.MustCompile(` is unknown: it takes (.+)$`)
	inUsage = regexp.MustCompile(`one of ((?:'[a-z0-9]+'(?:, | or )?)+)`)
	quoted  = regexp.MustCompile(`'([a-z0-9]+)'`)
)

// accepted returns the values that a flag accepts, sorted; none if it has no list of them.
func (p program) accepted(t *testing.T, flag, usage string) []string {
	t.Helper()
	var values []string
	if found := inError.FindStringSubmatch(p.refusal(t, "--"+flag+"=?")); found != nil {
		values = strings.Split(found[1], ", ")
	} else if found := inUsage.FindStringSubmatch(usage); found != nil {
		for _, value := range quoted.FindAllStringSubmatch(found[1], -1) {
			values = append(values, value[1])
		}
	}
	slices.Sort(values)
	return values
}

// TestSchema_EnumsAreThoseOfTheProgram compares, for every flag, the values that the schema lists
// with those that the program accepts.
func TestSchema_EnumsAreThoseOfTheProgram(t *testing.T) {
	p, schema := buildProgram(t), readSchema(t)
	values := flagsOf(t, schema)
	values["service-account-identity"] = property(t, schema, "serviceAccountIdentity")
	usage, err := exec.CommandContext(t.Context(), string(p), "--help").Output() //nolint:gosec // the test has built it
	if err != nil {
		t.Fatal(err)
	}
	var compared []string
	for _, line := range regexp.MustCompile(`(?m)^ +--([a-z-]+) .*$`).FindAllStringSubmatch(string(usage), -1) {
		flag := line[1]
		if values[flag] == nil {
			continue // one of those that the chart has no value for: see TestFlags
		}
		t.Run(flag, func(t *testing.T) {
			got, want := enumOf(values[flag]), p.accepted(t, flag, line[0])
			if !slices.Equal(got, want) {
				t.Errorf("values.schema.json takes %q, and the program %q", got, want)
			}
			for _, value := range got {
				if refused := p.refusal(t, "--"+flag+"="+value); refused != "" {
					t.Error(refused)
				}
			}
			if len(want) > 0 {
				compared = append(compared, flag)
			}
		})
	}
	if want := []string{
		"service-account-identity", "authorization-mode", "session-tags", "zap-encoder", "zap-log-level", "zap-stacktrace-level", "zap-time-encoding",
	}; !slices.Equal(compared, want) {
		t.Errorf("the program has lists for %q, and not for %q", compared, want)
	}
}

// TestSchema_IdentitiesAreTheOverlays compares what aws.identity takes with config/overlays.
func TestSchema_IdentitiesAreTheOverlays(t *testing.T) {
	want := append(identities(t), "none")
	slices.Sort(want)
	if got := enumOf(property(t, readSchema(t), "aws", "identity")); !slices.Equal(got, want) {
		t.Errorf("values.schema.json takes %q, and the overlays are %q", got, want)
	}
}

// TestSchema_RefusesWhatTheProgramRefuses gives the same values to the chart and to the program,
// both as a user writes them.
func TestSchema_RefusesWhatTheProgramRefuses(t *testing.T) {
	const webIdentity, audience = "{serviceAccountIdentity: web-identity, webIdentityAudiences: ['%s']}", "--web-identity-audience=%s"
	const seed, seedSecret = "aws: {identity: seed, seedSecret: '%s'}", "--seed-secret=" + home + "/%s"
	p := buildProgram(t)
	for _, c := range []struct {
		// values and arg have the value at %s; if values is empty, arg is one of flags.
		values, arg string
		valid       []string
		invalid     []string
	}{
		{"", "--cluster-name=%s", []string{"prod", "eu_1:/=+@-.", strings.Repeat("a", 128)}, []string{"", "a b", "a,b", strings.Repeat("a", 129)}},
		{"", "--mount-path=%s", []string{"/meta/aws-iam", "/.aws/..x/a.b"}, []string{"", "/", "meta", "/meta/", "/meta//aws", "/meta/../aws", "/meta/.", "/..", "/my files", "/" + strings.Repeat("a", 256)}},
		{"flags: {namespace: ['%s']}", "--namespace=%s", []string{"payments", strings.Repeat("a", 63)}, []string{"Payments", "a.b", "-a", strings.Repeat("a", 64)}},
		{
			"", "--base-role-arn=%s",
			[]string{"arn:aws:iam::123456789012:role/", "arn:aws-cn:iam::123456789012:role/team/", "arn:aws:iam::123456789012:role"},
			[]string{"role/", "arn:aws:iam::1234:role/", "arn:aws:iam::123456789012:user/", "arn:gcp:iam::123456789012:role/"},
		},
		{"", "--assume-role=%s", []string{"arn:aws:iam::123456789012:role/team/hub"}, []string{"arn:aws:iam::1234:role/hub", "my role"}},
		{"", "--external-id=%s", []string{"{cluster}/{namespace}", "id", "a,b=c+d"}, []string{"a", "{name}", "{cluster", "my id"}},
		{
			"flags: {secret-annotation: ['%s']}", "--secret-annotation=%s",
			[]string{"a=", "example.org/a.b_c=d=e, f", "Team=x", "my-k8s.io/a=b", "a=" + strings.Repeat("x", 1023)},
			[]string{"", "a", "=b", "a b=c", "a/b/c=d", "a..b/c=d", "iam.amazonaws.com/role-arn=x", "kubernetes.io/a=b", "kubectl.kubernetes.io/a=b", "config.k8s.io/a=b", "a=" + strings.Repeat("x", 1024)},
		},
		{"", "--apiserver=%s", []string{"https://10.0.0.1:6443", "http://127.0.0.1:8001"}, []string{"10.0.0.1:6443", "https://", "ftp://10.0.0.1"}},
		{"", "--session-duration=%s", []string{"1h", "1h30m", "1.5h"}, []string{"", "3600", "1hour"}},
		{"flags: {sts-qps: %s}", "--sts-qps=%s", []string{"0.5", "1000000"}, []string{"0", "-1", "1000001", "many"}},
		{"flags: {web-identity-qps: %s}", "--web-identity-qps=%s", []string{"0.5", "1000000"}, []string{"0", "-1", "1000001", "many"}},
		{"flags: {max-concurrent-reconciles: %s}", "--max-concurrent-reconciles=%s", []string{"1", "100000"}, []string{"0", "-1", "0.5"}},
		{"flags: {zap-log-level: %s}", "--zap-log-level=%s", []string{"1", "127"}, []string{"0", "-1", "0.5", "warn"}},
		{webIdentity, audience, []string{"sts.amazonaws.com", "urn:x", "a/b", strings.Repeat("a", 255)}, []string{"", "a b", "https://a.b", name + "/probe", strings.Repeat("a", 256)}},
		{seed, seedSecret, []string{"aws-iam-controller", "a.b", strings.Repeat("a", 253)}, []string{"", "Seed", "a..b", "a.-b", "aws-iam.controller", strings.Repeat("a", 254)}},
	} {
		flag, _, _ := strings.Cut(strings.TrimPrefix(c.arg, "--"), "=")
		if c.values == "" {
			c.values = "flags: {" + flag + ": '%s'}"
		}
		for _, value := range slices.Concat(c.valid, c.invalid) {
			t.Run(flag+"="+value, func(t *testing.T) {
				want := slices.Contains(c.valid, value)
				if refused := p.refusal(t, fmt.Sprintf(c.arg, value)); (refused == "") != want {
					t.Errorf("valid is %t, and the program says %q", want, refused)
				}
				if _, err := template(t, home, read(t, fmt.Sprintf(c.values, value))); (err == nil) != want {
					t.Errorf("valid is %t, and the chart says %v", want, err)
				}
			})
		}
	}
}
