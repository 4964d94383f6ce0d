#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks, from apt; with
# the argument "vm" also what tests in a virtual machine need. Says nothing
# where all is there. Needs Debian or a relative of it, and root.
set -euo pipefail

need=()
lacks() { # lacks PACKAGE CHECK…: remember PACKAGE unless CHECK succeeds
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || need+=("$package")
}
lacks gcc command -v gcc
lacks libc6-dev test -e /usr/include/stdio.h
lacks pkg-config command -v pkg-config
lacks libseccomp-dev pkg-config --exists libseccomp
lacks busybox-static test -x /bin/busybox -o -x /usr/bin/busybox
lacks nftables command -v nft
lacks iproute2 command -v ip
lacks iptables command -v iptables-legacy
if [[ ${1:-} == vm ]]; then
	lacks qemu-system-x86 command -v qemu-system-x86_64
	lacks xz-utils command -v xz
fi
((${#need[@]})) || exit 0

if ((EUID != 0)); then
	echo "missing packages: ${need[*]} (install them, or run this as root)" >&2
	exit 1
fi
echo "installing ${need[*]}" >&2
apt=$(dirname "$0")/apt.sh
"$apt" update
"$apt" install -y --no-install-recommends "${need[@]}"
