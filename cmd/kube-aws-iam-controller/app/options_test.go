package app

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// parse parses and validates a command line.
func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	var o options
	flags := o.flags()
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	err := o.validate()
	return o, err
}

// rolesAnywhere returns the four flags of IAM Roles Anywhere, and more.
func rolesAnywhere(more ...string) []string {
	return append([]string{
		"--roles-anywhere-trust-anchor-arn=arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/1",
		"--roles-anywhere-profile-arn=arn:aws:rolesanywhere:eu-central-1:123456789012:profile/1",
		"--roles-anywhere-role-arn=arn:aws:iam::123456789012:role/controller",
		"--roles-anywhere-certificate-dir=/certificate",
	}, more...)
}

func TestOptions_Defaults(t *testing.T) {
	o, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	if !o.base.IsZero() || !o.intermediate.IsZero() || len(o.namespaces) != 0 || o.apiServer != "" || o.leaderElect || o.debug || o.version {
		t.Errorf("something is set: %+v", o)
	}
	for _, c := range []struct {
		flag      string
		got, want any
	}{
		{"session-duration", o.sessionDuration, time.Hour},
		{"refresh-limit", o.refreshLimit, 30 * time.Minute},
		{"unused-grace-period", o.unusedGracePeriod, 5 * time.Minute},
		{"sts-qps", o.stsQPS, 300.0},
		{"max-concurrent-reconciles", o.maxConcurrentReconciles, 64},
		{"mount-path", o.mountPath, "/meta/aws-iam"},
		{"metrics-bind-address", o.metricsAddress, ":8080"},
		{"metrics-secure", o.metricsSecure, false},
		{"health-probe-bind-address", o.healthAddress, ":8081"},
	} {
		if c.got != c.want {
			t.Errorf("--%s is %v, want %v", c.flag, c.got, c.want)
		}
	}
}

func TestOptions_Valid(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		ok   func(options) bool
	}{
		{"a namespace given several times", []string{"--namespace=a", "--namespace=b", "--namespace", "c"}, func(o options) bool { return slices.Equal(o.namespaces, []string{"a", "b", "c"}) }},
		{"namespaces with commas", []string{"--namespace=a,b", "--namespace=c"}, func(o options) bool { return slices.Equal(o.namespaces, []string{"a", "b", "c"}) }},
		{"upstream's interval is ignored", []string{"--interval=10s"}, func(o options) bool { return o.refreshLimit == 30*time.Minute }},
		{"a base role ARN", []string{"--base-role-arn=arn:aws-cn:iam::123456789012:role/team"}, func(o options) bool { return o.base.String() == "arn:aws-cn:iam::123456789012:role/team/" }},
		{"an intermediate role by its ARN", []string{"--assume-role=arn:aws:iam::123456789012:role/hub"}, func(o options) bool { return o.intermediate.String() == "arn:aws:iam::123456789012:role/hub" }},
		{"an intermediate role by its name", []string{"--assume-role=hub", "--base-role-arn=arn:aws:iam::123456789012:role/team/"}, func(o options) bool { return o.intermediate.String() == "arn:aws:iam::123456789012:role/team/hub" }},
		{"the shortest session", []string{"--session-duration=15m", "--refresh-limit=5m"}, func(o options) bool { return o.sessionDuration == 15*time.Minute }},
		{"the longest session", []string{"--session-duration=12h"}, func(o options) bool { return o.sessionDuration == 12*time.Hour }},
		{"no grace period", []string{"--unused-grace-period=0s"}, func(o options) bool { return o.unusedGracePeriod == 0 }},
		{"less than one role a second", []string{"--sts-qps=0.5"}, func(o options) bool { return o.stsQPS == 0.5 }},
		{"several modes", []string{"--authorization-mode=RBAC,Namespace"}, func(o options) bool { return slices.Equal(o.authorizationModes, []string{"RBAC", "Namespace"}) }},
		{"an external ID and tags", []string{"--external-id={cluster}/{namespace}", "--session-tags=kubernetes-namespace,eks-cluster-name"}, func(o options) bool {
			return o.externalID == "{cluster}/{namespace}" && len(o.sessionTags) == 2
		}},
		{"the mode by its name", []string{"--authorization-mode=AlwaysAllow"}, func(o options) bool { return slices.Equal(o.authorizationModes, []string{"AlwaysAllow"}) }},
		{"an API server", []string{"--apiserver=http://127.0.0.1:8001"}, func(o options) bool { return o.apiServer == "http://127.0.0.1:8001" }},
		{"a seed", []string{"--seed-secret=kube-system/aws-iam-controller"}, func(o options) bool { return o.seed.String() == "kube-system/aws-iam-controller" }},
		{"a seed in a namespace that is served", []string{"--seed-secret=a/b", "--namespace=a,c"}, func(o options) bool { return o.seed.String() == "a/b" }},
		{"IAM Roles Anywhere", rolesAnywhere(), func(o options) bool {
			r := o.rolesAnywhere.parsed
			return r.TrustAnchor.Region == "eu-central-1" && r.Role.Name() == "controller" && r.CertificateDir == "/certificate"
		}},
		{"another mount path", []string{"--mount-path=/var/run/aws_iam.d"}, func(o options) bool { return o.mountPath == "/var/run/aws_iam.d" }},
		{"annotations with commas and equals signs", []string{"--secret-annotation=example.org/a=b,c=d", "--secret-annotation", "e="}, func(o options) bool {
			return maps.Equal(o.secrets.annotations, map[string]string{"example.org/a": "b,c=d", "e": ""})
		}},
		{"files without the account's ID", []string{"--omit-account-id"}, func(o options) bool { return o.secrets.omitAccountID }},
		{"a log level", []string{"--zap-log-level=debug", "--zap-encoder=console"}, func(o options) bool { return o.log.Level != nil && o.log.NewEncoder != nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := parse(t, c.args...)
			if err != nil || !c.ok(o) {
				t.Errorf("got %+v, %v", o, err)
			}
		})
	}
}

