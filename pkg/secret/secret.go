// Package secret renders credentials as the Kubernetes Secret that pods mount, and reads such
// Secrets back. It is pure: it does no I/O.
package secret

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret/keys"
)

// The label of the Secrets that the controller manages. It never touches a Secret without the
// label.
const (
	OwnerLabel = "heritage"
	OwnerValue = "kube-aws-iam-controller"
)

// The label of a Secret that belongs to an AWSIAMRole.
const (
	TypeLabel      = "type"
	TypeAWSIAMRole = "awsiamrole"
)

// The annotations of a Secret. None of them is confidential.
const (
	RoleARNAnnotation     = "iam.amazonaws.com/role-arn"
	AccessKeyIDAnnotation = "iam.amazonaws.com/access-key-id"
	SessionNameAnnotation = "iam.amazonaws.com/session-name"
	// SessionDurationAnnotation is the requested session duration, in seconds. The credentials are
	// issued again if it differs from the current request.
	SessionDurationAnnotation = "iam.amazonaws.com/session-duration"
	// IssuedAtAnnotation is the time at which the credentials were issued: RFC 3339 in UTC. With
	// the key expire it gives their lifetime.
	IssuedAtAnnotation = "iam.amazonaws.com/issued-at"
	// SelfAnnotation is the Secret's own namespace and name, as <namespace>/<name>. In a copy of
	// the Secret it names the original.
	SelfAnnotation = "iam.amazonaws.com/secret"
	// ServiceAccountUIDAnnotation is the UID of the ServiceAccount whose session it is.
	ServiceAccountUIDAnnotation = "iam.amazonaws.com/service-account-uid"
)

// Target is the desired state of a Secret, without its credentials.
type Target struct {
	Name    types.NamespacedName
	Session credentials.Session
	Files
	// Owner is the AWSIAMRole that the Secret belongs to, or nil if it is for pods.
	Owner *metav1.OwnerReference
	// ServiceAccountUID is the UID of the ServiceAccount whose Secret it is; empty for others. One
	// that is deleted and created again gets a session of its own.
	ServiceAccountUID types.UID
	// Labels are those of the AWSIAMRole, which the Secret gets too, but for those by which other
	// tools delete objects.
	Labels map[string]string
	// Keys adds the three credentials as keys of their own.
	Keys bool
}

// Files are the settings that all Secrets share.
type Files struct {
	// MountPath is the absolute path at which pods mount the Secret.
	MountPath string
	// Region goes into the AWS config file, if it is set.
	Region string
	// OmitAccountID leaves AccountId out of the files, so that SDKs do not derive endpoints from
	// it.
	OmitAccountID bool
	// Annotations are added to those of the controller. See CheckAnnotations.
	Annotations map[string]string
}

// At returns the settings with another mount path, unless it is empty.
func (f Files) At(mountPath string) Files {
	f.MountPath = cmp.Or(mountPath, f.MountPath)
	return f
}

func (t Target) owners() []metav1.OwnerReference {
	if t.Owner == nil {
		return nil
	}
	return []metav1.OwnerReference{*t.Owner}
}

// processCredentials is the output of a credential_process. Source: "Sourcing credentials with an
// external process" in the AWS SDKs and Tools Reference Guide.
type processCredentials struct {
	Version         int
	AccessKeyId     string //nolint:revive // AWS's name
	SecretAccessKey string
	SessionToken    string
	Expiration      string
	AccountId       string `json:",omitempty"` //nolint:revive // AWS's name
}

// containerCredentials is the response of a container credentials endpoint. Source: "Container
// credential provider" in the AWS SDKs and Tools Reference Guide.
type containerCredentials struct {
	AccessKeyId     string //nolint:revive // AWS's name
	SecretAccessKey string
	Token           string
	Expiration      string
	AccountId       string `json:",omitempty"` //nolint:revive // AWS's name
	RoleArn         string
}

