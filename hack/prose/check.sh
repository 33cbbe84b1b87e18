#!/usr/bin/env bash
# check.sh width: comments are at most 100 columns wide, in Go, shell scripts and config/*.yaml.
# check.sh words: no text has a word that words.awk lists.
# Prints file:line of each fault, and fails if there is one. Reads what is, or could be, committed.
set -euo pipefail
export LC_ALL=C
prose=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# files pattern...: those that exist, but not the binary ones.
files() {
	git ls-files -z --cached --others --exclude-standard -- "$@" | while IFS= read -r -d '' file; do
		if [[ -f $file ]] && grep -qI '' "$file"; then printf '%s\0' "$file"; fi
	done
}

written_by_hand() {
	while IFS= read -r -d '' file; do
		if ! grep -q '^// Code generated .* DO NOT EDIT\.$' "$file"; then printf '%s\0' "$file"; fi
	done
}

case $1 in
width) files '*.go' '*.sh' .ci/run 'config/*.yaml' | written_by_hand | xargs -0 awk -v most=100 -f "$prose/width.awk" ;;
words)
	files . ':!hack/prose' ':!LICENSE' ':!*go.sum' ':!*.lock' ':!*-lock.json' ':!*requirements.txt' |
		xargs -0 awk -f "$prose/words.awk"
	;;
esac
