package v1

// Reasons of the events on Pods and AWSIAMRoles, and of the conditions of an AWSIAMRole. Scripts
// and alerts match them, so they do not change.
const (
	// ReasonCreateCredentials is the Normal event of a new Secret.
	ReasonCreateCredentials = "CreateCredentials"
	// ReasonUpdateCredentials is the Normal event of a renewal, on an AWSIAMRole only.
	ReasonUpdateCredentials = "UpdateCredentials"

	// ReasonGetCredentialsFailed means that STS did not return credentials, or that the controller
	// has no AWS identity.
	ReasonGetCredentialsFailed = "GetCredentialsFailed"
	// ReasonRoleForbidden means that no authorization mode allows the role.
	ReasonRoleForbidden = "RoleForbidden"
	// ReasonInvalidRole means that the request can never be served as it is.
	ReasonInvalidRole = "InvalidRole"
	// ReasonServiceAccountWithoutRole means that pods mount the Secret of their ServiceAccount,
	// which has no annotation with a role, or does not exist.
	ReasonServiceAccountWithoutRole = "ServiceAccountWithoutRole"
	// ReasonNotInjected means that a pod should have got the Secret of its ServiceAccount by
	// injection, and was created without it.
	ReasonNotInjected = "NotInjected"
	// ReasonSecretNotManaged means that a Secret of another writer has the name.
	ReasonSecretNotManaged = "SecretNotManaged"
	// ReasonCreateSecretFailed means that the API server refused to create the Secret.
	ReasonCreateSecretFailed = "CreateSecretFailed"
	// ReasonUpdateSecretFailed means that the API server refused to update or to delete the Secret.
	ReasonUpdateSecretFailed = "UpdateSecretFailed"
	// ReasonSecretContested means that another writer keeps changing the Secret back.
	ReasonSecretContested = "SecretContested"
	// ReasonAuthorizationUnknown means that the access review could not be decided.
	ReasonAuthorizationUnknown = "AuthorizationUnknown"
	// ReasonRemovalDelayed means that the role is refused and that the Secret waits for its
	// deletion, as such deletions are limited in the whole cluster.
	ReasonRemovalDelayed = "RemovalDelayed"
	// ReasonRoleReplaced means that an AWSIAMRole decides that the Secret has another role than
	// the one that its name asks for.
	ReasonRoleReplaced = "RoleReplaced"

	// ReasonSeedNotRenewed means that the controller's own credentials are overdue for renewal.
	ReasonSeedNotRenewed = "SeedNotRenewed"
	// ReasonSeedExpired means that the controller's own credentials are missing or of no use.
	ReasonSeedExpired = "SeedExpired"
	// ReasonCertificateNotRenewed means that the controller's own certificate is overdue for
	// renewal, or that the renewed one cannot be used.
	ReasonCertificateNotRenewed = "CertificateNotRenewed"
	// ReasonCertificateExpired means that the controller's own certificate is missing or not valid.
	ReasonCertificateExpired = "CertificateExpired"
)
