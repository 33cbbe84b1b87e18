package main

import (
	"flag"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/policy"
	"kube-aws-iam-controller/pkg/role"
)

// options are the flags, as given and as understood.
type options struct {
	baseRoleARN, assumeRole       string
	seedSecret                    string
	sessionDuration, refreshLimit time.Duration
	stsQPS                        float64

	namespaces         []string
	clusterName        string
	mountPath          string
	unusedGracePeriod  time.Duration
	authorizationModes []string
	externalID         string
	sessionTags        []string

	dryRunAuthorization bool

	apiServer               string
	maxConcurrentReconciles int
	leaderElect             bool
	metricsAddress          string
	metricsSecure           bool
	healthAddress           string

	debug    bool
	log      zap.Options
	interval time.Duration
	version  bool

	base         role.Base
	intermediate role.ARN
	seed         types.NamespacedName
}

// The values that two of the flags know.
var (
	modes = []string{policy.ModeRBAC, policy.ModeNamespace, policy.ModeAlwaysAllow}
	tags  = []string{controllers.TagCluster, controllers.TagNamespace}
)

// The bounds of a session. Source: the API reference of STS AssumeRole, DurationSeconds.
const (
	minSession = 15 * time.Minute
	maxSession = 12 * time.Hour
)

// maxSTSQPS is more than STS grants anybody: what exceeds it is a mistake.
const maxSTSQPS = 1_000_000

// flags are the command line's flags, in the groups in which the usage shows them.
func (o *options) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("kube-aws-iam-controller", pflag.ContinueOnError)
	f.SortFlags = false

	f.StringVar(&o.baseRoleARN, "base-role-arn", "", "ARN under which roles lie that are asked for by name, such as arn:aws:iam::123456789012:role/. Default: the account of the instance profile, else of the caller.")
	f.StringVar(&o.assumeRole, "assume-role", "", "Role, as ARN or name, that the controller assumes first and from which it assumes all others.")
	f.StringVar(&o.seedSecret, "seed-secret", "", "Secret, as <namespace>/<name>, with the controller's own first AWS credentials, which it renews in there from then on. Default: what the AWS SDK finds in the environment.")
	f.DurationVar(&o.sessionDuration, "session-duration", time.Hour, "How long credentials live: 15m to 12h, and at most 1h where the controller is itself a role.")
	f.DurationVar(&o.refreshLimit, "refresh-limit", 30*time.Minute, "Credentials are to have no less left than this, nor than half of their life: they are renewed when half the time until then is over, at the latest.")
	f.Float64Var(&o.stsQPS, "sts-qps", 300, "Roles assumed per second at most. AWS allows 600 per account and Region to all callers together.")

	f.StringSliceVar(&o.namespaces, "namespace", nil, "Namespace to serve; may be given several times. Default: all.")
	f.StringSliceVar(&o.authorizationModes, "authorization-mode", []string{policy.ModeRBAC}, "Who decides which role a pod may have; it is enough if one allows it: "+strings.Join(modes, ", ")+".")
	f.BoolVar(&o.dryRunAuthorization, "dry-run-authorization", false, "Tell in logs, metrics and events who would be refused a role, and refuse nobody.")
	f.StringVar(&o.clusterName, "cluster-name", "kubernetes", "Name of the cluster: the first part of session names, <cluster>.<namespace>.<secret>.")
	f.StringVar(&o.externalID, "external-id", "", "ExternalId of all sessions: a template of {cluster} and {namespace}. Default: none.")
	f.StringSliceVar(&o.sessionTags, "session-tags", nil, "Tags of all sessions, any of "+strings.Join(tags, ", ")+". Default: none.")
	f.StringVar(&o.mountPath, "mount-path", "/meta/aws-iam", "Absolute path at which pods mount the Secrets.")
	f.DurationVar(&o.unusedGracePeriod, "unused-grace-period", 5*time.Minute, "How long a Secret stays that no pod wants any more.")

	f.StringVar(&o.apiServer, "apiserver", "", "URL of the API server. Default: the kubeconfig's, or in a cluster its own.")
	f.IntVar(&o.maxConcurrentReconciles, "max-concurrent-reconciles", 64, "Secrets worked on at the same time.")
	f.BoolVar(&o.leaderElect, "leader-elect", false, "Work only while holding the Lease, so that several replicas can run.")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "Address of the metrics; 0 for none.")
	f.BoolVar(&o.metricsSecure, "metrics-secure", false, "Serve the metrics by HTTPS, and only to clients with a token whose owner may get the nonResourceURL /metrics. The certificate is tls.crt and tls.key in /tmp/k8s-metrics-server/serving-certs if they are there, else self-signed.")
	f.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "Address of the probes /healthz and /readyz; 0 for none.")

	f.BoolVar(&o.debug, "debug", false, "Log at debug level; the same as --zap-log-level=debug.")
	goFlags := flag.NewFlagSet("", flag.ContinueOnError)
	o.log.BindFlags(goFlags)
	goFlags.Lookup("zap-devel").Usage = "Log for people: console encoding, debug level, stack traces from warnings on."
	goFlags.Lookup("zap-stacktrace-level").Usage = "Level from which on stack traces are logged (one of 'info', 'error', 'panic'). Default: none."
	goFlags.Lookup("zap-time-encoding").Usage = "Encoding of times (one of 'epoch', 'millis', 'nano', 'iso8601', 'rfc3339' or 'rfc3339nano'). Default: rfc3339nano."
	if kubeconfig := flag.CommandLine.Lookup("kubeconfig"); kubeconfig != nil {
		goFlags.Var(kubeconfig.Value, kubeconfig.Name, kubeconfig.Usage)
	}
	f.AddGoFlagSet(goFlags)
	f.DurationVar(&o.interval, "interval", 0, "Taken and ignored.")
	_ = f.MarkHidden("interval") // fails only for a flag that does not exist
	f.BoolVar(&o.version, "version", false, "Print the version and exit.")
	return f
}

