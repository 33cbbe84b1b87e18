// Package secret turns credentials into the Kubernetes Secret that pods mount, and reads back what such a Secret holds. It is pure.
package secret

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/demand"
	"kube-aws-iam-controller/pkg/role"
)

// The label by which a Secret is the controller's own. Without it, a Secret is never touched.
const (
	OwnerLabel = "heritage"
	OwnerValue = "kube-aws-iam-controller"
)

// The label of a Secret that belongs to an AWSIAMRole.
const (
	TypeLabel      = "type"
	TypeAWSIAMRole = "awsiamrole"
)

// Annotations of a Secret: facts about its credentials that are no secrets.
const (
	RoleARNAnnotation     = "iam.amazonaws.com/role-arn"
	AccessKeyIDAnnotation = "iam.amazonaws.com/access-key-id"
	SessionNameAnnotation = "iam.amazonaws.com/session-name"
	// SessionDurationAnnotation is how long a session was asked for, in seconds: if another is wanted, the credentials are issued anew.
	SessionDurationAnnotation = "iam.amazonaws.com/session-duration"
	// IssuedAtAnnotation is when the credentials were issued, RFC 3339 in UTC: with the key expire it tells how much of their life is over.
	IssuedAtAnnotation = "iam.amazonaws.com/issued-at"
	// SelfAnnotation is the Secret's own namespace and name, as <namespace>/<name>: another's
	// shows a copy.
	SelfAnnotation = "iam.amazonaws.com/secret"
)

// ownAnnotations are all that the controller writes.
var ownAnnotations = []string{
	RoleARNAnnotation, AccessKeyIDAnnotation, SessionNameAnnotation, SessionDurationAnnotation, IssuedAtAnnotation, SelfAnnotation,
}

// The keys of a Secret's data.
const (
	ExpireKey    = "expire"
	RoleARNKey   = "role-arn"
	StaticKey    = "credentials"
	ProcessKey   = demand.ProcessFile
	JSONKey      = demand.JSONFile
	ConfigKey    = "config"
	ContainerKey = "container.json"
)

// Target is what a Secret is to be for.
type Target struct {
	Name    types.NamespacedName
	Session credentials.Session
	Files
	// Owner is the AWSIAMRole that the Secret is for, and Labels are its own; nil if it is for pods.
	Owner  *metav1.OwnerReference
	Labels map[string]string
}

// Files is what the files of all Secrets have in common.
type Files struct {
	// MountPath is the absolute path at which pods mount the Secret.
	MountPath string
	// Region goes into the AWS config file, if it is set.
	Region string
}

// labels are those of the owner, which can never take the place of the controller's own.
func (t Target) labels() map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, t.Labels)
	if t.Owner != nil {
		labels[TypeLabel] = TypeAWSIAMRole
	}
	labels[OwnerLabel] = OwnerValue
	return labels
}

func (t Target) owners() []metav1.OwnerReference {
	if t.Owner == nil {
		return nil
	}
	return []metav1.OwnerReference{*t.Owner}
}

// processCredentials is what a credential_process prints. Source: "Sourcing credentials with an external process" in the AWS SDKs
// and Tools Reference Guide.
type processCredentials struct {
	Version         int
	AccessKeyId     string //nolint:revive // AWS's name
	SecretAccessKey string
	SessionToken    string
	Expiration      string
	AccountId       string //nolint:revive // AWS's name
}

// containerCredentials is what a container credentials endpoint answers. Source: "Container credential provider" in the AWS SDKs and Tools
// Reference Guide.
type containerCredentials struct {
	AccessKeyId     string //nolint:revive // AWS's name
	SecretAccessKey string
	Token           string
	Expiration      string
	AccountId       string //nolint:revive // AWS's name
	RoleArn         string //nolint:revive // AWS's name
}

// Render makes the Secret of a target from credentials of its role.
func Render(t Target, c credentials.Credentials) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: t.meta(c), Type: corev1.SecretTypeOpaque, Data: t.data(t.Session.Role, c)}
}

// meta is all of the Secret but what it holds.
func (t Target) meta(c credentials.Credentials) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: t.Name.Namespace,
		Name:      t.Name.Name,
		Labels:    t.labels(),
		Annotations: map[string]string{
			RoleARNAnnotation:         t.Session.Role.String(),
			AccessKeyIDAnnotation:     c.AccessKeyID,
			SessionNameAnnotation:     t.Session.Name,
			SessionDurationAnnotation: strconv.Itoa(int(t.Session.Duration.Seconds())),
			IssuedAtAnnotation:        timestamp(c.Issued),
			SelfAnnotation:            t.Name.String(),
		},
		OwnerReferences: t.owners(),
	}
}

// data are the files for credentials of a role.
func (f Files) data(of role.ARN, c credentials.Credentials) map[string][]byte {
	arn, account, expiration := of.String(), of.Account(), timestamp(c.UsableUntil())
	return map[string][]byte{
		ExpireKey:  []byte(timestamp(c.Expires)),
		RoleARNKey: []byte(arn),
		StaticKey:  static(c),
		ProcessKey: []byte("[default]\n" + f.processLine()),
		JSONKey: encode(processCredentials{
			Version: 1, AccessKeyId: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey.Reveal(), SessionToken: c.SessionToken.Reveal(),
			Expiration: expiration, AccountId: account,
		}),
		ConfigKey: f.config(),
		ContainerKey: encode(containerCredentials{
			AccessKeyId: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey.Reveal(), Token: c.SessionToken.Reveal(),
			Expiration: expiration, AccountId: account, RoleArn: arn,
		}),
	}
}

// encode is a value of strings and numbers as JSON on one line, which never fails.
func encode(v any) []byte {
	text, _ := json.Marshal(v) //nolint:errchkjson // strings and numbers only
	return text
}

// static is a shared credentials file with the keys themselves, for tools that cannot run a credential_process.
func static(c credentials.Credentials) []byte {
	return fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\naws_expiration = %s\n",
		c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal(), timestamp(c.UsableUntil()))
}

// config is an AWS config file, for SDKs that look for credential_process there only.
func (f Files) config() []byte {
	text := "[default]\n"
	if f.Region != "" {
		text += "region = " + f.Region + "\n"
	}
	return []byte(text + "sts_regional_endpoints = regional\n" + f.processLine())
}

func (f Files) processLine() string {
	return "credential_process = cat " + f.MountPath + "/" + JSONKey + "\n"
}

// timestamp is the one form that every AWS SDK reads: UTC, whole seconds, Z.
func timestamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }
