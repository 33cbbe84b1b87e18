package credentials

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/smithy-go"
)

const (
	// maxMessage is the longest message with advice, in bytes: the limit of an event. Source:
	// validation of events.k8s.io/v1.
	maxMessage = 1024
	// maxAnswer is the longest part of an STS message that is shown without advice, in bytes.
	maxAnswer = 400
	// maxCode is the longest error code, in bytes: those of AWS are shorter, and the action of an
	// event, which has a code at its end, is limited to 128.
	maxCode = 64
)

// answerText returns code and message of an answer. For a wrong signature and the like it returns
// the code only: the message can quote what was signed.
func answerText(api smithy.APIError) string {
	code := truncate(sanitize(api.ErrorCode()), maxCode)
	if kinds[api.ErrorCode()] == Expired {
		return code
	}
	return strings.TrimSuffix(code+": "+truncate(sanitize(api.ErrorMessage()), maxAnswer), ": ")
}

// sanitize returns the first line of an STS message with printable characters only, and with a
// placeholder for what looks like a secret.
func sanitize(message string) string {
	line, _, _ := strings.Cut(strings.ToValidUTF8(message, ""), "\n")
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) })
	return secretPattern.ReplaceAllStringFunc(strings.Join(words, " "), func(found string) string {
		if namePattern.MatchString(found) {
			return found
		}
		return placeholder
	})
}

// secretPattern matches what can be a secret: a JWT, a secret access key (40 characters of base64),
// a session token, or any encoded text that is longer than an IAM name can be. It also matches ARNs
// and URLs, parts of which look like secrets; namePattern excludes these.
var (
	secretPattern = regexp.MustCompile(`(?:arn:|https?://)[^\s'"?]+|eyJ[\w-]+\.[\w.-]+|[A-Za-z0-9+/=%]{40,}|[\w+/=%-]{65,}`)
	namePattern   = regexp.MustCompile(`^(?:arn:|https?://)`)
)

// truncate shortens a text to length bytes, between two characters.
func truncate(text string, length int) string {
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

// quoteAnswer returns an STS message between two parts of a message, truncated so that the whole
// fits into an event.
func quoteAnswer(before, answer, after string) string {
	return before + truncate(answer, max(0, maxMessage-len(before)-len(after))) + after
}
