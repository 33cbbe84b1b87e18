package secret

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/pkg/role"
	"kube-aws-iam-controller/pkg/secret/keys"
)

// The keys of a reduced Secret's StringData: facts about the data that it had. Those without a
// value hold if the key exists.
const (
	factAccessKeyID = "access-key-id"
	// factComplete: the data is exactly what Render writes for these credentials and the mount path
	// that is its value.
	factComplete = "complete"
	// factConsistent: see isConsistent.
	factConsistent = "consistent"
	// factKeys: the data had these credentials as keys of their own. factNoKeys: it had none of
	// these keys.
	factKeys   = "keys"
	factNoKeys = "no keys"
	// factTruncated: see IsTruncated.
	factTruncated = "truncated"
)

// The limits of what a reduced Secret keeps of its labels, annotations, and owners with finalizers,
// in bytes. They leave room for those of an AWSIAMRole and some of other writers.
const (
	maxLabels      = 8 << 10
	maxAnnotations = 4<<10 + MaxAnnotations
	maxOwners      = 4 << 10
)

// Reduce removes the credentials from a Secret, so that caches hold none, and limits its size to a
// constant, whatever other writers added. Of the data, expire, role-arn and the endpoint's token
// stay, which is of use in a pod only; facts about the rest go to StringData, which the API server
// never returns. Reduce is idempotent. A reduced Secret must never be written.
func Reduce(s *corev1.Secret, f Files) {
	if s.StringData != nil {
		return // already reduced
	}
	facts, expire := map[string]string{}, limited(s.Data[keys.Expire])
	token := s.Data[keys.EndpointToken]
	c, err := Read(s)
	addKeyFacts(facts, s.Data, c)
	if err == nil && len(c.AccessKeyID) <= maxValue {
		facts[factAccessKeyID] = c.AccessKeyID
		expire = []byte(timestamp(c.Expires))
		if isConsistent(s.Data, c) {
			facts[factConsistent] = ""
		}
		if at := f.At(mountPathOf(s.Data, f)); isComplete(s.Data, at, c) {
			facts[factComplete] = at.MountPath
		}
	}
	if reduceMeta(&s.ObjectMeta, f) {
		facts[factTruncated] = ""
	}
	s.Data = map[string][]byte{keys.Expire: expire, keys.RoleARN: limited([]byte(roleOf(s)))}
	if isEndpointToken(token) {
		s.Data[keys.EndpointToken] = bytes.Clone(token)
	}
	s.StringData = facts
}

// mountPathOf returns the mount path in credentials.process, or an empty string if it is the
// default of f, or none.
func mountPathOf(data map[string][]byte, f Files) string {
	dir, ok := bytes.CutPrefix(data[keys.CredentialsProcess], []byte(processStart))
	dir, isWhole := bytes.CutSuffix(dir, []byte(processEnd))
	if !ok || !isWhole || string(dir) == f.MountPath || request.CheckMountPath(string(dir)) != nil {
		return ""
	}
	return string(dir)
}

// isComplete reports whether the data is exactly what Render writes, but for the keys on request.
func isComplete(data map[string][]byte, f Files, c credentials.Credentials) bool {
	arn, err := role.ParseARN(string(data[keys.RoleARN]))
	return err == nil && isEndpointToken(data[keys.EndpointToken]) && includes(data, f.data(arn, c), bytes.Equal)
}

// addKeyFacts adds the facts about the keys that Secrets have on request. c is zero if the data has
// no credentials.
func addKeyFacts(facts map[string]string, data map[string][]byte, c credentials.Credentials) {
	if c.AccessKeyID != "" && includes(data, singleKeys(c), bytes.Equal) {
		facts[factKeys] = ""
	}
	if !slices.ContainsFunc(keys.OnRequest(), func(key string) bool { _, ok := data[key]; return ok }) {
		facts[factNoKeys] = ""
	}
}

// maxValue limits a single value in a reduced Secret, in bytes. The longest value that the
// controller writes is a role ARN.
const maxValue = 1024

// limited returns a copy of a value, so that the original can be freed, or nil if the value exceeds
// maxValue.
func limited(value []byte) []byte {
	if len(value) > maxValue {
		return nil
	}
	return bytes.Clone(value)
}

