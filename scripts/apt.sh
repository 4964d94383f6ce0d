#!/usr/bin/env bash
# apt-get, with patience: a machine that has just booted updates itself, and mirrors
# fail at times. It waits for others that work with apt, tries again what failed, and
# says nothing but what went wrong in the end.
#
#   scripts/apt.sh ARGUMENTS OF apt-get
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT

failures=0
for _ in {1..60}; do # of 5 s, while others have the lists or the cache
	if apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" >"$log" 2>&1; then
		exit 0
	fi
	if ! grep -q 'Could not get lock' "$log" && ((++failures == 3)); then
		break
	fi
	sleep 5
done
echo "apt-get $*:" >&2
cat "$log" >&2
exit 1
