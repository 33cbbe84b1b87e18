package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/util/version"
	apiversion "k8s.io/apimachinery/pkg/version"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
	"kube-aws-iam-controller/pkg/authorization"
)

// The names of the checks of an installation that are not part of an explanation.
const (
	checkKubernetes  = "Kubernetes"
	checkCRD         = "CRD"
	checkPolicies    = "policies"
	checkInjecting   = "injection"
	checkVersion     = "version"
	checkRBAC        = "RBAC"
	checkIdentity    = "identity"
	checkRegion      = "Region"
	checkCredentials = "credentials"
	checkMetadata    = "metadata"
)

var installationCauses = []string{
	checkKubernetes, checkController, checkRBAC, checkLease, checkVersion, checkRegion, checkIdentity, checkSeed, checkCredentials, checkCRD, checkPolicies, checkMetadata,
}

// InstallationSnapshot is all that the state of an installation depends on.
type InstallationSnapshot struct {
	// Now is the time by the API server's clock.
	Now time.Time
	Installation
	Server Read[*apiversion.Info]
	// HasCRD reports whether the API server serves AWSIAMRoles.
	HasCRD Read[bool]
	// Policies are the ValidatingAdmissionPolicies, Injection the MutatingAdmissionPolicies of the
	// installation.
	Policies, Injection Read[[]Policy]
	// Denied are the rights that the controller's ServiceAccount lacks.
	Denied Read[[]authorizationv1.ResourceAttributes]
	// Environment has the variables of the AWS SDK that the controller has, and the values of those
	// that are not confidential.
	Environment Read[map[string]string]
	// HostNetwork reports whether the controller runs in the network of its node.
	HostNetwork bool
	// Warnings are events of the controller on its own pods.
	Warnings Read[[]Event]
	// Usages are the roles in use in all namespaces.
	Usages Read[[]*usage.Usage]
	// Metadata is whether a pod reached the metadata service, or nil if none tried.
	Metadata *Read[bool]
}

// Policy is an admission policy.
type Policy struct {
	Name string
	// Bound reports whether it has a binding, and Denies whether one of them refuses.
	Bound, Denies bool
	// Text is all of its expressions.
	Text string
}

// CheckInstallation returns what is and what is not in order in an installation.
func CheckInstallation(s *InstallationSnapshot) *Report {
	return report(installationCauses,
		Section{Title: "Cluster", Checks: []Check{s.kubernetes(), s.crd(), s.policies(), s.injecting()}},
		Section{Title: "Controller", Checks: []Check{s.running(), s.version(), s.lease(s.Now), s.rbac()}},
		Section{Title: "AWS", Checks: []Check{s.identity(), s.seed(s.Now), s.region(), s.credentials(), s.metadata()}},
	)
}

// running is the check controller, which fails if the user cannot see the controller: otherwise a
// check in CI would find nothing wrong.
func (s *InstallationSnapshot) running() Check {
	c := s.controller("")
	if c.Status == Unknown {
		c.Status, c.Next = Failed, "kubectl auth can-i list deployments --all-namespaces"
	}
	return c
}

// least and injects are the versions of Kubernetes that have the admission policies, and the
// injection. See docs/installation.md.
var least, injects = version.MajorMinor(1, 30), version.MajorMinor(1, 36)

func (s *InstallationSnapshot) kubernetes() Check {
	if s.Server.Err != nil {
		return unknown(checkKubernetes, "%v", s.Server.Err)
	}
	v, err := version.ParseGeneric(s.Server.Value.GitVersion)
	switch {
	case err != nil:
		return unknown(checkKubernetes, "%s", s.Server.Value.GitVersion)
	case v.LessThan(least):
		return failed(checkKubernetes, "kubectl version", "%s: the admission policies need %s", s.Server.Value.GitVersion, least)
	case v.LessThan(injects):
		return passed(checkKubernetes, "%s; injection needs %s", s.Server.Value.GitVersion, injects)
	default:
		return passed(checkKubernetes, "%s", s.Server.Value.GitVersion)
	}
}

