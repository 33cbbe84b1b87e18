#!/usr/bin/env bash
# The SDK is that of Debian 13, which pins it, and which this machine need not be: older releases
# have an SDK that knows no AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE. Its packages have no machine
# code. They are unpacked and not installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
needs ruby apt-get dpkg-deb
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep -m 1 -E '/debian/?$') && [[ -e $keyring ]] || {
	echo "this machine knows no archive of Debian" >&2
	exit 3
}

apt=$1/apt
mkdir -p "$apt/lists" "$apt/archives"
echo "deb [signed-by=$keyring] $archive trixie main" >"$apt/sources.list"
settings=(
	-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
	-o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt"
	-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none -o APT::Sandbox::User=root
)
apt-get "${settings[@]}" -qq update
(cd "$apt" && apt-get "${settings[@]}" -qq download ruby-aws-{eventstream,partitions,sdk-core,sigv4} ruby-jmespath)
for package in "$apt"/*.deb; do dpkg-deb --extract "$package" "$1/root"; done
rm -rf "$apt"

cp main.rb "$1"
ruby=$(readlink -f "$(command -v ruby)")
command=("$ruby" -I /sdk/root/usr/lib/ruby/vendor_ruby)
for gem in "$1"/root/usr/share/rubygems-integration/all/gems/*; do command+=(-I "/sdk/${gem#"$1/"}/lib"); done
command+=(/sdk/main.rb)
mounts >"$1/mounts"
program "$1" "exec ${command[*]}"
printf '%s\n' "${command[@]}" >"$1/command"
# Ruby's own libraries and extensions, which Debian keeps in two folders.
extensions=$(ruby -e 'print RbConfig::CONFIG["archdir"]')
{
	printf '%s\n' "$ruby" "$(ruby -e 'print RbConfig::CONFIG["rubylibprefix"]')" "$extensions"
	find "$extensions" -name '*.so' -print0 | xargs -0 bash -c '. ../machine.sh && libraries "$@"' _ "$ruby"
} >"$1/needs"
gems=("$1"/root/usr/share/rubygems-integration/all/gems/aws-sdk-core-*)
printf '%s\n' 'Ruby' "${gems[0]##*-core-}" >"$1/sdk"
