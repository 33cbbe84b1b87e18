#!/usr/bin/env bash
# Checks that what a node needs is on this machine, and installs what is missing, which needs root
# on Debian or Ubuntu.
set -euo pipefail

packages=()
require() { # package program...: Docker's packages have some of the programs, too, and would be removed
	local program
	for program in "${@:2}"; do
		command -v "$program" >/dev/null || {
			packages+=("$1")
			return
		}
	done
}
require containerd containerd ctr
require runc runc
require containernetworking-plugins /usr/lib/cni/bridge /usr/lib/cni/host-local
require iptables iptables-save
require iproute2 ip
require busybox-static busybox
require ruby ruby # of test/sdk
# Any other busybox needs libraries that pods do not have.
if busybox=$(command -v busybox) && ldd "$busybox" >/dev/null 2>&1; then packages+=(busybox-static); fi
((${#packages[@]})) || exit 0

if ((EUID)) || ! command -v apt-get >/dev/null; then
	echo "make e2e needs root and what is in these packages of Debian and Ubuntu: ${packages[*]}" >&2
	exit 1
fi
echo "Installing ${packages[*]}" >&2
# A policy keeps their services from starting while packages are installed.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${packages[@]}" >/dev/null
