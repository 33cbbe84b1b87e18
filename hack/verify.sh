#!/usr/bin/env bash
# Fails unless what is generated is up to date, manifests build, and packages
# import only what they may. It regenerates in a copy and compares, so it
# neither touches the tree nor minds work in progress in it. Called by make
# verify, which builds the tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Everything that is, or could be, committed.
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
check "packages import only what they may" go run ./hack/imports

if ((${#failed[@]})); then
	printf 'verify: FAILED: %s\n' "${failed[@]}" >&2
	exit 1
fi
