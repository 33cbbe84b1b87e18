#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
python=$(install_python "$1" requirements.txt)

cp env "$1"
cp main.sh "$1/run"
sed -i "s|@python@|$python|" "$1/run"
printf '%s\n' 'AWS CLI v1' "$(sed -n 's/^awscli==\([^ ]*\).*/\1/p' requirements.txt)" >"$1/sdk"
