package credentials

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/smithy-go"
)

const (
	// maxMessage is how long a message with advice may be, in bytes: what an event can hold.
	// Source: validation of events.k8s.io/v1.
	maxMessage = 1024
	// maxSaid is how much of what STS says is shown where the message has no advice to leave room
	// for.
	maxSaid = 400
)

// saidBySTS is the error of an answer. Of a wrong signature and the like only the code is shown:
// the message may quote what was signed.
func saidBySTS(api smithy.APIError) string {
	if kinds[api.ErrorCode()] == Expired {
		return api.ErrorCode()
	}
	return strings.TrimSuffix(api.ErrorCode()+": "+cut(sentence(api.ErrorMessage()), maxSaid), ": ")
}

// sentence makes one line of printable characters of a message of STS: its first line, without
// what looks like a secret.
func sentence(message string) string {
	line, _, _ := strings.Cut(strings.ToValidUTF8(message, ""), "\n")
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) })
	return secretForm.ReplaceAllStringFunc(strings.Join(words, " "), func(found string) string {
		if nameForm.MatchString(found) {
			return found
		}
		return placeholder
	})
}

// secretForm finds what may be a secret: a JWT, a secret access key (40 characters of base64), a
// session token, or anything encoded that is longer than an IAM name can be. It finds ARNs and
// URLs, too, as parts of these look like secrets; nameForm tells them apart.
var (
	secretForm = regexp.MustCompile(`(?:arn:|https?://)[^\s'"?]+|eyJ[\w-]+\.[\w.-]+|[A-Za-z0-9+/=%]{40,}|[\w+/=%-]{65,}`)
	nameForm   = regexp.MustCompile(`^(?:arn:|https?://)`)
)

// cut shortens a text to so many bytes, between two characters.
func cut(text string, length int) string {
	const ellipsis = "…"
	if len(text) <= length {
		return text
	}
	at := max(0, length-len(ellipsis))
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	return text[:at] + ellipsis
}

// quote puts what STS says between two parts of a message, cut so that all of it fits into an
// event.
func quote(before, said, after string) string {
	return before + cut(said, max(0, maxMessage-len(before)-len(after))) + after
}
