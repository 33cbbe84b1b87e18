package e2e

import (
	"errors"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/secret/keys"
)

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
