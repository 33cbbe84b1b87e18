#!/usr/bin/env bash
# Fails unless generated files are up to date, manifests build, and comments and texts keep to the
# style. It regenerates in a copy of the tree and compares, so it
# changes nothing and includes work in progress. Called by make verify, which builds the tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# files prints all files that are, or could be, committed.
files() {
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
		if [[ -e $file ]]; then printf '%s\0' "$file"; fi
	done
}

failed=()
check() { # name command...
	echo "verify: $1"
	"${@:2}" || failed+=("$1")
}

regenerated() {
	mkdir "$scratch/is" "$scratch/ought"
	files | tar -cf "$scratch/tree.tar" --null -T -
	tar -xf "$scratch/tree.tar" -C "$scratch/is"
	tar -xf "$scratch/tree.tar" -C "$scratch/ought"
	make --silent -C "$scratch/ought" BIN="$PWD/bin" generate fmt tidy || return
	(cd "$scratch" && diff -ruN is ought) || {
		echo "verify: run make generate fmt tidy" >&2
		return 1
	}
}

manifests() {
	local file status=0
	while IFS= read -r -d '' file; do
		bin/kustomize build "$(dirname "$file")" >/dev/null || status=1
	done < <(find config -name kustomization.yaml -print0)
	return "$status"
}

check "generated code and manifests, format and go.mod are up to date" regenerated
check "every kustomization builds" manifests
check "the workflows are valid" go run "$ACTIONLINT"
check "the checks of comments and words find what they look for" hack/prose/test.sh
check "comments are at most 100 columns wide" hack/prose/check.sh width
check "words are plain" hack/prose/check.sh words

if ((${#failed[@]})); then
	printf 'verify: FAILED: %s\n' "${failed[@]}" >&2
	exit 1
fi
