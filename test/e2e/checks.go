package e2e

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
	"kube-aws-iam-controller/test/env"
)

// sidecarName is the name of the container that injection adds for delivery by endpoint.
const sidecarName = "aws-iam-endpoint"

// clockOffset matches the line in which the controller logs how far its machine's clock is ahead.
var clockOffset = regexp.MustCompile(`"msg":"the machine's clock is wrong[^}]*"ahead":"([^"]+)"`)

// findClockOffset returns how far the controller's clock is ahead, as its log says.
func findClockOffset(log string) (time.Duration, error) {
	found := clockOffset.FindStringSubmatch(log)
	if found == nil {
		return 0, errors.New("the log does not say that the clock is wrong")
	}
	return time.ParseDuration(found[1])
}

// complete reports whether a role's Secret has everything that editing by hand takes away.
func complete(s *corev1.Secret, role string) bool {
	_, err := time.Parse(time.RFC3339, string(s.Data[keys.Expire]))
	return err == nil && len(s.Data[keys.ContainerJSON]) > 0 && s.Annotations[secret.RoleARNAnnotation] == roleARN(role)
}

// checkInjected returns an error unless a pod of the program, as the API server has created it, has
// what docs/injection.md says for the Secret that it is to mount, and nothing else.
func (p *program) checkInjected(pod *corev1.Pod, mounted string) error {
	app := &pod.Spec.Containers[0]
	volume := slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Name == volumeName && v.Secret != nil && v.Secret.SecretName == mounted
	})
	mount := slices.ContainsFunc(app.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.Name == volumeName && m.MountPath == mountPath && m.ReadOnly
	})
	variables := map[string]string{}
	for _, variable := range app.Env {
		if variable.Name != stsVariable {
			variables[variable.Name] = variable.Value
		}
	}
	var problems []string
	for problem, found := range map[string]bool{
		"no volume of Secret " + mounted:           !volume,
		"no mount at " + mountPath:                 !mount,
		fmt.Sprintf("the variables %v", variables): !maps.Equal(variables, p.injectedVariables()),
		"a wrong sidecar":                          hasSidecar(pod) != p.endpoint,
	} {
		if found {
			problems = append(problems, problem)
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("pod %s has %s", pod.Name, strings.Join(problems, ", "))
	}
	return nil
}

// injectedVariables are the environment variables that injection adds.
func (p *program) injectedVariables() map[string]string {
	added := map[string]string{"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": env.Region, "AWS_DEFAULT_REGION": env.Region}
	if p.endpoint {
		added["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://127.0.0.1:9912/"
		added["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = mountPath + "/endpoint-token"
	} else {
		added["AWS_SHARED_CREDENTIALS_FILE"] = mountPath + "/credentials.process"
	}
	return added
}

// hasSidecar reports whether the only init container is the native sidecar with the endpoint.
func hasSidecar(pod *corev1.Pod) bool {
	inits := pod.Spec.InitContainers
	return len(inits) == 1 && inits[0].Name == sidecarName && ptr.Deref(inits[0].RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
}
