package role

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Session names are [\w+=,.@-]{2,64}; source: the API reference of STS AssumeRole, RoleSessionName.
const maxSessionNameLength = 64

var notInSessionName = regexp.MustCompile(`[^\w+=,.@-]`)

// SessionName is <cluster>.<namespace>.<secret>, by which CloudTrail and the role's trust policy know who uses the role. A
// character that STS refuses becomes a hyphen, and so does a dot in the cluster's name: as a namespace has none, a policy that asks
// for "prod.payments.*" then matches that namespace of that cluster only. What is longer than 64 characters is cut, and ends in a hash of
// the whole.
func SessionName(cluster, namespace, secret string) string {
	whole := strings.ReplaceAll(cluster, ".", "-") + "." + namespace + "." + secret
	name := notInSessionName.ReplaceAllString(whole, "-")
	if len(name) <= maxSessionNameLength {
		return name
	}
	sum := sha256.Sum256([]byte(whole))
	hash := hex.EncodeToString(sum[:5])
	return name[:maxSessionNameLength-1-len(hash)] + "-" + hash
}
