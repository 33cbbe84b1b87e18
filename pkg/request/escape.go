package request

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"kube-aws-iam-controller/pkg/role"
)

// EscapedPrefix begins the name of a Secret whose role no name aws-iam-<role> can hold: the rest is
// the escaped role reference between two zeros, which keep every name valid.
const EscapedPrefix = "aws-role."

// escapeMark begins and ends the escaped reference.
const escapeMark = "0"

// SecretFor returns the name of the Secret through which a pod asks for a role: aws-iam-<role>
// where that is a valid name, otherwise aws-role.0<escaped>0. The role is a name, with or without a
// path, or an ARN. It returns an error if the reference is none, or too long for a Secret's name.
func SecretFor(reference string) (string, error) {
	reference = strings.TrimPrefix(reference, "/")
	if err := role.CheckReference(reference); err != nil {
		return "", err
	}
	if strings.HasPrefix(reference, "/") {
		return "", fmt.Errorf("role %s begins with two slashes", quoted("/"+reference))
	}
	if secret := SecretPrefix + reference; len(validation.IsDNS1123Subdomain(secret)) == 0 {
		return secret, nil
	}
	escaped, ok := escape(reference)
	secret := EscapedPrefix + escapeMark + escaped + escapeMark
	switch {
	case !ok:
		return "", fmt.Errorf("role %s has a character that no Secret name can hold, not even escaped", quoted(reference))
	case len(secret) > maxSecretName:
		return "", fmt.Errorf("role %s is too long: its Secret's name would have %d characters, and %d are allowed",
			quoted(reference), len(secret), maxSecretName)
	}
	return secret, nil
}

// escapedSigns are the signs that -0 to -7 stand for.
const escapedSigns = "._+=,@/:"

// escape returns a role reference in the characters of a Secret's name, one to one: a-z and 0-9
// stand for themselves, -- for -, -a to -z for A to Z, and -0 to -7 for escapedSigns. It reports
// whether every character has an escape.
func escape(reference string) (escaped string, ok bool) {
	var b strings.Builder
	for i := range len(reference) {
		c := reference[i]
		sign := strings.IndexByte(escapedSigns, c)
		switch {
		case isLower(c) || isDigit(c):
			b.WriteByte(c)
		case c == '-':
			b.WriteString("--")
		case 'A' <= c && c <= 'Z':
			b.Write([]byte{'-', c - 'A' + 'a'})
		case sign >= 0:
			b.WriteString("-" + strconv.Itoa(sign))
		default:
			return "", false
		}
	}
	return b.String(), true
}

// unescape is the inverse of escape. It reports whether the string is the result of escape.
func unescape(escaped string) (reference string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if isLower(c) || isDigit(c) {
			b.WriteByte(c)
			continue
		}
		i++
		if c != '-' || i == len(escaped) {
			return "", false
		}
		switch c := escaped[i]; {
		case c == '-':
			b.WriteByte('-')
		case isLower(c):
			b.WriteByte(c - 'a' + 'A')
		case '0' <= c && c < '0'+byte(len(escapedSigns)):
			b.WriteByte(escapedSigns[c-'0'])
		default:
			return "", false
		}
	}
	return b.String(), true
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// roleOf returns the role reference that the name of a Secret stands for, or an empty string if it
// stands for none.
func roleOf(secret string) string {
	if name, ok := strings.CutPrefix(secret, SecretPrefix); ok {
		return name
	}
	escaped, ok := strings.CutPrefix(secret, EscapedPrefix+escapeMark)
	if !ok {
		return ""
	}
	escaped, ok = strings.CutSuffix(escaped, escapeMark)
	if !ok {
		return ""
	}
	reference, _ := unescape(escaped)
	if strings.HasPrefix(reference, "/") {
		return "" // SecretFor drops the slash: each role has one escaped name
	}
	return reference
}