// validate checks each flag, and all of them together, before anything starts. The error is one line that names the flag and what it accepts.
func (o *options) validate() error {
	return firstError(
		o.validateRoles,
		func() error { return between("session-duration", o.sessionDuration, minSession, maxSession) },
		func() error { return between("refresh-limit", o.refreshLimit, time.Second, maxSession) },
		func() error {
			if o.refreshLimit >= o.sessionDuration {
				return fmt.Errorf("--refresh-limit=%s must be shorter than --session-duration=%s: credentials would always be due for renewal", o.refreshLimit, o.sessionDuration)
			}
			return nil
		},
		func() error { return between("unused-grace-period", o.unusedGracePeriod, 0, maxSession) },
		o.validateNumbers,
		o.validateNames,
		o.validateModes,
		func() error { return among("session-tags", o.sessionTags, tags) },
		o.validateExternalID,
		o.validateSeed,
	)
}

func firstError(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func between(name string, value, least, most time.Duration) error {
	if value < least || value > most {
		return fmt.Errorf("--%s=%s is not from %s to %s", name, value, least, most)
	}
	return nil
}

// validateRoles reads the two flags that are roles.
func (o *options) validateRoles() (err error) {
	if o.baseRoleARN != "" {
		if o.base, err = role.ParseBase(o.baseRoleARN); err != nil {
			return fmt.Errorf("--base-role-arn: %w; it is of the form arn:aws:iam::123456789012:role/", err)
		}
	}
	if o.assumeRole == "" {
		return nil
	}
	if o.intermediate, err = o.base.Resolve(o.assumeRole); err != nil {
		return fmt.Errorf("--assume-role: %w; it is an ARN of the form arn:aws:iam::123456789012:role/name, or a name where --base-role-arn is given", err)
	}
	return nil
}

// validateSeed reads the flag that names a Secret.
func (o *options) validateSeed() error {
	if o.seedSecret == "" {
		return nil
	}
	namespace, name, _ := strings.Cut(o.seedSecret, "/")
	if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Errorf("--seed-secret=%q is not of the form <namespace>/<name>, such as kube-system/aws-iam-kube-aws-iam-controller", o.seedSecret)
	}
	if len(o.namespaces) > 0 && !slices.Contains(o.namespaces, namespace) {
		return fmt.Errorf("--seed-secret=%s is in a namespace that is not served: add --namespace=%s", o.seedSecret, namespace)
	}
	o.seed = types.NamespacedName{Namespace: namespace, Name: name}
	return nil
}

