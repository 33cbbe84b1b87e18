// Package seed makes the Secret from which the controller takes its first credentials, as
// scripts/bootstrap.sh does. Everything but Session is pure.
package seed

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret"
)

// defaultName is the name of the Secret of a role with a path, or with a name that no Secret can
// have.
const defaultName = "kube-aws-iam-controller-seed"

// Limits of the session duration. Source: the API reference of STS AssumeRole, DurationSeconds.
const (
	minDuration = 900 * time.Second
	maxDuration = 43200 * time.Second
)

// Target is which seed is made, and where.
type Target struct {
	Role            role.ARN
	Namespace, Name string
	Duration        time.Duration
}

// Complete sets the name of the Secret if there is none. The error says what is invalid.
func (t *Target) Complete() error {
	if t.Duration < minDuration || t.Duration > maxDuration {
		return fmt.Errorf("--duration=%.0f: STS allows sessions of 900 to 43200 seconds", t.Duration.Seconds())
	}
	byRole := request.SecretPrefix + t.Role.Name()
	if t.Name == "" {
		t.Name = byRole
		if t.HasPath() || len(validation.IsDNS1123Subdomain(byRole)) > 0 {
			t.Name = defaultName
		}
	}
	if problems := validation.IsDNS1123Subdomain(t.Name); len(problems) > 0 {
		return fmt.Errorf("no Secret can be named %q: use another --name, which must not begin with %s", t.Name, request.SecretPrefix)
	}
	if strings.HasPrefix(t.Name, request.SecretPrefix) && t.Name != byRole {
		return fmt.Errorf("a Secret %s... is for the role of that name, and %s is not for %s: use a --name without that prefix", request.SecretPrefix, t.Name, t.Role.Name())
	}
	return nil
}

// HasPath reports whether the role's ARN has a path.
func (t *Target) HasPath() bool { return !strings.HasSuffix(t.Role.String(), ":role/"+t.Role.Name()) }

// ownedKeys are the keys of a seed: those that are needed, and those that the controller writes.
var ownedKeys = []string{"credentials.json", "credentials.process", "expire", "role-arn", "credentials", "config", "container.json"}

// Check returns an error if a Secret does not look like a seed. It reads metadata only: which keys
// there are is known from the managed fields.
func (t *Target) Check(s *metav1.PartialObjectMetadata) error {
	var doubts []string
	keys := keysOf(s)
	for _, key := range keys {
		if !slices.Contains(ownedKeys, key) {
			doubts = append(doubts, "It has the key "+key+".")
		}
	}
	if !slices.Contains(keys, "credentials.json") {
		doubts = append(doubts, "It has no key credentials.json.")
	}
	for _, owner := range s.OwnerReferences {
		if owner.Kind != v1.Kind {
			doubts = append(doubts, owner.Kind+" owns it.")
		}
	}
	if label := s.Labels[secret.OwnerLabel]; label != "" && label != secret.OwnerValue {
		doubts = append(doubts, fmt.Sprintf("Its label says %s=%s.", secret.OwnerLabel, label))
	}
	if of := s.Annotations[secret.RoleARNAnnotation]; of != "" && of != t.Role.String() {
		doubts = append(doubts, fmt.Sprintf("It is of the role %q.", of))
	}
	if len(doubts) > 0 {
		return errors.New(strings.Join(doubts, " "))
	}
	return nil
}

// keysOf returns the sorted keys of a Secret's data, as its managed fields have them.
func keysOf(s *metav1.PartialObjectMetadata) (keys []string) {
	for _, fields := range s.ManagedFields {
		var managed struct {
			Data map[string]any `json:"f:data"`
		}
		if fields.FieldsV1 == nil || yaml.Unmarshal(fields.FieldsV1.GetRawBytes(), &managed) != nil {
			continue
		}
		for field := range managed.Data {
			if key, ok := strings.CutPrefix(field, "f:"); ok {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

var isKey = regexp.MustCompile(`^[A-Za-z0-9/+=_-]+$`)

// Data returns the data of the seed.
func (s *Session) Data() (map[string]string, error) {
	for _, key := range []string{s.accessKeyID, s.secretAccessKey, s.sessionToken} {
		if !isKey.MatchString(key) {
			return nil, errors.New("the answer of STS is not a session")
		}
	}
	expiration := s.Expiration.UTC().Format(time.RFC3339)
	process, err := json.Marshal(struct { //nolint:gosec // they are what the Secret is for
		Version                                                int
		AccessKeyId, SecretAccessKey, SessionToken, Expiration string //nolint:revive // the format's names
	}{1, s.accessKeyID, s.secretAccessKey, s.sessionToken, expiration})
	return map[string]string{
		"expire":              expiration,
		"credentials.process": "[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n",
		"credentials.json":    string(process),
	}, err
}

// Patch returns the strategic merge patch that makes an existing Secret the new seed, if it has not
// changed since. Labels stay, except that of an AWSIAMRole's Secret, and so do annotations, except
// those about the old credentials. Owners are removed: Kubernetes would delete the seed with them.
// The API server refuses the type if it is another one, and the data if the Secret is immutable.
func Patch(existing *metav1.PartialObjectMetadata, data map[string]string) map[string]any {
	return map[string]any{
		"metadata": map[string]any{
			"uid": existing.UID, "resourceVersion": existing.ResourceVersion, "ownerReferences": nil,
			"labels": map[string]any{"type": nil},
			"annotations": map[string]any{
				"iam.amazonaws.com/access-key-id": nil, "iam.amazonaws.com/session-name": nil,
				"iam.amazonaws.com/session-duration": nil, "iam.amazonaws.com/issued-at": nil,
			},
		},
		"type": "Opaque", "data": nil, "stringData": data,
	}
}
