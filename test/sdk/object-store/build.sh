#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
authorities=/etc/ssl/certs/ca-certificates.crt # it does not start without them
[[ -e $authorities ]] || {
	echo "$authorities is missing" >&2
	exit 3
}

build_rust "$1" 'object_store (Rust)' 'object_store'
echo "$authorities" >>"$1/needs"
echo endpoint >"$1/from" # it reads no files
