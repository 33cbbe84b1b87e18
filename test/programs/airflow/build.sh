#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
needs python3

version=9.39.0
python3 -m pip --quiet --disable-pip-version-check install --target "$1/site" "apache-airflow-providers-amazon==$version"
cp main.py "$1"
program "$1" "PYTHONPATH=\${0%/*}/site exec $(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))') \${0%/*}/main.py"
echo "$version" >"$1/version"
