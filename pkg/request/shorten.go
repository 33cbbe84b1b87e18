package request

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// ellipsis ends every string that was cut. No name of a Kubernetes object or an IAM role contains
// it, so that a cut string is never taken for a name.
const ellipsis = "…"

// maxQuoted limits a name or path in a message, in bytes. The longest role name fits, with
// SecretPrefix and quotation marks.
const maxQuoted = 80

// quoted is a name that is printed in quotation marks, cut to maxQuoted bytes.
type quoted string

// String implements fmt.Stringer.
func (q quoted) String() string {
	if len(q) > maxQuoted {
		q = q[:maxQuoted]
	}
	return shorten(strconv.Quote(string(q)), maxQuoted)
}

// shorten cuts a string to at most n bytes, between two characters. A cut string is a copy: it does
// not keep the whole one in memory.
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