func (s *InstallationSnapshot) crd() Check {
	switch {
	case s.HasCRD.Err != nil:
		return unknown(checkCRD, "%v", s.HasCRD.Err)
	case !s.HasCRD.Value:
		return failed(checkCRD, "kubectl apply --filename config/crd/bases", "the API server serves no awsiamroles.zalando.org: AWSIAMRoles are not served, pods are")
	default:
		return passed(checkCRD, "awsiamroles.zalando.org/v1 is served")
	}
}

// The admission policies of config/admission. Those about writes name the controller's
// ServiceAccount.
const (
	policyWrites   = settings.Name + "-secret-writes"
	policyLabel    = settings.Name + "-secret-label"
	policyAccount  = settings.Name + "-serviceaccount-secret"
	policyPodRole  = settings.Name + "-pod-role"
	policyPodRoles = settings.Name + "-pod-roles"
	policySeed     = settings.Name + "-seed-delete"
)

// policies is the check of the admission policies that the settings call for.
func (s *InstallationSnapshot) policies() Check {
	if s.Policies.Err != nil {
		return unknown(checkPolicies, "%v", s.Policies.Err)
	}
	needed := s.neededPolicies()
	var problems, warns []string
	for _, name := range needed {
		switch problem := s.policy(name); {
		case problem == onlyWarns && (name == policyPodRole || name == policyPodRoles):
			warns = append(warns, name)
		case problem != "":
			problems = append(problems, name+" "+problem)
		}
	}
	const look = "kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings --selector " + settings.Selector
	switch {
	case len(problems) > 0:
		return failed(checkPolicies, look, "%s", strings.Join(problems, ", "))
	case len(warns) > 0:
		return passed(checkPolicies, "%d are in force; %s only warn", len(needed)-len(warns), strings.Join(warns, " and "))
	default:
		return passed(checkPolicies, "%d are in force", len(needed))
	}
}

// neededPolicies returns the names of the policies that the settings call for.
func (s *InstallationSnapshot) neededPolicies() []string {
	needed := []string{policyWrites, policyLabel, policyAccount}
	if slices.Equal(s.Settings.Modes, []string{authorization.ModeRBAC}) {
		needed = append(needed, policyPodRole, policyPodRoles)
	}
	if s.Settings.Seed.Name != "" {
		needed = append(needed, policySeed)
	}
	return needed
}

const onlyWarns = "only warns"

// policy returns what is wrong with a policy, or an empty string.
func (s *InstallationSnapshot) policy(name string) (problem string) {
	i := slices.IndexFunc(s.Policies.Value, func(p Policy) bool { return p.Name == name })
	if i < 0 {
		return "is missing"
	}
	p := &s.Policies.Value[i]
	switch {
	case !p.Bound:
		return "has no binding"
	case !p.Denies:
		return onlyWarns
	case (name == policyWrites || name == policyLabel) && s.user() != "" && !names(p, s.user()):
		return "does not name " + s.user()
	default:
		return ""
	}
}

// names reports whether an expression of a policy has a text, which can be joined from parts.
func names(p *Policy, text string) bool {
	return strings.Contains(strings.ReplaceAll(p.Text, "' + '", ""), "'"+text+"'")
}

// user returns the user name of the controller's ServiceAccount, or an empty string.
func (s *InstallationSnapshot) user() string {
	d := s.Deployment.Value
	if d == nil {
		return ""
	}
	return "system:serviceaccount:" + d.Namespace + ":" + cmp.Or(d.Spec.Template.Spec.ServiceAccountName, "default")
}

func (s *InstallationSnapshot) injecting() Check {
	var names []string
	for _, p := range s.Injection.Value {
		if p.Bound {
			names = append(names, p.Name)
		}
	}
	switch {
	case s.Injection.missing():
		return unknown(checkInjecting, "the API server has no MutatingAdmissionPolicies")
	case s.Injection.Err != nil:
		return unknown(checkInjecting, "%v", s.Injection.Err)
	case len(names) == 0:
		return unknown(checkInjecting, "not installed: pods mount their Secrets themselves")
	default:
		return passed(checkInjecting, "%d policies are in force", len(names))
	}
}

