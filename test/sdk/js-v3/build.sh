#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
needs node npm

cp main.mjs package.json package-lock.json "$1"
if [[ -e env ]]; then cp env "$1"; fi
npm --prefix "$1" ci --ignore-scripts --no-audit --no-fund
node=$(readlink -f "$(command -v node)")
mounts "${node%/bin/*}" >"$1/mounts"
program "$1" "exec $node /sdk/main.mjs"
printf '%s\n' 'JavaScript v3' "$(node --print 'require("./package.json").dependencies["@aws-sdk/client-sts"]')" >"$1/sdk"
