#!/usr/bin/env bash
# Prints the folder that holds the AWS CLI for the tests of scripts/; installs it
# on the first call, from PyPI. Where that cannot be done it says why, and fails:
# the tests that need it are then skipped, except in CI.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/^awscli==\([^ ]*\).*/\1/p' "$here/requirements.txt")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kube-aws-iam-controller/awscli
folder=$cache/$version-$(cksum <"$here/requirements.txt" | tr -d ' ')

if [[ -x $folder/bin/aws ]]; then
	echo "$folder/bin"
	exit
fi

give_up() { # why
	echo "No AWS CLI, so the tests of scripts/ are skipped: $1" >&2
	exit 1
}
command -v python3 >/dev/null || give_up "python3 is missing"
# Debian has the half of venv that needs nothing in python3, and the other in python3-venv.
python3 -c 'import venv, ensurepip' 2>/dev/null || give_up "Python's venv is missing; on Debian: apt-get install python3-venv"

echo "Installing the AWS CLI $version for the tests of scripts/. This happens once; it is kept in $folder" >&2
python3 -m venv --clear "$folder/venv" >&2 || give_up "python3 -m venv failed"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install --retries 1 --require-hashes -r "$here/requirements.txt" >&2 ||
	give_up "pip could not install it"
# Last, and alone, so that half an installation is none and nothing else of Python's gets on the
# PATH.
mkdir -p "$folder/bin"
ln -sf ../venv/bin/aws "$folder/bin/aws"
echo "$folder/bin"