func (s *InstallationSnapshot) version() Check {
	d := s.Deployment.Value
	if d == nil {
		return unknown(checkVersion, "it is not known which image runs")
	}
	c := settings.Container(&d.Spec.Template.Spec)
	switch {
	case c == nil:
		return failed(checkVersion, describe(d), "the Deployment has no container")
	case d.Status.UpdatedReplicas < d.Status.Replicas:
		return unknown(checkVersion, "image %s, on %d of %d replicas until now", c.Image, d.Status.UpdatedReplicas, d.Status.Replicas)
	default:
		return passed(checkVersion, "image %s", c.Image)
	}
}

func (s *InstallationSnapshot) rbac() Check {
	switch {
	case s.user() == "":
		return unknown(checkRBAC, "the controller's ServiceAccount is not known")
	case isForbidden(s.Denied.Err):
		return unknown(checkRBAC, "you may not create subjectaccessreviews")
	case s.Denied.Err != nil:
		return unknown(checkRBAC, "%v", s.Denied.Err)
	case len(s.Denied.Value) == 0:
		return passed(checkRBAC, "%s has all the rights of config/rbac", s.user())
	}
	var lacks []string
	for _, a := range s.Denied.Value {
		lacks = append(lacks, right(&a))
	}
	const most = 5
	if more := len(lacks) - most; more > 0 {
		lacks = append(lacks[:most], fmt.Sprintf("and %d more", more))
	}
	return failed(checkRBAC, "kubectl auth can-i --list --as "+s.user(), "%s has no right to %s", s.user(), strings.Join(lacks, ", "))
}

// right returns a right as kubectl auth can-i takes it.
func right(a *authorizationv1.ResourceAttributes) string {
	resource := a.Resource
	if a.Group != "" {
		resource += "." + a.Group
	}
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	if a.Namespace != "" {
		resource += " in " + a.Namespace
	}
	return a.Verb + " " + resource
}

// identity is the check of where the controller's own AWS credentials come from, and of what its
// events on its own pods say about them.
func (s *InstallationSnapshot) identity() Check {
	if s.Deployment.Value == nil {
		return unknown(checkIdentity, "the controller's Deployment is not known")
	}
	last, ok := Event{}, false
	for _, e := range s.Warnings.Value {
		if e.Warning && (!ok || e.At.After(last.At)) {
			last, ok = e, true
		}
	}
	of := s.identityKind()
	if _, issued, known := s.lastIssued(); ok && (!known || last.At.After(issued)) {
		return failed(checkIdentity, s.logs(), "%s; %s %s: %s", of, last.Reason, ago(last.At, s.Now), reason(last.Note))
	}
	if s.Environment.Err != nil && of == "" {
		return unknown(checkIdentity, "%v", s.Environment.Err)
	}
	return passed(checkIdentity, "%s", of)
}

// identityKind returns where the credentials come from, or an empty string if that is not known.
func (s *InstallationSnapshot) identityKind() string {
	switch {
	case s.Settings.Seed.Name != "":
		return "seed Secret " + s.Settings.Seed.String()
	case s.Settings.RolesAnywhere:
		return "IAM Roles Anywhere"
	default:
		return s.identityOfSDK()
	}
}

