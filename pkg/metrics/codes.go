package metrics

import "slices"

// otherCode is the label of all error codes that are not among knownCodes.
const otherCode = "Other"

// knownCodes are the values that the label code of sts_requests_total can have besides otherCode.
// They bound the number of series, as an endpoint can answer with any code.
var knownCodes = []string{
	// The controller's own: a success, why there was no answer or none that can be used, and why it
	// has no credentials to ask with. UnknownError is the SDK's, for an answer without a code.
	"OK", "NoAnswer", "Timeout", "BadAnswer", "UnknownError",
	"NoCredentials", "NoSeed", "SeedExpired", "SeedOfAnotherRole",
	"NoCertificate", "CertificateExpired", "CertificateNotYetValid",

	// Of AssumeRole and AssumeRoleWithWebIdentity. Source: the STS API reference.
	"ExpiredTokenException", "IDPCommunicationError", "IDPRejectedClaim", "InvalidIdentityToken",
	"MalformedPolicyDocument", "PackedPolicyTooLarge", "RegionDisabledException",

	// Of CreateSession. Source: the user guide of IAM Roles Anywhere.
	"AccessDeniedException", "ResourceNotFoundException", "ValidationException",

	// Of all services. Source: "Common Error Types" in the API references, now and before.
	"IncompleteSignature", "InternalFailure", "InvalidAction", "InvalidClientTokenId",
	"InvalidParameterCombination", "InvalidParameterValue", "InvalidQueryParameter",
	"MalformedHttpRequestException", "MalformedQueryString", "MissingAction",
	"MissingAuthenticationToken", "MissingParameter", "NotAuthorized", "OptInRequired",
	"RequestAbortedException", "RequestEntityTooLargeException", "RequestExpired",
	"RequestTimeoutException", "ServiceUnavailable", "UnknownOperationException",
	"UnrecognizedClientException", "ValidationError",

	// In answers of STS, and not in its reference.
	"AccessDenied", "ExpiredToken", "SignatureDoesNotMatch",

	// Of throttling. Source: DefaultThrottleErrorCodes of the SDK, without those of one service.
	"LimitExceededException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException",
	"SlowDown", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException",
}

// codeLabel returns the label of an error code.
func codeLabel(code string) string {
	if slices.Contains(knownCodes, code) {
		return code
	}
	return otherCode
}
