#!/usr/bin/env bash
# clock.sh folder: writes an overlay for "go build -overlay" into the folder, with which a
# program's wall clock is off by as many seconds as the environment variable CLOCK_OFFSET says.
# Everything else in the program stays as it is. The file is not named *.go, as the folder would be
# a package of the module.
set -euo pipefail

folder=$1
source=$(go env GOROOT)/src/time/time.go
mkdir -p "$folder"
awk '
	{ print }
	/^import \($/ { print "\t\"syscall\"" }
	/^\tsec, nsec, mono := runtimeNow\(\)$/ { print "\tsec += clockOffset"; changed++ }
	END {
		print "\nvar clockOffset = func() int64 {"
		print "\ttext, _ := syscall.Getenv(\"CLOCK_OFFSET\")"
		print "\tseconds, _ := atoi(text)"
		print "\treturn int64(seconds)"
		print "}()"
		exit changed != 1
	}
' "$source" >"$folder/time.go.txt" || {
	echo "time.Now is not written as expected in $source" >&2
	exit 1
}
printf '{"Replace": {"%s": "%s/time.go.txt"}}\n' "$source" "$folder" >"$folder/overlay.json"
