// Package keys names the data keys of the Secrets that the controller writes. Each is also the name
// of the file that a pod finds where it mounts the Secret.
package keys

const (
	// Expire is the time at which STS stops accepting the credentials: RFC 3339 in UTC.
	Expire = "expire"
	// RoleARN is the ARN of the role that the credentials belong to.
	RoleARN = "role-arn"
	// Credentials is a shared credentials file that holds the credentials themselves. It is for
	// tools that cannot run a credential_process.
	Credentials = "credentials"
	// CredentialsProcess is a shared credentials file whose credential_process prints
	// CredentialsJSON, which it names by its absolute path.
	CredentialsProcess = "credentials.process"
	// CredentialsJSON is the output of a credential_process.
	CredentialsJSON = "credentials.json"
	// Config is an AWS config file with the Region and the same credential_process.
	Config = "config"
	// ContainerJSON is the response of a container credentials endpoint.
	ContainerJSON = "container.json"
	// EndpointToken is the token with which a caller of the credentials endpoint authenticates: 43
	// characters of base64url, without a newline. It stays the same at renewals and repairs.
	EndpointToken = "endpoint-token"
)

// The three credentials as keys of their own, for programs that read a Secret key by key. A Secret
// has all of them or none: only where its AWSIAMRole or ServiceAccount asks for them.
const (
	AccessKeyID     = "access-key-id"
	SecretAccessKey = "secret-access-key"
	SessionToken    = "session-token"
)

// Always returns the keys that every Secret has, sorted.
func Always() []string {
	return []string{Config, ContainerJSON, Credentials, CredentialsJSON, CredentialsProcess, EndpointToken, Expire, RoleARN}
}

// OnRequest returns the keys that a Secret has only where that is asked for, sorted.
func OnRequest() []string { return []string{AccessKeyID, SecretAccessKey, SessionToken} }
