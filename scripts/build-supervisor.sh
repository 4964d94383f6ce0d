#!/bin/sh
# Builds the two programs that run beside containers into DIR
# (default: internal/backend/native/embedded/bin, from where lepto embeds them):
#
#   lepto-supervisor  one per container: libcontainer and libseccomp, static
#   lepto-init        the first process in a container: plain C, static
#
# Needs go, gcc, and libseccomp's static library (Debian: gcc libseccomp-dev).
# Nothing is rebuilt in vain: both compilers' outputs are replaced only where
# they differ, so that what embeds them stays cached.
set -eu
cd "$(dirname "$0")/.."
dir=${1:-internal/backend/native/embedded/bin}
mkdir -p "$dir"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

gcc -std=gnu11 -Os -Wall -Wextra -Werror -static -s -o "$tmp/lepto-init" \
	internal/backend/native/initsrc/init.c
CGO_ENABLED=1 go build -trimpath -buildvcs=false -tags 'seccomp netgo osusergo' \
	-ldflags '-s -w -linkmode external -extldflags -static' \
	-o "$tmp/lepto-supervisor" ./cmd/lepto-supervisor

for name in lepto-init lepto-supervisor; do
	if ! cmp -s "$tmp/$name" "$dir/$name"; then
		chmod 0755 "$tmp/$name"
		mv "$tmp/$name" "$dir/$name"
	fi
done
