#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
needs cargo cc

cargo build --quiet --release --locked --target-dir "${CARGO_TARGET_DIR:-$1/target}"
cp "${CARGO_TARGET_DIR:-$1/target}/release/run" "$1/run"
rm -rf "$1/target"
mounts >"$1/mounts"
printf '%s\n' 'Rust' "$(sed -n '/^name = "aws-sdk-sts"$/{n;s/.*"\(.*\)"/\1/p}' Cargo.lock)" >"$1/sdk"
