#!/usr/bin/env bash
# Fails unless a copy of the tree, in another folder, with other times, without git and under
# another umask, makes the same image and SBOMs, byte for byte. make reproduce calls it with the
# image and the variables that the copy cannot ask git for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

image=$1
variables=("${@:2}")

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tar --exclude=./bin --exclude=./.git -cf - . | tar -xmf - -C "$scratch"
(
	umask 077
	TZ=Asia/Kathmandu make --silent -C "$scratch" image "${variables[@]}" IMAGE_FILE=bin/again.tar
)
cmp "$image" "$scratch/bin/again.tar"
for sbom in "$image".*.spdx.json; do
	cmp "$sbom" "$scratch/bin/again.tar${sbom#"$image"}"
done
echo "$image: reproduced"
