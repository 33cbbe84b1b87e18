# Reads a profile of go test -coverpkg, prints the share of statements run per
# package and in total, and fails when the total is below least (percent).
#
# A profile of several test programs lists a block once for each of them.

/^mode:/ { next }

{
	statements[$1] = $2
	if ($3 > 0) ran[$1] = 1
}

END {
	for (block in statements) {
		package = block
		sub(/\/[^\/]*$/, "", package)
		all[package] += statements[block]
		total += statements[block]
		if (block in ran) {
			some[package] += statements[block]
			covered += statements[block]
		}
	}
	for (package in all) printf "%6.1f %%  %s\n", 100 * some[package] / all[package], package | "sort -k3"
	close("sort -k3")
	share = total ? 100 * covered / total : 0
	printf "%6.1f %%  of %d statements; at least %s %% is required\n", share, total, least
	exit share < least
}
