#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
needs terraform
cp main.tf run "$1"
terraform version | sed -n '1s/Terraform //p' >"$1/version"
