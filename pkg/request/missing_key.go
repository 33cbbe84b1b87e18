package request

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"kube-aws-iam-controller/pkg/secret/keys"
)

// warnAboutKeys adds warnings about keys that volumes and variables take from Secrets that do not
// have them: the kubelet does not start such a pod or container.
func (c *collector) warnAboutKeys(pod *corev1.Pod) {
	for i := range pod.Spec.Volumes {
		for p := range projections(&pod.Spec.Volumes[i]) {
			effect := "so the pod does not start"
			if p.optional {
				effect = "so the file is missing"
			}
			for j := range p.items {
				c.checkKey(p.secret, p.items[j].Key, func() string {
					return fmt.Sprintf("volume %s takes a key that Secret %s does not have, %s", quoted(p.volume), quoted(p.secret), effect)
				})
			}
		}
	}
	for container := range containers(pod) {
		for i := range container.Env {
			from := container.Env[i].ValueFrom
			if from == nil || from.SecretKeyRef == nil {
				continue
			}
			ref, effect := from.SecretKeyRef, "so the container does not start"
			if ptr.Deref(ref.Optional, false) {
				effect = "so the variable is not set"
			}
			c.checkKey(ref.Name, ref.Key, func() string {
				return fmt.Sprintf("container %s takes a key that Secret %s does not have into variable %s, %s",
					quoted(container.Name), quoted(ref.Name), quoted(container.Env[i].Name), effect)
			})
		}
	}
}

// checkKey adds a warning that begins with problem if a Secret that the pod asks for has no key of
// this name. An empty key, which the API server rejects, is ignored.
func (c *collector) checkKey(secret, key string, problem func() string) {
	r := c.bySecret[secret]
	if r == nil || key == "" || len(r.warnings) == maxWarnings || slices.Contains(keys.Always(), key) {
		return
	}
	r.addWarning(Warning{
		Reason: MissingKey,
		Note: fmt.Sprintf("%s: %s. It has the keys %s; with the annotation %s: \"true\" on %s, also %s", problem(), quoted(key),
			strings.Join(keys.Always(), ", "), KeysAnnotation, r.annotated(), strings.Join(keys.OnRequest(), ", ")),
		unlessKeys: slices.Contains(keys.OnRequest(), key),
	})
}
