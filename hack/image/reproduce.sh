#!/usr/bin/env bash
# Fails unless a copy of the tree, in another folder, of another date, without
# git and under another umask, makes the same image, byte for byte. Called by
# make reproduce, with the image and the variables that the copy cannot ask git.
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
echo "$image: reproduced"
