package app

import (
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
)

// options has the values of the flags, and what validate parses from them.
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
	externalIDFile     string
	externalIDs        credentials.ExternalIDs
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

	rolesAnywhere rolesAnywhereFlags
	webIdentity   webIdentityFlags
	secrets       secretFlags

	base         role.Base
	intermediate role.ARN
	seed         types.NamespacedName
}

// The valid values of --authorization-mode and --session-tags.
var (
	modes = []string{authorization.ModeRBAC, authorization.ModeNamespace, authorization.ModeAlwaysAllow}
	tags  = []string{credentials.TagCluster, credentials.TagNamespace, credentials.TagServiceAccount}
)

// The limits of a session duration. Source: the API reference of STS AssumeRole, DurationSeconds.
const (
	minSession = 15 * time.Minute
	maxSession = 12 * time.Hour
)

// maxSTSQPS exceeds every quota of STS: a larger value is a mistake.
const maxSTSQPS = 1_000_000

// flags returns the command line's flags, in the order in which the usage shows them.
func (o *options) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("kube-aws-iam-controller", pflag.ContinueOnError)
	f.SortFlags = false

	f.StringVar(&o.baseRoleARN, "base-role-arn", "", "Base ARN of roles that are requested by name, such as arn:aws:iam::123456789012:role/. "+
		"Default: the account of the instance profile, otherwise of the caller.")
	f.StringVar(&o.assumeRole, "assume-role", "", "Role, as ARN or name, that the controller assumes first, and with which it assumes all others.")
	f.StringVar(&o.seedSecret, "seed-secret", "", "Secret, as <namespace>/<name>, with the controller's own initial AWS credentials, which it then renews there. "+
		"Default: what the AWS SDK finds in the environment.")
	o.rolesAnywhere.addTo(f)
	f.DurationVar(&o.sessionDuration, "session-duration", time.Hour, "Duration of sessions: 15m to 12h, and at most 1h if the controller itself is a role.")
	f.DurationVar(&o.refreshLimit, "refresh-limit", 30*time.Minute, "Minimum remaining lifetime of credentials; half of their lifetime if that is more. "+
		"They are renewed when half of the time until then has passed, at the latest.")
	o.webIdentity.addTo(f)
	f.Float64Var(&o.stsQPS, "sts-qps", 300, "Maximum number of roles assumed per second. AWS allows 600 per account and Region for all callers together.")

	f.StringSliceVar(&o.namespaces, "namespace", nil, "Namespace to serve; can be repeated. Default: all.")
	f.StringSliceVar(&o.authorizationModes, "authorization-mode", []string{authorization.ModeRBAC}, "Authorization modes that decide which role a pod may have; one that allows it is enough. Any of "+strings.Join(modes, ", ")+".")
	f.BoolVar(&o.dryRunAuthorization, "dry-run-authorization", false, "Report in logs, metrics and events which roles would be denied, and deny none.")
	f.StringVar(&o.clusterName, "cluster-name", "kubernetes", "Name of the cluster, with which session names begin: <cluster>.<namespace>.<secret>.")
	f.StringVar(&o.externalID, "external-id", "", "ExternalId of all sessions: a template of {cluster} and {namespace}. Default: none.")
	f.StringVar(&o.externalIDFile, "external-id-file", "", "File with the ExternalIds of roles whose owners dictate one: lines of a pattern of role ARNs, with * and ?, and the ExternalId. Default: none.")
	f.StringSliceVar(&o.sessionTags, "session-tags", nil, "Tags of all sessions, any of "+strings.Join(tags, ", ")+". Default: none.")
	f.StringVar(&o.mountPath, "mount-path", "/meta/aws-iam", "Absolute path at which pods mount the Secrets.")
	o.secrets.addTo(f)
	f.DurationVar(&o.unusedGracePeriod, "unused-grace-period", 5*time.Minute, "How long to keep a Secret that no pod requests any more.")

	f.StringVar(&o.apiServer, "apiserver", "", "URL of the API server. Default: that of the kubeconfig or, in a cluster, of the cluster.")
	f.IntVar(&o.maxConcurrentReconciles, "max-concurrent-reconciles", 64, "Maximum number of Secrets that are reconciled at the same time.")
	f.BoolVar(&o.leaderElect, "leader-elect", false, "Reconcile only while holding the Lease, so that several replicas can run.")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "Address of the metrics; 0 for none.")
	f.BoolVar(&o.metricsSecure, "metrics-secure", false, "Serve the metrics over HTTPS, and only to clients whose token allows them to get the nonResourceURL /metrics. "+
		"The certificate is tls.crt and tls.key in /tmp/k8s-metrics-server/serving-certs if they exist, otherwise self-signed.")
	f.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "Address of the probes /healthz and /readyz; 0 for none.")

	f.BoolVar(&o.debug, "debug", false, "Log at debug level; the same as --zap-log-level=debug.")
	goFlags := flag.NewFlagSet("", flag.ContinueOnError)
	o.log.BindFlags(goFlags)
	goFlags.Lookup("zap-devel").Usage = "Development logging: console encoding, debug level, stack traces from warnings on."
	goFlags.Lookup("zap-stacktrace-level").Usage = "Level from which on stack traces are logged (one of 'info', 'error', 'panic'). Default: none."
	goFlags.Lookup("zap-time-encoding").Usage = "Encoding of times (one of 'epoch', 'millis', 'nanos', 'iso8601', 'rfc3339' or 'rfc3339nano'). Default: rfc3339nano."
	if kubeconfig := flag.CommandLine.Lookup("kubeconfig"); kubeconfig != nil {
		goFlags.Var(kubeconfig.Value, kubeconfig.Name, kubeconfig.Usage)
	}
	f.AddGoFlagSet(goFlags)
	f.DurationVar(&o.interval, "interval", 0, "Accepted and ignored.")
	_ = f.MarkHidden("interval") // fails only for a flag that does not exist
	f.BoolVar(&o.version, "version", false, "Print the version and exit.")
	return f
}

