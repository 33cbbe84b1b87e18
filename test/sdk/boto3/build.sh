#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
python=$(install_python "$1" requirements.txt)

cp main.py env "$1"
program "$1" "PYTHONPATH=/sdk/site exec $python /sdk/main.py"
printf '%s\n' 'boto3' "$(sed -n 's/^boto3==\([^ ]*\).*/\1/p' requirements.txt)" >"$1/sdk"
