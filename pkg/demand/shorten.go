package demand

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// ellipsis ends what was cut. No name of a Kubernetes object or an AWS role has it, so that what
// was cut is never taken for a name.
const ellipsis = "…"

// maxQuoted is how many bytes of a name or path a message has. The longest role's name fits, with
// SecretPrefix and quotation marks.
const maxQuoted = 80

// quote returns a name for a message, in quotation marks and cut.
func quote(name string) string {
	if len(name) > maxQuoted {
		name = name[:maxQuoted]
	}
	return shorten(strconv.Quote(name), maxQuoted)
}

// shorten cuts a string to at most n bytes, between two characters. What it returns of a longer
// string does not keep that one in memory.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	cut := n - len(ellipsis)
	for back := 1; back < utf8.UTFMax && !utf8.RuneStart(s[cut]); back++ {
		cut--
	}
	return strings.Clone(s[:cut]) + ellipsis
}
