# Prints each line with a word or phrase that the project does not use, as file:line. A word counts
# in any case and inflection, also as a part of a camelCase name; a phrase also across two lines.

BEGIN {
	word = "(somebody|nobody|anew|mend|mends|mended|mending|cease|ceases|ceased|ceasing" \
		"|heed|heeds|heeded|heeding|forgive|forgives|forgave|forgiven|forgiving" \
		"|hearer|hearers|wanter|wanters)"
	phrase = "((tell|tells|told|telling) whether|may (not )?be had)"
}

FNR == 1 { last = "" }

{
	line = $0
	while (match(line, /[a-z0-9][A-Z]/)) {
		line = substr(line, 1, RSTART) " " substr(line, RSTART + 1)
	}
	line = " " tolower(line) " "
	plain = line
	sub(/^[ \t#\/*>-]+/, " ", plain) # the comment's mark, which is no part of a phrase
	report("[^a-z]" word "[^a-z]", line)
	if (!report("[^a-z]" phrase "[^a-z]", line)) {
		report("[^a-z]" phrase "[^a-z]", last plain)
	}
	last = match(plain, /[a-z]+ [a-z]+ $/) || match(plain, /[a-z]+ $/) ? " " substr(plain, RSTART, RLENGTH - 1) : ""
}

function report(pattern, text) {
	if (!match(text, pattern)) {
		return 0
	}
	printf "%s:%d: \"%s\"\n", FILENAME, FNR, substr(text, RSTART + 1, RLENGTH - 2)
	return found = 1
}

END { exit found }
