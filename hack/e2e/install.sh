#!/usr/bin/env bash
# Checks that what a node needs is on this machine, and installs it where that can be done: as root, on Debian or Ubuntu.
set -euo pipefail

packages=(containerd runc containernetworking-plugins iptables iproute2 busybox-static)
needed=(/usr/lib/cni/bridge /usr/lib/cni/host-local)
for program in containerd ctr runc iptables-save ip busybox; do
	needed+=("$(command -v "$program" || echo "$program")")
done

missing=()
for file in "${needed[@]}"; do
	[[ -x $file ]] || missing+=("$file")
done
# Any other busybox would need libraries that its pods do not have.
if busybox=$(command -v busybox) && ldd "$busybox" >/dev/null 2>&1; then
	missing+=("a static busybox")
fi
((${#missing[@]})) || exit 0

if ((EUID)) || ! command -v apt-get >/dev/null; then
	echo "For make e2e are missing: ${missing[*]}. On Debian or Ubuntu: apt-get install ${packages[*]}" >&2
	exit 1
fi
echo "Installing ${packages[*]}" >&2
apt-get update -qq
# Their services are not wanted: a policy that forbids to start any, as long as packages are installed.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${packages[@]}" >/dev/null
