// Package settings reads the flags of the controller from its Deployment, as far as they matter for
// what the plugin says. It is pure: it does no I/O.
package settings

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/role"
)

// Name is the name of the controller: of its container, its Lease and its events.
const Name = "kube-aws-iam-controller"

// Selector selects the controller's Deployment and its pods.
const Selector = "application=" + Name

// Settings are the controller's flags. See docs/reference/flags.md.
type Settings struct {
	// Base is zero if --base-role-arn is not given.
	Base       role.Base
	Modes      []string
	Namespaces []string
	MountPath  string
	// Seed is the zero value without --seed-secret.
	Seed          types.NamespacedName
	WebIdentity   bool
	RolesAnywhere bool
	DryRun        bool
	LeaderElect   bool
	ClusterName   string
	RefreshLimit  time.Duration
	// AssumeRole and AnywhereRole are the roles as which the controller calls STS, if flags say so.
	AssumeRole, AnywhereRole string
	// ExternalID is the template of --external-id. With ExternalIDFile, roles can have another one.
	ExternalID, ExternalIDFile string
	SessionTags                []string
	// Audiences are those of web identity tokens; the first one is the default.
	Audiences []string
}

// flags are the flags, with the controller's defaults.
type flags struct {
	*pflag.FlagSet

	base, seed, account, anchor string
}

func (s *Settings) flags() *flags {
	f := &flags{FlagSet: pflag.NewFlagSet(Name, pflag.ContinueOnError)}
	f.ParseErrorsAllowlist.UnknownFlags = true
	f.StringVar(&f.base, "base-role-arn", "", "")
	f.StringVar(&f.seed, "seed-secret", "", "")
	f.StringVar(&f.account, "service-account-identity", "role", "")
	f.StringVar(&f.anchor, "roles-anywhere-trust-anchor-arn", "", "")
	f.StringSliceVar(&s.Modes, "authorization-mode", []string{authorization.ModeRBAC}, "")
	f.StringSliceVar(&s.Namespaces, "namespace", nil, "")
	f.StringVar(&s.MountPath, "mount-path", "/meta/aws-iam", "")
	f.StringVar(&s.ClusterName, "cluster-name", "kubernetes", "")
	f.DurationVar(&s.RefreshLimit, "refresh-limit", 30*time.Minute, "")
	f.StringVar(&s.AssumeRole, "assume-role", "", "")
	f.StringVar(&s.AnywhereRole, "roles-anywhere-role-arn", "", "")
	f.StringVar(&s.ExternalID, "external-id", "", "")
	f.StringVar(&s.ExternalIDFile, "external-id-file", "", "")
	f.StringSliceVar(&s.SessionTags, "session-tags", nil, "")
	f.StringSliceVar(&s.Audiences, "web-identity-audience", []string{"sts.amazonaws.com"}, "")
	f.BoolVar(&s.DryRun, "dry-run-authorization", false, "")
	f.BoolVar(&s.LeaderElect, "leader-elect", false, "")
	return f
}

// Default returns the settings of a controller without flags.
func Default() Settings {
	s, _ := Parse(nil) // there is nothing to be wrong
	return s
}

// Parse reads a command line. The error says which flag the controller does not accept either.
func Parse(args []string) (Settings, error) {
	var s Settings
	f := s.flags()
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.base != "" {
		base, err := role.ParseBase(f.base)
		if err != nil {
			return s, fmt.Errorf("--base-role-arn: %w", err)
		}
		s.Base = base
	}
	if namespace, name, ok := strings.Cut(f.seed, "/"); ok {
		s.Seed = types.NamespacedName{Namespace: namespace, Name: name}
	}
	s.WebIdentity, s.RolesAnywhere = f.account == "web-identity", f.anchor != ""
	return s, nil
}

// Of returns the settings of the controller that a Deployment runs.
func Of(d *appsv1.Deployment) (Settings, error) {
	c := Container(&d.Spec.Template.Spec)
	if c == nil {
		return Default(), fmt.Errorf("deployment %s/%s has no container", d.Namespace, d.Name)
	}
	args := append(slices.Clone(c.Command), c.Args...)
	for i := range args {
		args[i] = expand(args[i], c, d.Namespace)
	}
	return Parse(args)
}

// expand replaces the references to variables in an argument, as far as the Deployment has their
// values: $(NAME). Source: "Define a Command and Arguments for a Container" in the Kubernetes
// documentation.
func expand(arg string, c *corev1.Container, namespace string) string {
	for _, v := range c.Env {
		value := v.Value
		if from := v.ValueFrom; from != nil && from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.namespace" {
			value = namespace
		}
		arg = strings.ReplaceAll(arg, "$("+v.Name+")", value)
	}
	return arg
}

// Container returns the controller's container, or nil if there is none at all.
func Container(pod *corev1.PodSpec) *corev1.Container {
	for i := range pod.Containers {
		if pod.Containers[i].Name == Name {
			return &pod.Containers[i]
		}
	}
	if len(pod.Containers) > 0 {
		return &pod.Containers[0]
	}
	return nil
}

// Serves reports whether the controller serves a namespace.
func (s *Settings) Serves(namespace string) bool {
	return len(s.Namespaces) == 0 || slices.Contains(s.Namespaces, namespace)
}

// LeaseName returns the name of the Lease that the active replica holds: of an instance for some
// namespaces it ends in a hash of them.
func (s *Settings) LeaseName() string {
	if len(s.Namespaces) == 0 {
		return Name
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(s.Namespaces)))
	sum := sha256.Sum256([]byte(strings.Join(distinct, ",")))
	return Name + "-" + hex.EncodeToString(sum[:4])
}