// validate checks the flags one by one and together. The error is one line that names the flag and
// what it accepts.
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
		o.validateRolesAnywhere,
		o.validateWebIdentity,
		o.validateSecrets,
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
	if request.IsOfServiceAccount(name) {
		return fmt.Errorf("--seed-secret=%s has a name that is for the Secret of a ServiceAccount: give it one that does not begin with %s", o.seedSecret, request.ServiceAccountPrefix)
	}
	o.seed = types.NamespacedName{Namespace: namespace, Name: name}
	return nil
}

func (o *options) validateNumbers() error {
	switch {
	case !(o.stsQPS > 0 && o.stsQPS <= maxSTSQPS): // in this form it rejects NaN
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
	if err := request.CheckMountPath(o.mountPath); err != nil {
		return fmt.Errorf("--mount-path=%q is %w", o.mountPath, err)
	}
	return o.validateAddresses()
}

// clusterNameForm matches the valid values of a session tag. Source: the API reference of STS, Tag.
var clusterNameForm = regexp.MustCompile(`^[\w.:/=+@-]{1,128}$`)

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

// among returns an error if one of a flag's values is not among the known ones.
func among(name string, values, known []string) error {
	for _, value := range values {
		if !slices.Contains(known, value) {
			return fmt.Errorf("--%s=%s is unknown: it takes %s", name, value, strings.Join(known, ", "))
		}
	}
	return nil
}

// sessions returns what all sessions have in common.
func (o *options) sessions() credentials.SessionTemplate {
	return credentials.SessionTemplate{
		ClusterName: o.clusterName, Duration: o.sessionDuration, ExternalID: o.externalID, ExternalIDs: o.externalIDs, Tags: o.sessionTags,
	}
}

// validateExternalID checks the template with the cluster's name and an example of a namespace, and
// reads the file.
func (o *options) validateExternalID() error {
	if o.externalIDFile != "" {
		text, err := os.ReadFile(o.externalIDFile)
		if err != nil {
			return fmt.Errorf("--external-id-file: %w", err)
		}
		if o.externalIDs, err = credentials.ParseExternalIDs(string(text)); err != nil {
			return fmt.Errorf("--external-id-file=%s: %w", o.externalIDFile, err)
		}
	}
	if o.externalID == "" {
		return nil
	}
	sessions := o.sessions()
	filled := sessions.ExternalIDOf("namespace")
	if !credentials.IsExternalID(filled) {
		return fmt.Errorf("--external-id=%q gives %q: it is a template of {cluster} and {namespace}, and otherwise of letters, digits and _+=,.@:/-", o.externalID, filled)
	}
	return nil
}
