# Prints each line that holds only a comment and is wider than `most` columns, as file:line. A tab
# counts as four columns. Lines that cannot wrap are exempt: a URL, a directive, a marker, and code in
# a comment, which is indented by four spaces or more.
# Run it with LC_ALL=C, so that it can count characters in the bytes of UTF-8.

/https?:\/\// || /\/\/(go:|nolint)/ || /\+kubebuilder/ || /^[ \t]*(\/\/|#)(\t|    )/ { next }

FILENAME ~ /\.go$/ ? /^[ \t]*\/\// : /^[ \t]*#/ {
	text = $0
	gsub(/\t/, "    ", text)
	gsub(/[\200-\277]/, "", text) # all but the first byte of a character
	if (length(text) > most) {
		printf "%s:%d: comment of %d columns, at most %d\n", FILENAME, FNR, length(text), most
		found = 1
	}
}

END { exit found }
