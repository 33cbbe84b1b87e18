// Package request reads which IAM roles a Pod, an AWSIAMRole or a ServiceAccount asks for, through
// which Secrets, and what in the object will not work. It is pure: it does no I/O.
package request

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// SecretPrefix begins the name of every Secret through which a pod asks for a role. The rest of the
// name is the role's.
const SecretPrefix = "aws-iam-"

// ServiceAccountPrefix begins the name of every Secret through which a pod asks for the role of its
// ServiceAccount. The rest of the name is the ServiceAccount's.
const ServiceAccountPrefix = "aws-iam."

// source is the kind of object that a Request comes from.
type source int

const (
	pod source = iota
	awsIAMRole
	serviceAccount
)

// Request is what one object asks for: one Secret with the credentials of one role.
type Request struct {
	// Secret is the name of the Secret, which is in the object's namespace.
	Secret string
	// Role is the role's name or ARN, as the object has it. It is empty if a pod asks for the
	// Secret of its ServiceAccount, whose annotations say which role that is.
	Role string
	// Duration is the session duration; 0 selects the controller's default.
	Duration time.Duration
	// Audience is the audience of the ServiceAccount's web identity tokens; if it is empty, the
	// controller's default is.
	Audience string
	// Keys adds the three credentials to the Secret as keys of their own.
	Keys bool
	// MountPath is the directory in which pods have the files of the Secret; if it is empty, the
	// controller's default is.
	MountPath string

	source source
	// warnings are the mistakes in a pod that can keep it from using the Secret: at most
	// maxWarnings, without duplicates. See WarningsFor.
	warnings []Warning
	// byAccount: see NotInjectedByServiceAccount.
	byAccount bool
	// atDefault is true if a container has the files in the controller's default mount path alone.
	atDefault bool
	// rejection is the reason of an event about invalid, if it is not InvalidRole.
	rejection string
	// invalid is why the request is rejected, or empty.
	invalid string
}

// FromSeed returns what the Secret of the controller's own credentials asks for: the role that it
// is named after or, if it has another name, the controller's own.
func FromSeed(secret, ownRole string) Request {
	named, ok := strings.CutPrefix(secret, SecretPrefix)
	if !ok {
		named = ownRole
	}
	return Request{Secret: secret, Role: named}
}

// Warning is a mistake that only the object's author can correct. It becomes a Warning event.
type Warning struct {
	// Reason is the event's reason, one of the constants of this package.
	Reason string
	// Note is the event's note: what is wrong, in which container, and what to do.
	Note string
	// unlessKeys is true if the Warning holds only while the Secret lacks the keys that
	// Request.Keys adds.
	unlessKeys bool
	// unlessAt are the mount paths of the Secret, separated by colons, with which a
	// MountPathMismatch does not hold.
	unlessAt string
}

// maxWarnings limits the Warnings of one Request.
const maxWarnings = 8

// warn adds a Warning unless the Request has the same one already, or maxWarnings of them. It
// formats the note only if there is room, as a pod can cause any number of warnings.
func (r *Request) warn(reason, format string, args ...any) {
	if len(r.warnings) == maxWarnings {
		return
	}
	r.addWarning(Warning{Reason: reason, Note: fmt.Sprintf(format, args...)})
}

// addWarning adds a Warning unless the Request has the same one already, or maxWarnings of them.
func (r *Request) addWarning(w Warning) {
	if len(r.warnings) < maxWarnings && !slices.Contains(r.warnings, w) {
		r.warnings = append(r.warnings, w)
	}
}

// The reasons of the events about a pod: of Warnings, and of Requests that Validate rejects.
const (
	NeverRefreshed    = "NeverRefreshed"
	OptionalSecret    = "OptionalSecret"
	MountPathMismatch = "MountPathMismatch"
	// MissingKey means that the pod takes a key from a Secret that the Secret does not have.
	MissingKey = "MissingKey"
	// FileNotReadable means that the user of a container cannot read the files.
	FileNotReadable = "FileNotReadable"
	// CredentialsOverridden means that variables of a container choose other credentials.
	CredentialsOverridden = "CredentialsOverridden"
	// AnnotationIgnored means that the pod has an annotation of kube2iam or kiam without effect.
	AnnotationIgnored = "AnnotationIgnored"
	// WindowsNotSupported means that the pod runs on Windows.
	WindowsNotSupported = "WindowsNotSupported"
	// NotInjected means that the pod should have a Secret by injection, and has not.
	NotInjected = "NotInjected"
	// InvalidRole is the reason of all other requests that are rejected.
	InvalidRole = "InvalidRole"
)

// maxSecretName is the length of the longest valid Secret name, in bytes. Source: "Object Names and
// IDs" in the Kubernetes documentation. A name that is cut to it ends in an ellipsis, which makes
// it invalid.
const maxSecretName = validation.DNS1123SubdomainMaxLength

// Validate returns an error if the request can never be served. A pod can name a Secret that no API
// server accepts, and would then wait forever. Source of what a valid name is: "Object Names and
// IDs" in the Kubernetes documentation.
func (r Request) Validate() error {
	if r.invalid != "" {
		return errors.New(r.invalid)
	}
	if r.source == awsIAMRole && r.Role == "" {
		return errors.New("spec.roleReference is missing: name the role, or give its ARN")
	}
	if r.source == pod && IsOfServiceAccount(r.Secret) {
		return r.validateServiceAccountSecret()
	}
	if r.Role == "" {
		return r.noRole()
	}
	if problems := validation.IsDNS1123Subdomain(r.Secret); len(problems) > 0 {
		return fmt.Errorf("no Secret can be called %s (%s): %s", quoted(r.Secret), strings.Join(problems, "; "), r.otherName())
	}
	return nil
}

// noRole returns the error of a Secret's name that stands for no role.
func (r Request) noRole() error {
	if strings.HasPrefix(r.Secret, EscapedPrefix) {
		return fmt.Errorf("secret name %s is no escaped role: write %s0<escaped>0, where a-z and 0-9 are as they are, -- is -, "+
			"-a to -z are A to Z, and -0 to -7 are ._+=,@/: in turn", quoted(r.Secret), EscapedPrefix)
	}
	return fmt.Errorf("secret name %s names no role: write %s<role>", quoted(r.Secret), SecretPrefix)
}

// otherName returns what to do if no Secret can have the name that a pod gives to the Secret of its
// role.
func (r Request) otherName() string {
	const advice = "annotate the pod's ServiceAccount with the role and mount " + ServiceAccountPrefix + "<serviceaccount>, " +
		"or mount the Secret of an AWSIAMRole"
	if secret, err := SecretFor(r.Role); err == nil {
		return fmt.Sprintf("%s, or Secret %s, whose name stands for this role", advice, quoted(secret))
	}
	return advice
}

// validateServiceAccountSecret is Validate of a pod's request for the Secret of its ServiceAccount.
func (r Request) validateServiceAccountSecret() error {
	if r.ServiceAccount() == "" {
		return fmt.Errorf("secret name %s names no ServiceAccount: write %s<serviceaccount>", quoted(r.Secret), ServiceAccountPrefix)
	}
	if problems := validation.IsDNS1123Subdomain(r.Secret); len(problems) > 0 {
		return fmt.Errorf("no Secret can be called %s (%s): write %s and the name of the pod's ServiceAccount",
			quoted(r.Secret), strings.Join(problems, "; "), ServiceAccountPrefix)
	}
	return nil
}
