#!/usr/bin/env bash
# Prints the path of moto's server, which the first call installs from PyPI. Without Python and pip
# it fails with 3: the test with moto is then skipped, but not in CI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../../../test/sdk/machine.sh

version=$(sed -n 's/^moto==\([^ ]*\).*/\1/p' requirements.txt)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kube-aws-iam-controller/moto
folder=$cache/$version-$(cat requirements.txt install.sh ../../../test/sdk/machine.sh | cksum | tr -d ' ')

if [[ ! -d $folder ]]; then
	echo "Installing moto $version (once)" >&2
	partial=$folder.partial
	rm -rf "$partial"
	mkdir -p "$partial"
	python=$(install_python "$partial" requirements.txt 2>"$folder.log") || {
		status=$?
		if ((status == 3)); then
			echo "SKIPPED, as a toolchain is missing: the test with moto ($(tail -n 1 "$folder.log"))" >&2
		else
			cat "$folder.log" >&2
		fi
		exit "$status"
	}
	program "$partial" "PYTHONPATH=$folder/site exec $python -m moto.server \"\$@\""
	mv "$partial" "$folder"
fi
echo "$folder/run"