// reduceMeta drops managed fields, and what other writers added to labels, annotations, owners and
// finalizers if it exceeds the limits. It reports whether it dropped any of the latter: writing the
// Secret would then erase them.
func reduceMeta(m *metav1.ObjectMeta, f Files) (truncated bool) {
	m.ManagedFields = nil
	if size(m.Labels) > maxLabels {
		m.Labels, truncated = only(m.Labels, OwnerLabel, TypeLabel), true
	}
	if size(m.Annotations) > maxAnnotations {
		m.Annotations, truncated = only(m.Annotations, slices.AppendSeq(slices.Clone(ownAnnotations), maps.Keys(f.Annotations))...), true
	}
	if ownersSize(m) > maxOwners {
		m.OwnerReferences, m.Finalizers, truncated = relevantOwners(m), nil, true
	}
	return truncated
}

// size returns the size of labels or annotations, in bytes.
func size(texts map[string]string) (n int) {
	for key, value := range texts {
		n += len(key) + len(value)
	}
	return n
}

// ownersSize returns the size of the owner references and finalizers of a Secret, in bytes.
func ownersSize(m *metav1.ObjectMeta) (n int) {
	for _, o := range m.OwnerReferences {
		n += len(o.APIVersion) + len(o.Kind) + len(o.Name) + len(o.UID)
	}
	for _, finalizer := range m.Finalizers {
		n += len(finalizer)
	}
	return n
}

// relevantOwners returns the controlling owner of a Secret, and the first AWSIAMRole that owns it,
// with only the fields that this package compares.
func relevantOwners(m *metav1.ObjectMeta) (owners []metav1.OwnerReference) {
	if controller := metav1.GetControllerOf(m); controller != nil {
		owners = append(owners, metav1.OwnerReference{Kind: "other", Controller: controller.Controller})
	}
	if i := slices.IndexFunc(m.OwnerReferences, isAWSIAMRole); i >= 0 && len(m.OwnerReferences[i].UID) <= maxValue {
		owners = append(owners, metav1.OwnerReference{Kind: ownerKind, UID: m.OwnerReferences[i].UID})
	}
	return owners
}

// only returns the named labels or annotations, without values that exceed maxValue.
func only(texts map[string]string, names ...string) map[string]string {
	kept := map[string]string{}
	for _, name := range names {
		if value, ok := texts[name]; ok && len(value) <= maxValue {
			kept[name] = strings.Clone(value)
		}
	}
	return kept
}

// IsTruncated reports whether a reduced Secret lacks labels, annotations, owners or finalizers that
// it has in the API server.
func IsTruncated(s *corev1.Secret) bool { return hasFact(s, factTruncated) }

// hasFact reports whether a fact without a value holds for a reduced Secret.
func hasFact(s *corev1.Secret, fact string) bool {
	_, ok := s.StringData[fact]
	return ok
}

// roleOf returns the role ARN in a Secret: of the key role-arn, or of container.json or the
// annotation if the key is missing.
func roleOf(s *corev1.Secret) string {
	if arn, ok := s.Data[keys.RoleARN]; ok {
		return string(arn)
	}
	var container containerCredentials
	if err := json.Unmarshal(s.Data[keys.ContainerJSON], &container); err == nil && container.RoleArn != "" {
		return container.RoleArn
	}
	return s.Annotations[RoleARNAnnotation]
}

// isConsistent reports whether all files in a Secret that contain credentials contain these, with
// the correct expiration. Files can be missing.
func isConsistent(data map[string][]byte, c credentials.Credentials) bool {
	expiration := timestamp(c.UsableUntil())
	var process processCredentials
	if err := json.Unmarshal(data[keys.CredentialsJSON], &process); err != nil || process.Expiration != expiration {
		return false
	}
	if file, ok := data[keys.ContainerJSON]; ok {
		var container containerCredentials
		if err := json.Unmarshal(file, &container); err != nil ||
			container.AccessKeyId != c.AccessKeyID || container.SecretAccessKey != c.SecretAccessKey.Reveal() ||
			container.Token != c.SessionToken.Reveal() || container.Expiration != expiration {
			return false
		}
	}
	file, ok := data[keys.Credentials]
	return !ok || bytes.Equal(file, credentialsFile(c))
}

// ReadReduced returns what a reduced Secret keeps of its credentials: the access key ID and the
// times of issue and expiry. It returns the zero value if Reduce could not read any.
func ReadReduced(s *corev1.Secret) credentials.Credentials {
	id := s.StringData[factAccessKeyID]
	issued, expires, err := ReadLifetime(s)
	if id == "" || err != nil {
		return credentials.Credentials{}
	}
	return credentials.Credentials{AccessKeyID: id, Issued: issued, Expires: expires}
}