func (o *options) validateNumbers() error {
	switch {
	case !(o.stsQPS > 0 && o.stsQPS <= maxSTSQPS): // in this form it refuses NaN
		return fmt.Errorf("--sts-qps=%v is not more than 0 and at most %d", o.stsQPS, maxSTSQPS)
	case o.maxConcurrentReconciles <= 0:
		return fmt.Errorf("--max-concurrent-reconciles=%d is not more than 0", o.maxConcurrentReconciles)
	}
	return nil
}

func (o *options) validateNames() error {
	for _, namespace := range o.namespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			return fmt.Errorf("--namespace=%s is not the name of a namespace", namespace)
		}
	}
	if !clusterNameForm.MatchString(o.clusterName) {
		return fmt.Errorf("--cluster-name=%q is not a name of 1 to 128 letters, digits and _.:/=+@-", o.clusterName)
	}
	if !mountPathForm.MatchString(o.mountPath) || path.Clean(o.mountPath) != o.mountPath {
		return fmt.Errorf("--mount-path=%q is not an absolute path of letters, digits and ._/-, such as /meta/aws-iam", o.mountPath)
	}
	return o.validateAddresses()
}

// clusterNameForm is what a session tag's value can hold. Source: the API reference of STS, Tag.
var clusterNameForm = regexp.MustCompile(`^[\w.:/=+@-]{1,128}$`)

// mountPathForm keeps out what the shell that runs a credential_process would not take as it is.
var mountPathForm = regexp.MustCompile(`^/[A-Za-z0-9._/-]+$`)

func (o *options) validateAddresses() error {
	for name, address := range map[string]string{"metrics-bind-address": o.metricsAddress, "health-probe-bind-address": o.healthAddress} {
		_, port, err := net.SplitHostPort(address)
		if number, numberErr := strconv.ParseUint(port, 10, 16); address != "0" && (err != nil || numberErr != nil || number == 0) {
			return fmt.Errorf("--%s=%s is not an address such as :8080 or 127.0.0.1:8080, nor 0 for none", name, address)
		}
	}
	if o.apiServer == "" {
		return nil
	}
	u, err := url.Parse(o.apiServer)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("--apiserver=%s is not a URL such as https://10.0.0.1:6443", o.apiServer)
	}
	return nil
}

func (o *options) validateModes() error {
	if len(o.authorizationModes) == 0 {
		return fmt.Errorf("--authorization-mode is empty: it takes %s", strings.Join(modes, ", "))
	}
	return among("authorization-mode", o.authorizationModes, modes)
}

// among checks a list of values of a flag.
func among(name string, values, known []string) error {
	for _, value := range values {
		if !slices.Contains(known, value) {
			return fmt.Errorf("--%s=%s is unknown: it takes %s", name, value, strings.Join(known, ", "))
		}
	}
	return nil
}

// externalIDForm is what STS accepts, with the longest cluster and namespace in mind. Source: the API reference of AssumeRole, ExternalId.
var externalIDForm = regexp.MustCompile(`^[\w+=,.@:/-]{2,512}$`)

// validateExternalID checks the template, filled in with the cluster's name and some namespace.
func (o *options) validateExternalID() error {
	if o.externalID == "" {
		return nil
	}
	filled := controllers.Settings{ClusterName: o.clusterName, ExternalID: o.externalID}.ExternalIDOf("namespace")
	if !externalIDForm.MatchString(filled) {
		return fmt.Errorf("--external-id=%q gives %q: it is a template of {cluster} and {namespace}, and otherwise of letters, digits and _+=,.@:/-", o.externalID, filled)
	}
	return nil
}