func TestValidate_Errors(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  []string
		names []string // the flag, and what it accepts
	}{
		{"a base that is not an ARN", []string{"--base-role-arn=123456789012"}, []string{"--base-role-arn", "arn:aws:iam::123456789012:role/"}},
		{"a base of another kind", []string{"--base-role-arn=arn:aws:iam::123456789012:user/"}, []string{"--base-role-arn", "arn:aws:iam::123456789012:role/"}},
		{"a base without an account", []string{"--base-role-arn=arn:aws:iam:::role/"}, []string{"--base-role-arn", "twelve digits"}},
		{"an invalid role name", []string{"--assume-role=my role", "--base-role-arn=arn:aws:iam::123456789012:role/"}, []string{"--assume-role", "arn:aws:iam::123456789012:role/name"}},
		{"a role by its name without a base", []string{"--assume-role=hub"}, []string{"--assume-role", "--base-role-arn"}},
		{"a malformed ARN", []string{"--assume-role=arn:aws:iam::1:role/hub"}, []string{"--assume-role", "arn:aws:iam::123456789012:role/name"}},
		{"a session that is too short", []string{"--session-duration=14m59s"}, []string{"--session-duration", "15m0s", "12h0m0s"}},
		{"a session that is too long", []string{"--session-duration=13h"}, []string{"--session-duration", "15m0s", "12h0m0s"}},
		{"an invalid duration", []string{"--session-duration=1hour"}, []string{"--session-duration", "1hour"}},
		{"a duration without a unit", []string{"--session-duration=3600"}, []string{"--session-duration", "3600"}},
		{"no limit", []string{"--refresh-limit=0s"}, []string{"--refresh-limit", "1s", "12h0m0s"}},
		{"a negative limit", []string{"--refresh-limit=-1m"}, []string{"--refresh-limit", "1s", "12h0m0s"}},
		{"a limit as long as the session", []string{"--refresh-limit=1h"}, []string{"--refresh-limit", "--session-duration", "shorter"}},
		{"a limit longer than the session", []string{"--refresh-limit=30m", "--session-duration=20m"}, []string{"--refresh-limit", "--session-duration", "shorter"}},
		{"a negative grace period", []string{"--unused-grace-period=-1s"}, []string{"--unused-grace-period", "0s", "12h0m0s"}},
		{"a rate of zero", []string{"--sts-qps=0"}, []string{"--sts-qps", "more than 0"}},
		{"a negative rate", []string{"--sts-qps=-1"}, []string{"--sts-qps", "more than 0"}},
		{"a rate that is NaN", []string{"--sts-qps=NaN"}, []string{"--sts-qps", "more than 0"}},
		{"an infinite rate", []string{"--sts-qps=+Inf"}, []string{"--sts-qps", "at most 1000000"}},
		{"a rate in words", []string{"--sts-qps=many"}, []string{"--sts-qps", "many"}},
		{"no reconciles", []string{"--max-concurrent-reconciles=0"}, []string{"--max-concurrent-reconciles", "more than 0"}},
		{"half a reconcile", []string{"--max-concurrent-reconciles=0.5"}, []string{"--max-concurrent-reconciles", "0.5"}},
		{"a namespace in upper case", []string{"--namespace=Payments"}, []string{"--namespace", "Payments"}},
		{"a namespace with white space", []string{"--namespace=a, b"}, []string{"--namespace", " b"}},
		{"a glob as namespace", []string{"--namespace=team-*"}, []string{"--namespace", "team-*"}},
		{"one bad namespace of several", []string{"--namespace=a", "--namespace=b_c"}, []string{"--namespace", "b_c"}},
		{"no cluster name", []string{"--cluster-name="}, []string{"--cluster-name", "1 to 128"}},
		{"a relative mount path", []string{"--mount-path=meta/aws-iam"}, []string{"--mount-path", "/meta/aws-iam"}},
		{"a slash at the end of the mount path", []string{"--mount-path=/meta/aws-iam/"}, []string{"--mount-path", "/meta/aws-iam"}},
		{"a mount path with ..", []string{"--mount-path=/meta/../aws-iam"}, []string{"--mount-path", "/meta/aws-iam"}},
		{"the root as mount path", []string{"--mount-path=/"}, []string{"--mount-path", "/meta/aws-iam"}},
		{"a mount path that a shell would split", []string{"--mount-path=/meta;id"}, []string{"--mount-path", "/meta/aws-iam"}},
		{"a long mount path", []string{"--mount-path=/" + strings.Repeat("x", 256)}, []string{"--mount-path", "256"}},
		{"no mount path", []string{"--mount-path="}, []string{"--mount-path", "/meta/aws-iam"}},
		{"a home directory as mount path", []string{"--mount-path=~/.aws"}, []string{"--mount-path", "/meta/aws-iam"}},
		{"a mount path with white space", []string{"--mount-path=/my files"}, []string{"--mount-path", "/meta/aws-iam"}},
		{"a mount path with a line feed", []string{"--mount-path=/meta\naws"}, []string{"--mount-path", "/meta/aws-iam"}},
		{"a mount path with a shell command", []string{"--mount-path=/$(reboot)"}, []string{"--mount-path", "/meta/aws-iam"}},
		{"an unknown mode", []string{"--authorization-mode=Webhook"}, []string{"--authorization-mode", "Webhook", "AlwaysAllow"}},
		{"one unknown mode of several", []string{"--authorization-mode=AlwaysAllow,alwaysallow"}, []string{"--authorization-mode", "alwaysallow", "AlwaysAllow"}},
		{"a seed without a namespace", []string{"--seed-secret=aws-iam-controller"}, []string{"--seed-secret", "<namespace>/<name>"}},
		{"a seed with an invalid name", []string{"--seed-secret=kube-system/aws-iam-Controller"}, []string{"--seed-secret", "<namespace>/<name>"}},
		{"a seed with a path", []string{"--seed-secret=kube-system/a/b"}, []string{"--seed-secret", "<namespace>/<name>"}},
		{"a seed that is a ServiceAccount's", []string{"--seed-secret=kube-system/aws-iam.app"}, []string{"--seed-secret", "ServiceAccount", "aws-iam."}},
		{"a seed in a namespace that is not served", []string{"--seed-secret=kube-system/a", "--namespace=payments"}, []string{"--seed-secret", "--namespace=kube-system"}},
		{"IAM Roles Anywhere without all flags", rolesAnywhere()[2:], []string{"--roles-anywhere-trust-anchor-arn and --roles-anywhere-profile-arn"}},
		{"IAM Roles Anywhere beside a seed", rolesAnywhere("--seed-secret=kube-system/seed"), []string{"--seed-secret", "--roles-anywhere"}},
		{"a trust anchor of another kind", rolesAnywhere("--roles-anywhere-trust-anchor-arn=arn:aws:iam::123456789012:role/a"), []string{"--roles-anywhere-trust-anchor-arn", ":trust-anchor/<id>"}},
		{"a profile of another Region", rolesAnywhere("--roles-anywhere-profile-arn=arn:aws:rolesanywhere:us-east-1:123456789012:profile/1"), []string{"--roles-anywhere-profile-arn", "us-east-1"}},
		{"an unknown tag", []string{"--session-tags=team"}, []string{"--session-tags", "team", "eks-cluster-name", "kubernetes-namespace"}},
		{"an external ID that STS would refuse", []string{"--external-id={cluster} {namespace}"}, []string{"--external-id", "{cluster}", "{namespace}"}},
		{"external IDs in a file that does not exist", []string{"--external-id-file=/nowhere/ids"}, []string{"--external-id-file", "/nowhere/ids", "no such file"}},
		{"external IDs in a file that is none", []string{"--external-id-file=options_test.go"}, []string{"--external-id-file=options_test.go", "line 1", "arn:aws:iam::123456789012:role/*"}},
		{"an external ID with an unknown placeholder", []string{"--external-id={pod}"}, []string{"--external-id", "{pod}"}},
		{"an annotation without a value", []string{"--secret-annotation=example.org/a"}, []string{"--secret-annotation", "example.org/a", "<key>=<value>"}},
		{"an annotation given twice", []string{"--secret-annotation=a=1", "--secret-annotation=a=2"}, []string{"--secret-annotation", `"a"`, "twice"}},
		{"an annotation with a space", []string{"--secret-annotation=a b=1"}, []string{"--secret-annotation", `"a b"`, "<key>=<value>"}},
		{"an annotation with a line feed in its key", []string{"--secret-annotation=a\nb=1"}, []string{"--secret-annotation", "<key>=<value>"}},
		{"an annotation of the controller", []string{"--secret-annotation=iam.amazonaws.com/role-arn=x"}, []string{"--secret-annotation", "iam.amazonaws.com/role-arn", "reserved"}},
		{"an annotation of Kubernetes", []string{"--secret-annotation=kubectl.kubernetes.io/x=y"}, []string{"--secret-annotation", "kubectl.kubernetes.io/x", "reserved"}},
		{"annotations that are too large", []string{"--secret-annotation=a=" + strings.Repeat("x", 600), "--secret-annotation=b=" + strings.Repeat("x", 600)}, []string{"--secret-annotation", "1202 bytes", "1024"}},
		{"no mode", []string{"--authorization-mode="}, []string{"--authorization-mode", "AlwaysAllow"}},
		{"an API server without a scheme", []string{"--apiserver=10.0.0.1:6443"}, []string{"--apiserver", "https://10.0.0.1:6443"}},
		{"an API server of another scheme", []string{"--apiserver=ftp://10.0.0.1"}, []string{"--apiserver", "https://10.0.0.1:6443"}},
		{"an API server without a host", []string{"--apiserver=https://"}, []string{"--apiserver", "https://10.0.0.1:6443"}},
		{"an unknown log level", []string{"--zap-log-level=loud"}, []string{"--zap-log-level", "loud"}},
		{"an invalid interval", []string{"--interval=often"}, []string{"--interval", "often"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(t, c.args...)
			if err == nil {
				t.Fatal("accepted")
			}
			wantLine(t, err.Error(), c.names...)
		})
	}
}

// wantLine checks that a text is one line that contains all names.
func wantLine(t *testing.T, text string, names ...string) {
	t.Helper()
	for _, name := range names {
		if !strings.Contains(text, name) {
			t.Errorf("does not say %q: %s", name, text)
		}
	}
	if strings.ContainsAny(text, "\r\n") {
		t.Errorf("more than one line: %q", text)
	}
}
