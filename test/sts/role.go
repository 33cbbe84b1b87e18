package sts

import (
	"fmt"
	"regexp"
	"strings"
)

// role is a parsed role ARN: arn:<partition>:iam::<account>:role/<path><name>.
type role struct {
	arn       string
	partition string
	account   string
	name      string
}

// roleForm matches role ARNs: a partition is "aws" or "aws-…"; a path's characters are ! to ~ (IAM
// API Reference, Role); names as in CreateRole.
var roleForm = regexp.MustCompile(`^arn:(aws(?:-[a-z]+)*):iam::(\d{12}):role/(?:[\x21-\x7e]+/)?([\w+=,.@-]{1,64})$`)

// parseRole parses a RoleArn. The error has one of the two messages of STS: one for a text that is
// no ARN, one for an ARN that is not a role's.
func parseRole(arn string) (role, error) {
	parts := roleForm.FindStringSubmatch(arn)
	if parts != nil {
		return role{arn: arn, partition: parts[1], account: parts[2], name: parts[3]}, nil
	}
	message := "Request ARN is invalid"
	if !strings.HasPrefix(arn, "arn:") {
		message = arn + " is invalid"
	}
	return role{}, badRequest(codeValidation, message)
}

// sessionARN returns the ARN of a session of the role. It has the role's name but not its path (IAM
// User Guide, "IAM identifiers").
func (r role) sessionARN(sessionName string) string {
	return fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", r.partition, r.account, r.name, sessionName)
}

func (r role) id() string {
	return uniqueID(roleIDPrefix, r.arn)
}
