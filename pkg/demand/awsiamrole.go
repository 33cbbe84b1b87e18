package demand

import (
	"time"

	v1 "kube-aws-iam-controller/api/v1"
)

// FromAWSIAMRole is what an AWSIAMRole wants: a Secret of its own name.
func FromAWSIAMRole(r *v1.AWSIAMRole) Demand {
	return Demand{
		Secret:   r.Name,
		Role:     r.Spec.RoleReference,
		Duration: time.Duration(r.Spec.RoleSessionDuration) * time.Second,
		source:   awsIAMRole,
	}
}
