#!/usr/bin/env bash
# sdks.sh folder [sources]: builds every program of test/sdk, or of other sources, into the user's
# cache folder, once, and links them from the folder. One whose toolchain is missing is skipped and
# named, which fails in CI.
set -euo pipefail

links=$1
sources=$(cd "${2:-$(dirname "${BASH_SOURCE[0]}")/../sdk}" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kube-aws-iam-controller/sdks

rm -rf "$links"
mkdir -p "$links" "$cache"
# Programs in Rust have libraries in common, which take minutes to build. Another run can be at work
# beside this one.
if [[ -z ${CARGO_TARGET_DIR:-} ]]; then
	CARGO_TARGET_DIR=$(mktemp -d "$cache/cargo.XXXXXX")
	export CARGO_TARGET_DIR
	trap 'rm -rf "$CARGO_TARGET_DIR"' EXIT
fi
skipped=()
for source in "$sources"/*/; do
	name=$(basename "$source")
	sum=$(cd "$source" && find -L . ../machine.sh -type f -print0 | LC_ALL=C sort -z | xargs -0 cksum | cksum | tr -d ' ')
	folder=$cache/$name-$sum
	if [[ ! -d $folder ]]; then
		echo "Building test/${sources##*/}/$name (once)" >&2
		partial=$cache/$name.partial
		rm -rf "$partial"
		mkdir "$partial"
		status=0
		"$source/build.sh" "$partial" >"$cache/$name.log" 2>&1 || status=$?
		if ((status == 3)); then # by convention: a toolchain is missing
			skipped+=("$name ($(tail -n 1 "$cache/$name.log"))")
			continue
		elif ((status)); then
			cat "$cache/$name.log" >&2
			exit 1
		fi
		chmod -R a+rX "$partial" # pods run it as any user
		mv "$partial" "$folder"
	fi
	ln -s "$folder" "$links/$name"
done

if ((${#skipped[@]})); then
	printf 'SKIPPED, as a toolchain is missing: %s\n' "${skipped[@]}" >&2
	[[ -z ${CI:-} ]]
fi