// identityOfSDK is identityKind of a controller whose flags leave it to the AWS SDK, in the order
// in which that looks.
func (s *InstallationSnapshot) identityOfSDK() string {
	e := s.Environment.Value
	has := func(name string) bool { _, ok := e[name]; return ok }
	switch {
	case has("AWS_ACCESS_KEY_ID"):
		return "keys of a user, in the environment"
	case has("AWS_WEB_IDENTITY_TOKEN_FILE"):
		return "web identity, role " + cmp.Or(e["AWS_ROLE_ARN"], "not known")
	case has("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
		return "EKS Pod Identity"
	case has("AWS_SHARED_CREDENTIALS_FILE"):
		return "a file with keys"
	case e["AWS_EC2_METADATA_DISABLED"] == "true" && s.Settings.WebIdentity:
		return "none of its own: the web identities of ServiceAccounts"
	case s.Environment.Err != nil:
		return ""
	case s.HostNetwork:
		return "the instance profile of its node"
	default:
		return "what the AWS SDK finds, such as an instance profile"
	}
}

// lastIssued returns the Secret that was issued last.
func (s *InstallationSnapshot) lastIssued() (u *usage.Usage, at time.Time, ok bool) {
	for _, next := range s.Usages.Value {
		if next.Issued != nil && (!ok || next.Issued.After(at)) {
			u, at, ok = next, next.Issued.Time, true
		}
	}
	return u, at, ok
}

func (s *InstallationSnapshot) region() Check {
	e := s.Environment
	region := cmp.Or(e.Value["AWS_REGION"], e.Value["AWS_DEFAULT_REGION"])
	switch d := s.Deployment.Value; {
	case d == nil:
		return unknown(checkRegion, "the controller's Deployment is not known")
	case region != "":
		return passed(checkRegion, "%s", region)
	case e.Err != nil:
		return unknown(checkRegion, "%v", e.Err)
	case s.HostNetwork:
		return passed(checkRegion, "that of the node, by the instance metadata")
	default:
		return failed(checkRegion, fmt.Sprintf("kubectl set env deployment --namespace %s %s AWS_REGION=<region>", d.Namespace, d.Name), "AWS_REGION is not set")
	}
}

// credentials is the check of the Secrets of all namespaces: whether they are renewed.
func (s *InstallationSnapshot) credentials() Check {
	if s.Usages.Err != nil {
		return unknown(checkCredentials, "%v", s.Usages.Err)
	}
	states := map[string]int{}
	for _, u := range s.Usages.Value {
		states[u.State]++
	}
	var parts []string
	for _, state := range []string{usage.Ready, usage.Late, usage.Expired, usage.Waiting, usage.Invalid, usage.NotManaged, usage.Unused, usage.Unknown} {
		if n := states[state]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+state)
		}
	}
	message := cmp.Or(strings.Join(parts, ", "), "no role is in use")
	if u, at, ok := s.lastIssued(); ok {
		message += fmt.Sprintf("; issued last: %s/%s, %s", u.Namespace, u.Secret, ago(at, s.Now))
	}
	if states[usage.Late]+states[usage.Expired] > 0 {
		return failed(checkCredentials, fmt.Sprintf("kubectl aws-iam list --all-namespaces --expiring %.0fm", s.soonest().Minutes()), "%s", message)
	}
	return passed(checkCredentials, "%s", message)
}

// soonest returns a time in which all credentials expire that are late.
func (s *InstallationSnapshot) soonest() time.Duration {
	left := time.Minute
	for _, u := range s.Usages.Value {
		if u.State == usage.Late {
			left = max(left, u.Expires.Sub(s.Now)+time.Minute)
		}
	}
	return left.Round(time.Minute)
}

// metadata is the check that pods do not reach the metadata service of their node.
func (s *InstallationSnapshot) metadata() Check {
	switch {
	case s.Metadata == nil:
		return unknown(checkMetadata, "only a pod can find out whether pods reach the metadata service, and so the node's role: --metadata-image starts one")
	case s.Metadata.Err != nil:
		return unknown(checkMetadata, "%v", s.Metadata.Err)
	case s.Metadata.Value:
		return failed(checkMetadata, "aws ec2 modify-instance-metadata-options --http-tokens required --http-put-response-hop-limit 1 --instance-id <instance>",
			"a pod reaches the metadata service: pods can have the node's role")
	default:
		return passed(checkMetadata, "a pod does not reach the metadata service")
	}
}
