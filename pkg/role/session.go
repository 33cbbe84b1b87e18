package role

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Session names are [\w+=,.@-]{2,64}; source: the API reference of STS AssumeRole,
// RoleSessionName.
const maxSessionNameLength = 64

// sessionHashLength is how many bytes of the hash a name that was cut keeps. At 80 bits, finding
// a second Secret of the same session name is beyond what the author of Secret names can compute.
const sessionHashLength = 10

var notInSessionName = regexp.MustCompile(`[^\w+=,.@-]`)

// SessionName is <cluster>.<namespace>.<secret>, by which CloudTrail and the role's trust policy
// know who uses the role. A character that STS refuses becomes a hyphen, and so does a dot in the
// cluster's name: as a namespace has none, a policy that asks for "prod.payments.*" then matches
// that namespace of that cluster only. What is longer than 64 characters is cut to 43, and ends
// in a hyphen and 20 hexadecimal digits of a hash of the whole.
func SessionName(cluster, namespace, secret string) string {
	whole := strings.ReplaceAll(cluster, ".", "-") + "." + namespace + "." + secret
	name := notInSessionName.ReplaceAllString(whole, "-")
	if len(name) <= maxSessionNameLength {
		return name
	}
	sum := sha256.Sum256([]byte(whole))
	hash := hex.EncodeToString(sum[:sessionHashLength])
	return name[:maxSessionNameLength-1-len(hash)] + "-" + hash
}

// ControllerSessionName returns the name of the session in which the controller assumes a role
// for itself. In place of the namespace it has a word that no namespace can be called, so that it
// is never the session of a pod.
func ControllerSessionName(cluster, controller string) string {
	return SessionName(cluster, "_controller", controller)
}
