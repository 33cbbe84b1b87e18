// Package demand reads from a Kubernetes object which roles it wants and by which Secrets, and what in it will not work. It is pure:
// it neither asks nor tells anybody.
package demand

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// SecretPrefix begins the name of every Secret by which a pod asks for a role: what follows is the role's name.
const SecretPrefix = "aws-iam-"

// source is the kind of object that asks.
type source int

const (
	pod source = iota
	awsIAMRole
)

// Demand is one object's wish for one Secret with the credentials of one role.
type Demand struct {
	// Secret is the name of the Secret, in the namespace of the object that asks.
	Secret string
	// Role is the role's name or ARN as it was asked for.
	Role string
	// Duration is how long a session is wanted; 0 leaves it to the controller.
	Duration time.Duration
	// Findings are what in the object will not work as its author expects although the Secret
	// exists: maxFindings at most, each once.
	Findings []Finding

	source source
	// invalid is why the object as a whole is refused, or empty.
	invalid string
}

// Finding is a mistake that only its author can mend, as the Warning event that tells of it.
type Finding struct {
	// Reason is the event's reason: NeverRefreshed, OptionalSecret, MountPathMismatch or
	// InvalidRole.
	Reason string
	// Note says what is wrong, in which container, and what to do.
	Note string
}

// maxFindings is how many Findings one Demand has.
const maxFindings = 8

// warn adds a Finding, if it is not there yet and there is room.
func (d *Demand) warn(reason, note string) {
	f := Finding{reason, note}
	if len(d.Findings) < maxFindings && !slices.Contains(d.Findings, f) {
		d.Findings = append(d.Findings, f)
	}
}

// The reasons of a Finding.
const (
	NeverRefreshed    = "NeverRefreshed"
	OptionalSecret    = "OptionalSecret"
	MountPathMismatch = "MountPathMismatch"
	// TooManySecrets is the reason of an event that says that a request is refused.
	TooManySecrets = "InvalidRole"
)

// maxSecretName is the longest name that a Secret can have, in bytes. Source: "Object Names and
// IDs" in the Kubernetes documentation. What is cut to it ends in an ellipsis, and is no name.
const maxSecretName = validation.DNS1123SubdomainMaxLength

// Check tells why a Secret of this name can never be had, or nil. A pod may name a Secret that no API server would accept: it then
// waits without end. Source for what a Secret may be called: "Object Names and IDs" in the Kubernetes documentation.
func (d Demand) Check() error {
	if d.invalid != "" {
		return errors.New(d.invalid)
	}
	if d.source == awsIAMRole && d.Role == "" {
		return errors.New("spec.roleReference is missing: name the role, or give its ARN")
	}
	if d.Role == "" {
		return fmt.Errorf("secret name %s names no role: write %s<role>", quote(d.Secret), SecretPrefix)
	}
	if problems := validation.IsDNS1123Subdomain(d.Secret); len(problems) > 0 {
		return fmt.Errorf("no Secret can be called %s (%s): a role whose name has upper-case letters, a path or one of _+=,@ "+
			"needs an AWSIAMRole resource, whose name the pod then mounts", quote(d.Secret), strings.Join(problems, "; "))
	}
	return nil
}