// Render returns the Secret of a target with credentials of its role. replaced is the Secret that
// it replaces, or nil: it keeps the endpoint token of that, so that a caller that read it earlier
// is still accepted.
func Render(t Target, c credentials.Credentials, replaced *corev1.Secret) *corev1.Secret {
	data := t.data(t.Session.Role, c)
	data[keys.EndpointToken] = endpointToken(replaced)
	if t.Keys {
		maps.Copy(data, singleKeys(c))
	}
	return &corev1.Secret{ObjectMeta: t.meta(c), Type: corev1.SecretTypeOpaque, Data: data}
}

// meta returns the Secret's metadata.
func (t Target) meta(c credentials.Credentials) metav1.ObjectMeta {
	annotations := t.sharedAnnotations()
	maps.Copy(annotations, map[string]string{
		RoleARNAnnotation:         t.Session.Role.String(),
		AccessKeyIDAnnotation:     c.AccessKeyID,
		SessionNameAnnotation:     t.Session.Name,
		SessionDurationAnnotation: strconv.Itoa(int(t.Session.Duration.Seconds())),
		IssuedAtAnnotation:        timestamp(c.Issued),
		SelfAnnotation:            t.Name.String(),
	})
	if t.ServiceAccountUID != "" {
		annotations[ServiceAccountUIDAnnotation] = string(t.ServiceAccountUID)
	}
	return metav1.ObjectMeta{
		Namespace: t.Name.Namespace, Name: t.Name.Name, Labels: t.labels(), Annotations: annotations, OwnerReferences: t.owners(),
	}
}

// data returns what the Secrets of all targets have for credentials of a role, but for the endpoint
// token.
func (f Files) data(r role.ARN, c credentials.Credentials) map[string][]byte {
	arn, account, expiration := r.String(), r.Account(), timestamp(c.UsableUntil())
	if f.OmitAccountID {
		account = ""
	}
	return map[string][]byte{
		keys.Expire:             []byte(timestamp(c.Expires)),
		keys.RoleARN:            []byte(arn),
		keys.Credentials:        credentialsFile(c),
		keys.CredentialsProcess: []byte(processStart + f.MountPath + processEnd),
		keys.CredentialsJSON: encode(processCredentials{
			Version: 1, AccessKeyId: c.AccessKeyID,
			SecretAccessKey: c.SecretAccessKey.Reveal(), SessionToken: c.SessionToken.Reveal(),
			Expiration: expiration, AccountId: account,
		}),
		keys.Config: f.config(),
		keys.ContainerJSON: encode(containerCredentials{
			AccessKeyId: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey.Reveal(), Token: c.SessionToken.Reveal(),
			Expiration: expiration, AccountId: account, RoleArn: arn,
		}),
	}
}

// singleKeys returns the three credentials as keys of their own.
func singleKeys(c credentials.Credentials) map[string][]byte {
	return map[string][]byte{
		keys.AccessKeyID:     []byte(c.AccessKeyID),
		keys.SecretAccessKey: []byte(c.SecretAccessKey.Reveal()),
		keys.SessionToken:    []byte(c.SessionToken.Reveal()),
	}
}

// encode returns a struct of strings and numbers as JSON on one line. This cannot fail.
func encode(v any) []byte {
	text, _ := json.Marshal(v) //nolint:errchkjson // strings and numbers only
	return text
}

// credentialsFile returns a shared credentials file with the credentials themselves, for tools that
// cannot run a credential_process.
func credentialsFile(c credentials.Credentials) []byte {
	return fmt.Appendf(nil, "[default]\n"+
		"aws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\naws_expiration = %s\n",
		c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal(), timestamp(c.UsableUntil()))
}

// config returns an AWS config file, for SDKs that read credential_process only from there.
func (f Files) config() []byte {
	text := "[default]\n"
	if f.Region != "" {
		text += "region = " + f.Region + "\n"
	}
	return []byte(text + "sts_regional_endpoints = regional\n" + processLine + f.MountPath + processEnd)
}

// credentials.process is processStart, the mount path and processEnd.
const (
	processStart = "[default]\n" + processLine
	processLine  = "credential_process = cat "
	processEnd   = "/" + keys.CredentialsJSON + "\n"
)

// timestamp returns a time in the one format that all AWS SDKs read: UTC, whole seconds, suffix Z.
func timestamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }
