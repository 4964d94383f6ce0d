#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks, from apt.
# Says nothing where all is there. Needs Debian or a relative of it, and root.
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
((${#need[@]})) || exit 0

if ((EUID != 0)); then
	echo "missing packages: ${need[*]} (install them, or run this as root)" >&2
	exit 1
fi
echo "installing ${need[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt_get() { apt-get -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }; }
apt_get update
apt_get install -y --no-install-recommends "${need[@]}"
