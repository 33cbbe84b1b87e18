package role

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// maxSessionNameLength is STS's limit; a session name is [\w+=,.@-]{2,64}. Source: the API
// reference of STS AssumeRole, RoleSessionName.
const maxSessionNameLength = 64

// sessionHashLength is how many bytes of the hash a truncated name contains. At 80 bits, an author
// of Secret names cannot compute a second Secret with the same session name.
const sessionHashLength = 10

var notInSessionName = regexp.MustCompile(`[^\w+=,.@-]`)

// SessionName returns <cluster>.<namespace>.<secret>, by which CloudTrail and the role's trust
// policy identify the user of the role. A character that STS refuses becomes a hyphen, and so does
// a dot in the cluster's name: as a namespace has none, a policy for "prod.payments.*" then matches
// that namespace of that cluster only. A name of 64 characters or more is truncated to 43, and ends
// in a hyphen and 20 hexadecimal digits of a hash of the whole: as no other name has 64 characters,
// none can be chosen that equals a truncated one.
func SessionName(cluster, namespace, secret string) string {
	whole := strings.ReplaceAll(cluster, ".", "-") + "." + namespace + "." + secret
	name := notInSessionName.ReplaceAllString(whole, "-")
	if len(name) < maxSessionNameLength {
		return name
	}
	sum := sha256.Sum256([]byte(whole))
	hash := hex.EncodeToString(sum[:sessionHashLength])
	return name[:maxSessionNameLength-1-len(hash)] + "-" + hash
}

// ControllerSessionName returns the name of the session in which the controller assumes a role for
// itself. In place of the namespace it has a word that is no valid namespace, so that it is never
// the session of a pod.
func ControllerSessionName(cluster, controller string) string {
	return SessionName(cluster, "_controller", controller)
}
